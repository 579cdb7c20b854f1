#include <algorithm>

#include "planner/model/sql_text.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes {
namespace {

// Its sample has the same size whatever the size of the table, but each page of it may come from a slow disk.
constexpr std::chrono::minutes kAnalyzeBound{10};

}  // namespace

std::string quoted(TableName const& table) {
  return quote_qualified(table.schema, table.name);
}

std::string oid_of(TableName const& table) {
  return planner::oid_of(table.schema, table.name);
}

std::string tree_of(std::string const& oid) {
  return "(WITH RECURSIVE tree (oid) AS (SELECT " + oid +
         "::pg_catalog.oid UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN tree ON h.inhparent = tree.oid) "
         "SELECT t.oid FROM tree t WHERE t.oid IS NOT NULL)";
}

std::string column_is(TableName const& table, std::string_view column, std::string_view condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
         " AND a.attname = " + quote_literal(column) + " AND a.attnum > 0 AND NOT a.attisdropped AND " +
         std::string{condition} + ")";
}

std::string has_column(TableName const& table, std::string_view column) {
  return column_is(table, column, "true");
}

std::string constraint_is(TableName const& table, std::string_view name, std::string_view condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = " + oid_of(table) +
         " AND k.conname = " + quote_literal(name) + " AND " + std::string{condition} + ")";
}

std::string index_is(TableName const& table, std::string_view name, std::string_view condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid WHERE "
         "c.relname = " +
         quote_literal(name) +
         " AND c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = " + oid_of(table) +
         ") AND i.indrelid = " + oid_of(table) + " AND " + std::string{condition} + ")";
}

std::string has_relation(TableName const& table, std::string_view name) {
  return "EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relname = " + quote_literal(name) +
         " AND c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = " + oid_of(table) + "))";
}

std::string column_spelling(std::string const& oid, std::string_view column, bool with_not_null) {
  return "(SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) || coalesce((SELECT ' COLLATE ' || "
         "pg_catalog.quote_ident(l.collname) FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_type y ON y.oid = "
         "a.atttypid WHERE l.oid = a.attcollation AND y.typcollation <> a.attcollation), '') || coalesce(' DEFAULT ' "
         "|| pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')" +
         std::string(with_not_null ? " || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END" : "") +
         " FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = "
         "a.attnum WHERE a.attrelid = " +
         oid + " AND a.attname = " + quote_literal(column) + " AND a.attnum > 0 AND NOT a.attisdropped)";
}

std::string other_builder(TableName const& table) {
  return "SELECT string_agg(pg_catalog.format('pid %s %s', l.pid, nullif(s.application_name, '')), ', ') FROM "
         "pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity s ON s.pid = l.pid WHERE l.locktype = "
         "'relation' AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() "
         "AND coalesce(s.backend_type, '') <> 'autovacuum worker' AND l.database = (SELECT oid FROM "
         "pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AND l.relation = " +
         oid_of(table);
}

std::string first_of(std::vector<std::pair<std::string, std::string>> const& cases) {
  std::string sql = "CASE";
  for (auto const& [condition, text] : cases) sql += " WHEN " + condition + " THEN " + text;
  return sql + " END";
}

Action comment_again(TableName const& table, std::string const& name, std::string const& comment) {
  auto action =
      brief(table, "", constraint_is(table, name, "pg_catalog.obj_description(k.oid, 'pg_constraint') IS NULL"));
  action.sql =
      "COMMENT ON CONSTRAINT " + quote_identifier(name) + " ON " + quoted(table) + " IS " + quote_literal(comment);
  action.locks = {{quoted(table), LockMode::kShareUpdateExclusive}};
  return action;
}

std::pair<std::string, std::string> typed_table_refusal(TableName const& table) {
  return {
      "(SELECT c.reloftype <> 0 FROM pg_catalog.pg_class c WHERE c.oid = " + oid_of(table) + ")",
      quote_literal(shown(table) + " has its columns by a type; change them there (ALTER TYPE ... CASCADE), or ALTER "
                                   "TABLE ... NOT OF first")};
}

std::vector<std::pair<std::string, std::string>> table_refusals(TableName const& table) {
  return {{oid_of(table) + " IS NULL", quote_literal("there is no table " + shown(table))},
          {"(SELECT relkind FROM pg_catalog.pg_class WHERE oid = " + oid_of(table) + ") NOT IN ('r', 'p')",
           quote_literal(shown(table) + " is not a table")}};
}

std::string columns_of_key(std::string const& relation, std::string const& key) {
  return "ARRAY(SELECT a.attname::text FROM unnest(k." + key +
         ") WITH ORDINALITY x(number, place) JOIN pg_catalog.pg_attribute a ON a.attrelid = k." + relation +
         " AND a.attnum = x.number ORDER BY x.place)";
}

std::string object_name(std::string_view table, std::string_view column, std::string_view label) {
  // The server shortens the longer of the two until it fits, at a character's border.
  std::size_t const room = kMaxIdentifierBytes - label.size() - (column.empty() ? 1 : 2);
  std::size_t left = table.size();
  std::size_t right = column.size();
  while (left + right > room) left > right ? --left : --right;
  auto const cut = [](std::string_view text, std::size_t bytes) {
    while (bytes > 0 && bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
    return std::string{text.substr(0, bytes)};
  };
  return cut(table, left) + (column.empty() ? "" : "_" + cut(column, right)) + "_" + std::string{label};
}

std::string column_list(std::vector<std::string> const& columns) {
  std::vector<std::string> quoted_columns;
  for (auto const& column : columns) quoted_columns.push_back(quote_identifier(column));
  return join(quoted_columns, ", ");
}

TableLock exclusive(TableName const& table) {
  return {quoted(table), LockMode::kAccessExclusive};
}

Action brief(TableName const& table, std::string const& change, std::string needed) {
  Action action;
  action.sql = "ALTER TABLE " + quoted(table) + " " + change;
  action.locks = {exclusive(table)};
  action.needed = std::move(needed);
  return action;
}

Action validate(TableName const& table, std::string const& constraint, std::string needed) {
  auto action = brief(table, "VALIDATE CONSTRAINT " + quote_identifier(constraint), std::move(needed));
  action.way = Way::kPatient;
  action.effort = Effort::kScan;
  action.locks = {{quoted(table), LockMode::kShareUpdateExclusive}};
  return action;
}

std::vector<TableLock> with_parents(std::vector<std::string> const& parents, LockMode mode, TableLock last) {
  std::vector<TableLock> locks;
  for (auto const& parent : parents) {
    if (parent != last.relation) locks.push_back({parent, mode});
  }
  locks.push_back(std::move(last));
  return locks;
}

std::string parents_of(TableName const& table, std::string const& condition) {
  return "SELECT array_agg(DISTINCT pg_catalog.format('\"%s\".\"%s\"', replace(n.nspname, '\"', '\"\"'), "
         "replace(c.relname, '\"', '\"\"'))) FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = "
         "k.confrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f' AND k.confrelid "
         "<> k.conrelid AND pg_catalog.has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') AND k.conrelid = " +
         oid_of(table) + " AND " + condition;
}

Action analyze(TableName const& table, std::string needed) {
  Action action;
  action.sql = "ANALYZE " + quoted(table);
  action.way = Way::kPatient;
  action.effort = Effort::kSample;
  action.locks = {{quoted(table), LockMode::kShareUpdateExclusive}};
  action.needed = std::move(needed);
  action.bound = kAnalyzeBound;
  return action;
}

Action drop_index(TableName const& table, std::string const& name, std::string needed) {
  Action action;
  action.sql = "DROP INDEX CONCURRENTLY " + quote_qualified(table.schema, name);
  action.way = Way::kConcurrent;
  action.locks = {{quoted(table), LockMode::kShareUpdateExclusive}};
  action.needed = std::move(needed);
  action.busy = other_builder(table);
  return action;
}

namespace {

// Schema and name in turn, of pg_class c out of `from`.
std::string names_in_turn(std::string const& from, std::string const& condition) {
  return "SELECT array_agg(u.part ORDER BY n.nspname, c.relname, u.place) FROM " + from +
         " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (VALUES (1, n.nspname::text), "
         "(2, c.relname::text)) u (place, part) WHERE " +
         condition;
}

}  // namespace

std::string leaves_of(TableName const& table) {
  return names_in_turn(
      "pg_catalog.pg_partition_tree(" + oid_of(table) + ") p JOIN pg_catalog.pg_class c ON c.oid = p.relid",
      "p.isleaf AND p.level > 0");
}

std::string heirs_of(TableName const& table) {
  return names_in_turn("pg_catalog.pg_class c",
                       "c.oid <> " + oid_of(table) + " AND c.oid IN " + tree_of(oid_of(table)));
}

std::string facts_of_table(TableName const& table, std::string const& parents, std::string const& named,
                           std::string const& leaves, std::string const& collation) {
  std::string const schema = table.schema.empty()
                                 ? std::string{"nullif(pg_catalog.current_setting('pgbackfill.schema', true), '')"}
                                 : quote_literal(table.schema);
  return "SELECT coalesce(n.nspname, " + schema + ", ''), coalesce(c.relname, " + quote_literal(table.name) +
         "), coalesce(c.relkind::text, ' '), coalesce((" + (parents.empty() ? std::string{"NULL::text[]"} : parents) +
         "), '{}'), coalesce((" + (named.empty() ? std::string{"NULL::text"} : named) + "), ''), coalesce((" +
         (leaves.empty() ? std::string{"NULL::text[]"} : leaves) + "), '{}'), coalesce((" +
         (collation.empty() ? std::string{"NULL::text"} : collation) +
         "), '') FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_class c ON c.oid = " + oid_of(table) +
         " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";
}

std::vector<std::string> probe_begin(StepFacts const& facts, std::string const& with) {
  bool const is_there = facts.kind != ' ';
  return {
      "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
      "'30000', true)",
      "CREATE TEMP TABLE pgbackfill_probe (" + (is_there ? "LIKE " + quoted(facts.table) + with : std::string{}) + ")"};
}

std::string facts_sql(RunSql const& /*step*/) {
  return {};
}

std::vector<std::string> spelling(RunSql const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(RunSql const& step, StepFacts const& /*facts*/) {
  Recipe recipe;
  recipe.title = "sql";
  Action action;
  action.sql = step.sql;
  recipe.actions.push_back(std::move(action));
  if (!step.down) recipe.no_way_back = "it has no `down:`";
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
