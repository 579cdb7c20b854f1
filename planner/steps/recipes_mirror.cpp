// The trigger of `sync: {mirror: ...}`: put in place. It is taken away as any other sync is.
#include "planner/model/sql_text.h"
#include "planner/steps/mirror_sql.h"
#include "planner/steps/publications.h"
#include "planner/steps/recipes.h"
#include "planner/steps/recipes_sync.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner::recipes {
namespace {

using namespace sync;

// ROW, INSERT, DELETE, UPDATE, and TRUNCATE: the bits of pg_trigger.tgtype. Both are AFTER.
constexpr char kRowTriggerType[] = "29";
constexpr char kTruncateTriggerType[] = "32";

// Found before the search_path is emptied.
constexpr char kCopyOid[] = "pg_catalog.current_setting('pgbackfill.copy')::pg_catalog.oid";

std::string ours_by_name(std::string const& trigger, std::string const& migration) {
  return "g.tgname = " + quote_literal(trigger) + " AND " + is_ours(migration);
}

// Of the key columns: place, name in the copy, name in the table (NULL: not a plain column), as rows of k.
std::string key_pairs(InstallMirror const& step) {
  std::vector<std::string> names;
  for (auto const& column : step.key) names.push_back(quote_literal(column));
  return "k AS (SELECT f.name AS copy, f.reads[1] AS source FROM facts f WHERE f.name IN (" + join(names, ", ") +
         ") AND cardinality(f.reads) = 1 AND f.expression IN (pg_catalog.quote_ident(f.reads[1]), f.alias || '.' || "
         "pg_catalog.quote_ident(f.reads[1])))";
}

std::string unique_index_over(std::string const& oid, std::string const& condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = " + oid +
         " AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND " +
         condition + ")";
}

std::string names_in_index(std::string const& oid) {
  return "(SELECT array_agg(a.attname::text ORDER BY a.attname) FROM unnest(i.indkey::int2[]) WITH ORDINALITY x "
         "(number, place) JOIN pg_catalog.pg_attribute a ON a.attrelid = " +
         oid + " AND a.attnum = x.number WHERE x.place <= i.indnkeyatts)";
}

// Values that differ in the table differ in the copy, and none is NULL.
std::string unfit_key_column(std::string const& source, std::string const& copy) {
  return "(SELECT pg_catalog.format('%s of the copy: its key column has to be of the same type as %s, or a wider "
         "integer, of a type of PostgreSQL itself, and NOT NULL there', k.copy, k.source) FROM k JOIN "
         "pg_catalog.pg_attribute s ON s.attrelid = " +
         source + " AND s.attname = k.source JOIN pg_catalog.pg_attribute c ON c.attrelid = " + copy +
         " AND c.attname = k.copy JOIN pg_catalog.pg_type t ON t.oid = s.atttypid WHERE NOT s.attnotnull OR NOT "
         "(t.typtype "
         "IN ('e', 'd') OR t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace) OR NOT (s.atttypid = c.atttypid AND "
         "c.atttypmod IN (-1, s.atttypmod) OR s.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AND "
         "c.atttypid IN ('int4'::regtype, 'int8'::regtype, 'numeric'::regtype) AND c.atttypmod = -1 OR s.atttypid = "
         "'varchar'::regtype AND c.atttypid = 'text'::regtype) OR (s.attcollation <> c.attcollation AND NOT coalesce("
         "(SELECT l.collisdeterministic FROM pg_catalog.pg_collation l WHERE l.oid = c.attcollation), true)) LIMIT 1)";
}

std::string missing_rights(std::string const& source, std::string const& copy) {
  return "(SELECT pg_catalog.format('role %I needs SELECT and UPDATE on the table, and SELECT, INSERT, UPDATE, DELETE "
         "and TRUNCATE on the copy, because the trigger works with its rights', current_user) WHERE NOT "
         "(pg_catalog.has_table_privilege(" +
         source + ", 'SELECT') AND pg_catalog.has_table_privilege(" + copy +
         ", 'SELECT') AND pg_catalog.has_table_privilege(" + copy + ", 'INSERT') AND pg_catalog.has_table_privilege(" +
         copy + ", 'UPDATE') AND pg_catalog.has_table_privilege(" + copy +
         ", 'DELETE') AND pg_catalog.has_table_privilege(" + copy + ", 'TRUNCATE')))";
}

// Why the two are no pair for a mirror; NULL: they are one.
std::string pair_problem(InstallMirror const& step, TableName const& table) {
  std::string const source = oid_of(table);
  std::string const copy = kCopyOid;
  std::string const in_copy = "(SELECT array_agg(k.copy ORDER BY k.copy) FROM k)";
  std::string const in_source = "(SELECT array_agg(k.source) FROM k)";
  std::string const identity =
      "(SELECT 'column ' || a.attname || ' of the copy is GENERATED ALWAYS AS IDENTITY, which no update can set; make "
      "it "
      "BY DEFAULT' FROM pg_catalog.pg_attribute a WHERE a.attrelid = " +
      copy +
      " AND a.attidentity = 'a' AND a.attname IN (SELECT name FROM facts) AND a.attname NOT IN (SELECT k.copy "
      "FROM k))";
  return "coalesce((SELECT 'each column of mirror: has to be copied as it is, as in {id: id}' WHERE (SELECT count(*) "
         "FROM k) <> " +
         std::to_string(step.key.size()) +
         "), (SELECT 'the copy has no unique index over just the columns of mirror: "
         "(not deferrable, without WHERE)' WHERE NOT " +
         unique_index_over(copy, names_in_index(copy) + " = " + in_copy) +
         "), (SELECT 'no unique index of the table (not deferrable, without WHERE) lies within the columns that "
         "mirror: "
         "is copied from, so that one row of the copy could be several of the table' WHERE NOT " +
         unique_index_over(source, names_in_index(source) + " <@ " + in_source) + "), " +
         unfit_key_column(source, copy) + ", " + identity + ", " + missing_rights(source, copy) +
         ", (SELECT 'row level security hides rows from this role' WHERE pg_catalog.row_security_active(" + source +
         ") OR pg_catalog.row_security_active(" + copy +
         ")), (SELECT 'table ' || c.relname || ' inherits from it, and a trigger would not see its rows' FROM "
         "pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid WHERE h.inhparent = " +
         source + " AND NOT c.relispartition LIMIT 1))";
}

// What `plan` shows before the copy is there.
std::string body_unspelled(InstallMirror const& step) {
  return "\n-- carries each row that is written on to " + shown(step.to) + "\n";
}

Action create_function(InstallMirror const& step, std::string const& body, bool is_mutable) {
  Action action;
  // With the rights of the one who installs it: who writes the table need not know the copy. So nobody else may put it
  // on a table, its search_path is not the writer's, and his temporary tables come last in it.
  action.sql =
      "SELECT pg_catalog.set_config('search_path', pg_catalog.btrim(pg_catalog.concat(pg_catalog.current_setting("
      "'search_path'), ', pg_temp'), ', '), true); CREATE OR REPLACE FUNCTION " +
      function_of(step.migration) + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER" +
      function_settings(is_mutable) + " AS " + dollar_quoted(body) + custom_function_settings(step.migration, body) +
      revoke_from_public(step.migration);
  action.needed = "NOT " + function_is(step.migration, "f.prosrc = " + quote_literal(body));
  return action;
}

Action create_triggers(InstallMirror const& step, TableName const& table) {
  auto const rows = quote_identifier(sync_trigger_name(step.migration));
  auto const truncate = quote_identifier(mirror_truncate_trigger_name(step.migration));
  std::string const execute = " EXECUTE FUNCTION " + function_of(step.migration) + "(); ";
  std::string const enable = "ALTER TABLE " + quoted(table) + " ENABLE ALWAYS TRIGGER ";
  Action action;
  // SHARE ROW EXCLUSIVE waits for all who write, so that no row is on its way without the trigger. AFTER, because
  // INSERT ... ON CONFLICT fires BEFORE for rows that it does not insert. Batches of other migrations are carried too.
  action.sql = "CREATE TRIGGER " + rows + " AFTER INSERT OR UPDATE OR DELETE ON " + quoted(table) + " FOR EACH ROW" +
               execute + enable + rows + "; CREATE TRIGGER " + truncate + " AFTER TRUNCATE ON " + quoted(table) +
               " FOR EACH STATEMENT" + execute + enable + truncate;
  action.locks = {{quoted(table), LockMode::kShareRowExclusive}};
  action.needed = "NOT " + trigger_is(table, sync_trigger_name(step.migration), is_ours(step.migration));
  return action;
}

std::string has_truncate_trigger(InstallMirror const& step, TableName const& table) {
  return trigger_is(
      table, mirror_truncate_trigger_name(step.migration),
      "g.tgenabled = 'A' AND g.tgtype = " + std::string{kTruncateTriggerType} + " AND " + is_ours(step.migration));
}

std::string mirror_proof(InstallMirror const& step, TableName const& table) {
  // The rows of pg_trigger are written anew by DISABLE and ENABLE as well, which xmin shows.
  return "SELECT string_agg(g.oid || ':' || g.xmin, ' ' ORDER BY g.oid) || ' ' || min(md5(f.prosrc)) FROM "
         "pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid WHERE g.tgrelid = " +
         oid_of(table) + " AND (" + ours_by_name(sync_trigger_name(step.migration), step.migration) + " OR " +
         ours_by_name(mirror_truncate_trigger_name(step.migration), step.migration) + ") AND " +
         has_truncate_trigger(step, table) + " AND " + is_on_everywhere(table, step.migration, kRowTriggerType) +
         " HAVING count(*) = 2";
}

}  // namespace

std::string facts_sql(InstallMirror const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(InstallMirror const& step, StepFacts const& facts) {
  return spelling_of_mirror(step, facts, {});
}

std::vector<std::string> spelling_of_mirror(InstallMirror const& step, StepFacts const& facts,
                                            std::vector<std::string> const& additions) {
  if (facts.kind == ' ') return {};
  auto statements = probe_begin(facts);
  statements.insert(statements.end(), additions.begin(), additions.end());
  std::vector<std::string> views;
  std::vector<ViewTarget> targets;
  std::vector<std::string> columns;
  std::vector<std::string> expressions;
  auto const add_view = [&](std::string const& expression, std::string const& name) {
    statements.push_back(view_statement(views.size(), expression, facts.table));
    views.push_back("(" + std::to_string(views.size()) + ", 'pg_temp." + view_name(views.size()) +
                    "'::pg_catalog.regclass, " + name + ")");
  };
  for (auto const& one : step.columns) {
    targets.push_back({view_name(views.size()), kCopyOid, one.column});
    add_view(one.expression, quote_literal(one.column));
    columns.push_back(quote_identifier(one.column));
    expressions.push_back(parenthesised(one.expression));
  }
  if (!step.where.empty()) {
    targets.push_back({view_name(views.size()), kCopyOid, ""});
    add_view(step.where, "NULL");
  }
  std::string const where = step.where.empty() ? "" : " WHERE " + parenthesised(step.where);
  // What an INSERT would refuse, the type of a value above all, is refused before a trigger meets it.
  statements.push_back("EXPLAIN INSERT INTO " + quoted(step.to) + " (" + join(columns, ", ") +
                       ") OVERRIDING SYSTEM VALUE SELECT " + join(expressions, ", ") + " FROM " + kProbe + " AS " +
                       quote_identifier(facts.table.name) + where);
  statements.push_back("SELECT pg_catalog.set_config('pgbackfill.copy', (" + oid_of(step.to) +
                       ")::pg_catalog.oid::pg_catalog.text, true)");
  statements.push_back(look_for_mutable(targets));
  statements.push_back(
      "WITH v (place, oid, name) AS (VALUES " + join(views, ", ") + "), facts AS (SELECT v.place, v.name, " +
      expression_of_view() + " AS expression, " + alias_of_view() + " AS alias, " + reads_of_view() +
      " AS reads FROM v), " + key_pairs(step) + " SELECT (SELECT " + escaped("n.nspname") + R"( || E'\n' || )" +
      escaped("c.relname") + R"( || E'\n' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON )" +
      "n.oid = c.relnamespace WHERE c.oid = " + kCopyOid + ") || (SELECT string_agg(" + escaped("expression") +
      R"( || E'\n' || )" + escaped("alias") + R"( || E'\n' || CASE WHEN cardinality(reads) = 1 THEN )" +
      escaped("reads[1]") + R"( ELSE '' END, E'\n' ORDER BY place) FROM facts), )" + pair_problem(step, facts.table) +
      ", " + mutable_of_views() + ", " + settings_of_views(targets));
  return statements;
}

Recipe recipe(InstallMirror const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const mirror = read_mirror_spelling(step, facts.spelling);
  std::string const body = mirror ? mirror_body(step, table, *mirror) : body_unspelled(step);
  std::string const is_function = function_is(step.migration, "f.prosrc = " + quote_literal(body));
  std::vector<std::string> const triggers = {sync_trigger_name(step.migration),
                                             mirror_truncate_trigger_name(step.migration)};
  Recipe recipe;
  recipe.title = "mirror of " + shown(table) + " in " + shown(step.to);
  recipe.relation = quoted(table);
  recipe.reason = "each row that is written is written to " + shown(step.to) + " too, and fails if that refuses it";
  recipe.done = std::string{mirror ? "true" : "false"} + " AND " + is_function + " AND " +
                trigger_is(table, triggers.front(), is_ours(step.migration)) + " AND " +
                has_truncate_trigger(step, table) + " AND " + is_on_everywhere(table, step.migration, kRowTriggerType);
  auto refusals = table_refusals(table);
  if (!mirror) refusals.emplace_back("true", quote_literal("the server does not spell its expressions"));
  std::string const published = lacks_identity(oid_of(step.to), facts.server_version);
  refusals.emplace_back(published + " IS NOT NULL", published);
  refuse_foreign(table, step.migration, triggers, facts.is_claimed, refusals);
  recipe.refusal = first_of(refusals);
  recipe.actions = {create_function(step, body, facts.is_mutable), create_triggers(step, table)};
  if (facts.kind == 'p') {
    recipe.actions.push_back(enable_on_partitions(table, step.migration, kRowTriggerType, triggers.front()));
  }
  recipe.undo = removal(table, step.migration, triggers);
  recipe.proof = mirror_proof(step, table);
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
