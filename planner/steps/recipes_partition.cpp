// A table becomes a partition without being read under a lock: a check of the bounds spares the scan.
#include <charconv>
#include <optional>

#include "planner/model/sql_text.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr char kProbePart[] = "pg_temp.pgbackfill_probe_part";
// Each is a temporary table for a moment.
constexpr int kMostSiblings = 200;

// What the server says of the bounds: as ATTACH PARTITION takes them, and as a condition on rows.
struct Bounds {
  std::string values;     // SQL
  std::string condition;  // SQL
};

// The spelling is the length of the bounds in bytes, a blank, the bounds, the condition.
Bounds bounds_of(std::string const& spelling) {
  std::size_t length = 0;
  auto const [end, error] = std::from_chars(spelling.data(), spelling.data() + spelling.size(), length);
  auto const begin = static_cast<std::size_t>(end - spelling.data()) + 1;
  if (error != std::errc{} || begin + length > spelling.size()) return {};
  return {spelling.substr(begin, length), spelling.substr(begin + length)};
}

// `parents` of the facts is schema and name of the default partition, where there is one.
std::optional<TableName> default_partition(StepFacts const& facts) {
  if (facts.parents.size() != 2) return std::nullopt;
  return TableName{facts.parents[0], facts.parents[1]};
}

std::string check_name(TableName const& table) {
  return object_name(table.name, "", "pgbackfill_bounds");
}

std::string is_part(TableName const& parent, TableName const& partition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = " + oid_of(partition) +
         " AND h.inhparent = " + oid_of(parent) + ")";
}

std::string bound_is(TableName const& partition, std::string const& values) {
  return "EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = " + oid_of(partition) +
         " AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) = " + quote_literal(values) + ")";
}

// Of index i: which columns or expressions, as text.
std::string parts_of_index(std::string const& index) {
  return "ARRAY(SELECT pg_catalog.pg_get_indexdef(" + index + ".indexrelid, n, true) FROM generate_series(1, " + index +
         ".indnatts) n)::text || coalesce(pg_catalog.pg_get_expr(" + index + ".indpred, " + index +
         ".indrelid), '') || coalesce(pg_catalog.to_jsonb(" + index + ") ->> 'indnullsnotdistinct', 'false')";
}

std::string constraint_type_of(std::string const& index) {
  return "(SELECT k.contype FROM pg_catalog.pg_constraint k WHERE k.conindid = " + index +
         ".indexrelid AND k.contype IN ('p', 'u', 'x'))";
}

// The indexes of the parent that the partition has no equal of: the server would build them under its lock.
std::string missing_indexes(TableName const& parent, TableName const& partition) {
  return "(SELECT string_agg(pg_catalog.pg_get_indexdef(i.indexrelid), '; ') FROM pg_catalog.pg_index i WHERE "
         "i.indrelid = " +
         oid_of(parent) +
         " AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_index j JOIN pg_catalog.pg_class jc ON jc.oid = "
         "j.indexrelid JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid WHERE j.indrelid = " +
         oid_of(partition) +
         " AND j.indisvalid AND jc.relam = ic.relam AND j.indisunique = i.indisunique AND j.indnkeyatts = "
         "i.indnkeyatts AND j.indclass::text = i.indclass::text AND j.indcollation::text = i.indcollation::text AND "
         "(" +
         constraint_type_of("i") + " IS NULL OR " + constraint_type_of("j") + " = " + constraint_type_of("i") +
         ") AND " + parts_of_index("j") + " = " + parts_of_index("i") + "))";
}

// The foreign keys of the parent that the partition has no validated equal of: the server would check all its rows.
std::string missing_foreign_keys(TableName const& parent, TableName const& partition) {
  return "(SELECT string_agg(pg_catalog.quote_ident(k.conname) || ' ' || pg_catalog.pg_get_constraintdef(k.oid), '; ') "
         "FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid = " +
         oid_of(parent) +
         " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint l WHERE l.contype = 'f' AND l.convalidated AND "
         "l.conrelid = " +
         oid_of(partition) + " AND pg_catalog.pg_get_constraintdef(l.oid) = pg_catalog.pg_get_constraintdef(k.oid)))";
}

// Triggers that the parent hands on to its partitions, and that the partition has one of the same name of.
std::string same_triggers(TableName const& parent, TableName const& partition) {
  return "(SELECT string_agg(pg_catalog.quote_ident(g.tgname), ', ') FROM pg_catalog.pg_trigger g JOIN "
         "pg_catalog.pg_trigger o ON o.tgname = g.tgname AND o.tgrelid = " +
         oid_of(partition) + " WHERE NOT g.tgisinternal AND g.tgtype & 1 = 1 AND g.tgrelid = " + oid_of(parent) + ")";
}

// Which PostgreSQL has on no partition.
std::string transition_triggers(TableName const& partition) {
  return "(SELECT string_agg(pg_catalog.quote_ident(g.tgname), ', ') FROM pg_catalog.pg_trigger g WHERE NOT "
         "g.tgisinternal AND g.tgtype & 1 = 1 AND (g.tgoldtable IS NOT NULL OR g.tgnewtable IS NOT NULL) AND g.tgrelid "
         "= " +
         oid_of(partition) + ")";
}

// The check on a table for as long as it takes; `condition` is SQL.
void add_check_actions(TableName const& table, std::string const& condition, std::string const& is_attached,
                       std::vector<Action>& actions) {
  std::string const name = check_name(table);
  std::string const is_there = constraint_is(table, name, "true");
  actions.push_back(brief(table, "ADD CONSTRAINT " + quote_identifier(name) + " CHECK (" + condition + ") NOT VALID",
                          "NOT " + is_attached + " AND NOT " + is_there));
  actions.push_back(
      validate(table, name, "NOT " + is_attached + " AND " + constraint_is(table, name, "NOT k.convalidated")));
}

Action drop_check_action(TableName const& table, std::string const& condition) {
  std::string const name = check_name(table);
  return brief(table, "DROP CONSTRAINT " + quote_identifier(name),
               condition + " AND " + constraint_is(table, name, "true"));
}

Action attach_action(TableName const& parent, TableName const& partition, std::optional<TableName> const& other,
                     std::string const& values) {
  Action attach;
  attach.sql = "ALTER TABLE " + quoted(parent) + " ATTACH PARTITION " + quoted(partition) + " " + values;
  attach.locks = {{quoted(parent), LockMode::kShareUpdateExclusive}};
  if (other) attach.locks.push_back(exclusive(*other));
  attach.locks.push_back(exclusive(partition));
  attach.needed = "NOT " + is_part(parent, partition);
  return attach;
}

std::string attach_refusal(AttachPartition const& step, StepFacts const& facts, Bounds const& bounds) {
  auto const& parent = facts.table;
  auto const& partition = step.partition;
  std::string const attached = is_part(parent, partition);
  auto refusals = table_refusals(parent);
  refusals.emplace_back("(SELECT relkind FROM pg_catalog.pg_class WHERE oid = " + oid_of(parent) + ") <> 'p'",
                        quote_literal(shown(parent) + " is not partitioned"));
  for (auto& refusal : table_refusals(partition)) refusals.push_back(std::move(refusal));
  refusals.emplace_back(
      attached + " AND NOT " + bound_is(partition, bounds.values),
      quote_literal(shown(partition) + " is a partition already, for other values than " + bounds.values));
  refusals.emplace_back("NOT " + attached + " AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = " +
                            oid_of(partition) + ")",
                        quote_literal(shown(partition) + " is a partition of another table, or inherits from one"));
  if (!facts.is_claimed) {
    auto tables = std::vector<TableName>{partition};
    if (auto const other = default_partition(facts)) tables.push_back(*other);
    for (auto const& table : tables) {
      refusals.emplace_back(constraint_is(table, check_name(table), "true"),
                            quote_literal("a constraint " + check_name(table) + " is on " + shown(table) +
                                          " already, and not from this step"));
    }
  }
  std::string const indexes = missing_indexes(parent, partition);
  refusals.emplace_back(
      "NOT " + attached + " AND " + indexes + " IS NOT NULL",
      quote_literal(shown(partition) + " lacks indexes like these of " + shown(parent) +
                    ", which would be built under a lock that stops reads and writes of it; build them first, with "
                    "create_index, add_unique or add_primary_key: ") +
          " || " + indexes);
  std::string const keys = missing_foreign_keys(parent, partition);
  refusals.emplace_back("NOT " + attached + " AND " + keys + " IS NOT NULL",
                        quote_literal(shown(partition) + " lacks foreign keys like these of " + shown(parent) +
                                      ", which would be checked row by row under a lock; add them first, with "
                                      "add_foreign_key: ") +
                            " || " + keys);
  std::string const triggers = same_triggers(parent, partition);
  refusals.emplace_back("NOT " + attached + " AND " + triggers + " IS NOT NULL",
                        quote_literal(shown(partition) +
                                      " has row triggers of the names of triggers that it gets "
                                      "from " +
                                      shown(parent) + "; drop or rename them first: ") +
                            " || " + triggers);
  std::string const transitions = transition_triggers(partition);
  refusals.emplace_back(
      "NOT " + attached + " AND " + transitions + " IS NOT NULL",
      quote_literal(shown(partition) + " has row triggers with transition tables, which a partition cannot have; drop "
                                       "them first: ") +
          " || " + transitions);
  return first_of(refusals);
}

}  // namespace

std::string facts_sql(AttachPartition const& step) {
  std::string const other =
      "SELECT ARRAY[n.nspname, c.relname]::text[] FROM pg_catalog.pg_partitioned_table t JOIN pg_catalog.pg_class c ON "
      "c.oid = t.partdefid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE t.partrelid = " +
      oid_of(step.table);
  return facts_of_table(step.table, other, "");
}

// The same is done with empty tables: what does not fit together comes out before a row is read.
std::vector<std::string> spelling(AttachPartition const& step, StepFacts const& facts) {
  if (facts.kind != 'p') return {};
  std::string const probe = kProbe;
  std::string const make =
      "DECLARE key text := pg_catalog.pg_get_partkeydef(" + quote_literal(quoted(facts.table)) +
      "::pg_catalog.regclass); BEGIN EXECUTE " +
      quote_literal("CREATE TEMP TABLE pgbackfill_probe (LIKE " + quoted(facts.table) +
                    " INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING IDENTITY) PARTITION BY ") +
      " || key; END";
  // Those that are there, under their names, so that the server says with which one the bounds overlap. It runs as the
  // file's SQL does: operators are named with their schema.
  std::string const siblings =
      "DECLARE part record; own pg_catalog.oid := pg_catalog.to_regclass(" + quote_literal(quoted(step.partition)) +
      "); BEGIN FOR part IN SELECT c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bounds FROM "
      "pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) h.inhrelid WHERE "
      "h.inhparent "
      "OPERATOR(pg_catalog.=) " +
      quote_literal(quoted(facts.table)) +
      "::pg_catalog.regclass::pg_catalog.oid AND c.relpartbound IS NOT NULL AND (own IS NULL OR h.inhrelid "
      "OPERATOR(pg_catalog.<>) own) LIMIT " +
      std::to_string(kMostSiblings) +
      " LOOP EXECUTE pg_catalog.format('CREATE TEMP TABLE %I PARTITION OF pg_temp.pgbackfill_probe %s', part.relname, "
      "part.bounds); END LOOP; END";
  auto statements = std::vector<std::string>{
      "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
      "'30000', true)",
      "DO " + quote_literal(make),
      "CREATE TEMP TABLE pgbackfill_probe_part (LIKE " + quoted(step.partition) +
          " INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING IDENTITY)",
      "DO " + quote_literal(siblings),
      "ALTER TABLE " + probe + " ATTACH PARTITION " + kProbePart + " FOR VALUES " + step.for_values + "\n"};
  // Of a hash the condition names the parent by its number.
  statements.push_back(
      "SELECT pg_catalog.octet_length(b.bounds) || ' ' || b.bounds || replace(b.condition, "
      "pg_catalog.quote_literal(b.probe::text), pg_catalog.quote_literal(b.parent::text)), NULL FROM (SELECT "
      "pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bounds, pg_catalog.pg_get_partition_constraintdef(c.oid) AS "
      "condition, " +
      quote_literal(probe) + "::pg_catalog.regclass::pg_catalog.oid AS probe, " + oid_of(facts.table) +
      "::pg_catalog.oid AS parent FROM pg_catalog.pg_class c WHERE c.oid = " + quote_literal(kProbePart) +
      "::pg_catalog.regclass) b");
  return statements;
}

Recipe recipe(AttachPartition const& step, StepFacts const& facts) {
  auto const& parent = facts.table;
  auto const& partition = step.partition;
  auto const other = default_partition(facts);
  auto bounds = bounds_of(facts.spelling);
  // Before the server has spelled it, for people.
  if (bounds.values.empty()) bounds = {"FOR VALUES " + step.for_values, "bounds: " + step.for_values};
  Recipe recipe;
  recipe.title = "attach_partition " + shown(partition) + " to " + shown(parent);
  recipe.relation = quoted(partition);
  recipe.risk = Risk::kMedium;
  recipe.reason = "rows of other values cannot be written to " + shown(partition) + " from the first statement on";
  if (other) {
    recipe.reason += ", and those of its values not to the default partition: until the end no such row can come in";
  }
  std::string const attached = is_part(parent, partition);
  recipe.done = attached + " AND " + bound_is(partition, bounds.values) + " AND NOT " +
                constraint_is(partition, check_name(partition), "true");
  if (other) recipe.done += " AND NOT " + constraint_is(*other, check_name(*other), "true");
  recipe.refusal = attach_refusal(step, facts, bounds);
  add_check_actions(partition, bounds.condition, attached, recipe.actions);
  if (other) add_check_actions(*other, "NOT (" + bounds.condition + ")", attached, recipe.actions);
  recipe.actions.push_back(attach_action(parent, partition, other, bounds.values));
  recipe.actions.push_back(drop_check_action(partition, attached));
  if (other) recipe.actions.push_back(drop_check_action(*other, attached));
  Action detach;
  detach.sql = "ALTER TABLE " + quoted(parent) + " DETACH PARTITION " + quoted(partition);
  detach.locks = {exclusive(parent), exclusive(partition)};
  detach.needed = attached;
  recipe.undo = {std::move(detach), drop_check_action(partition, "true")};
  if (other) recipe.undo.push_back(drop_check_action(*other, "true"));
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
