#include <algorithm>
#include <charconv>
#include <regex>

#include "planner/model/sql_text.h"
#include "planner/steps/recipes.h"
#include "planner/steps/row_questions.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithDetachConcurrently = 140000;

// `before` of a rename: the oid, a blank, the schema as SQL. By the oid the table is known under either name.
std::string oid_before(StepFacts const& facts) {
  return facts.before.substr(0, facts.before.find(' '));
}

std::string is_attached(StepFacts const& facts, TableName const& partition, std::string const& condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = " + oid_of(partition) +
         " AND h.inhparent = " + oid_of(facts.table) + condition + ")";
}

}  // namespace

// --- create_table ---------------------------------------------------------------------------------------------------

std::string facts_sql(CreateTable const& step) {
  return facts_of_table(step.table, "", "");
}

// Made where it will be, in a transaction that is rolled back, where the role may. With REFERENCES it would take a lock
// of the other table that stops writers.
std::vector<std::string> spelling(CreateTable const& step, StepFacts const& facts) {
  static std::regex const refers(R"(\bREFERENCES\b)", std::regex::icase);
  if (facts.kind != ' ' || !step.like.name.empty() || std::regex_search(step.columns, refers)) return {};
  std::string const schema = quote_literal(quote_identifier(facts.table.schema));
  std::string const body = "BEGIN IF pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(" + schema +
                           ")::pg_catalog.oid, 'CREATE') THEN EXECUTE " +
                           quote_literal("CREATE TABLE " + quoted(facts.table) + " (" + step.columns + "\n)") +
                           "; END IF; END";
  return {
      "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
      "'30000', true)",
      "DO " + quote_literal(body), "SELECT '', NULL::text"};
}

Recipe recipe(CreateTable const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "create_table " + shown(table);
  recipe.relation = quoted(table);
  recipe.reason = "nobody uses it yet";
  std::string const is_there = oid_of(table) + " IS NOT NULL";
  // What somebody else made is not known to be what the step means.
  recipe.done = facts.is_claimed ? is_there : "false";
  bool const is_like = !step.like.name.empty();
  recipe.refusal = first_of({{is_there + (facts.is_claimed ? " AND false" : ""),
                              quote_literal(shown(table) + " is there already, and not from this step")},
                             {is_like && !facts.is_claimed ? oid_of(step.like) + " IS NULL" : "false",
                              quote_literal("there is no table " + shown(step.like) + " to be like")}});
  Action action;
  action.sql = "CREATE TABLE " + quoted(table) + " (" +
               (is_like ? "LIKE " + quoted(step.like) + " INCLUDING ALL" : step.columns + "\n") + ")";
  action.needed = "NOT " + is_there;
  if (is_like) action.locks = {{quoted(step.like), LockMode::kAccessShare}};
  recipe.actions = {std::move(action)};
  Action drop;
  drop.sql = "DROP TABLE " + quoted(table);
  drop.locks = {exclusive(table)};
  drop.needed = is_there;
  recipe.undo = {std::move(drop)};
  return recipe;
}

// --- drop_table -----------------------------------------------------------------------------------------------------

std::string facts_sql(DropTable const& step) {
  return facts_of_table(step.table, parents_of(step.table, "true"), "");
}

std::vector<std::string> spelling(DropTable const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(DropTable const& step, StepFacts const& facts) {
  (void)step;
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "drop_table " + shown(table);
  recipe.relation = quoted(table);
  recipe.risk = Risk::kDestructive;
  recipe.reason = "the table is lost with all its rows";
  recipe.no_way_back = "the rows are gone";
  // What this step has not dropped may be misspelt.
  recipe.done = facts.is_claimed ? oid_of(table) + " IS NULL" : "false";
  recipe.refusal = first_of(table_refusals(table));
  Action action;
  action.sql = "DROP TABLE " + quoted(table);
  action.locks = with_parents(facts.parents, LockMode::kAccessExclusive, exclusive(table));
  action.needed = oid_of(table) + " IS NOT NULL";
  recipe.actions = {std::move(action)};
  return recipe;
}

// --- rename_table ---------------------------------------------------------------------------------------------------

std::string facts_sql(RenameTable const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(RenameTable const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(RenameTable const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "rename_table " + shown(table) + " to " + step.to;
  recipe.relation = quoted(table);
  recipe.risk = Risk::kHigh;
  recipe.reason = "clients that use the old name fail at once";
  auto const has_name = [&](std::string const& name) {
    return "EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = " + quote_literal(oid_before(facts)) +
           "::pg_catalog.oid AND c.relname = " + quote_literal(name) + ")";
  };
  // Without the number, as for `stamp`, the names have to do.
  std::string const by_names =
      oid_of(table) + " IS NULL AND " + oid_of(TableName{step.table.schema, step.to}) + " IS NOT NULL";
  recipe.done = !facts.is_claimed ? "false" : facts.before.empty() ? by_names : has_name(step.to);
  recipe.before =
      "SELECT c.oid || ' ' || pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class c JOIN "
      "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = " +
      oid_of(table);
  auto refusals = table_refusals(table);
  refusals.emplace_back(has_relation(table, step.to), quote_literal("the name " + step.to + " is taken already"));
  recipe.refusal = first_of(refusals);
  recipe.actions = {brief(table, "RENAME TO " + quote_identifier(step.to), oid_of(table) + " IS NOT NULL")};
  recipe.way_back = "it gets its old name again";
  if (!facts.is_claimed) return recipe;
  std::string const now = facts.before.substr(facts.before.find(' ') + 1) + "." + quote_identifier(step.to);
  Action back;
  back.sql = "ALTER TABLE " + now + " RENAME TO " + quote_identifier(table.name);
  back.locks = {{now, LockMode::kAccessExclusive}};
  back.needed = has_name(step.to);
  recipe.undo = {std::move(back)};
  recipe.undo_refusal = first_of(
      {{has_name(step.to) +
            " AND EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class o ON "
            "o.relnamespace = c.relnamespace AND o.oid <> c.oid WHERE c.oid = " +
            quote_literal(oid_before(facts)) + "::pg_catalog.oid AND o.relname = " + quote_literal(table.name) + ")",
        quote_literal("the name " + table.name + " is taken by something else")}});
  return recipe;
}

// --- add_enum_value -------------------------------------------------------------------------------------------------

namespace {

std::string type_of(TableName const& type) {
  return type_oid_of(type.schema, type.name);
}

}  // namespace

std::string facts_sql(AddEnumValue const& step) {
  return "SELECT coalesce(n.nspname, ''), " + quote_literal(step.type.name) +
         ", coalesce(t.typtype::text, ' '), '{}'::text[], '' FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_type t ON "
         "t.oid "
         "= " +
         type_of(step.type) + " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace";
}

std::vector<std::string> spelling(AddEnumValue const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(AddEnumValue const& step, StepFacts const& facts) {
  auto const& type = facts.table;
  Recipe recipe;
  recipe.title = "add_enum_value " + step.value + " to " + shown(type);
  recipe.reason = "no row and no table is touched";
  recipe.no_way_back = "PostgreSQL cannot take a value out of an enum";
  std::string const has_value = "EXISTS (SELECT FROM pg_catalog.pg_enum e WHERE e.enumtypid = " + type_of(type) +
                                " AND e.enumlabel = " + quote_literal(step.value) + ")";
  recipe.done = has_value;
  auto refusals = std::vector<std::pair<std::string, std::string>>{
      {type_of(type) + " IS NULL", quote_literal("there is no type " + shown(type))},
      {"NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typtype = 'e' AND t.oid = " + type_of(type) + ")",
       quote_literal(shown(type) + " is not an enum")}};
  std::string const& beside = step.before.empty() ? step.after : step.before;
  if (!beside.empty()) {
    refusals.emplace_back("NOT EXISTS (SELECT FROM pg_catalog.pg_enum e WHERE e.enumtypid = " + type_of(type) +
                              " AND e.enumlabel = " + quote_literal(beside) + ")",
                          quote_literal("there is no value " + beside + " in " + shown(type)));
  }
  recipe.refusal = first_of(refusals);
  Action action;
  action.sql = "ALTER TYPE " + quoted(type) + " ADD VALUE " + quote_literal(step.value);
  if (!step.before.empty()) action.sql += " BEFORE " + quote_literal(step.before);
  if (!step.after.empty()) action.sql += " AFTER " + quote_literal(step.after);
  action.needed = "NOT " + has_value;
  recipe.actions = {std::move(action)};
  return recipe;
}

// --- detach_partition -----------------------------------------------------------------------------------------------

std::string facts_sql(DetachPartition const& step) {
  std::string const has_default =
      "SELECT 'default' FROM pg_catalog.pg_partitioned_table t WHERE t.partdefid <> 0 AND t.partrelid = " +
      oid_of(step.table);
  return facts_of_table(step.table, "", has_default);
}

std::vector<std::string> spelling(DetachPartition const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

namespace {

// The triggers that partitions have from their table go with a DETACH, and an ATTACH makes them as they are on the
// table; so do those of foreign keys that refer to the table. JSON of what partitions have otherwise, in hexadecimal.
std::string triggers_to_keep(TableName const& table, TableName const& partition) {
  std::string const extensions =
      "(SELECT pg_catalog.jsonb_agg(e.extname) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = "
      "d.refobjid WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = g.oid AND d.refclassid "
      "= 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'x')";
  return "coalesce((SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
         "'rel', g.tgrelid::pg_catalog.int8, 'name', CASE WHEN k.oid IS NULL THEN g.tgname END, 'state', g.tgenabled, "
         "'said', "
         "pg_catalog.obj_description(g.oid, 'pg_trigger'), 'extensions', " +
         extensions +
         ", 'function', g.tgfoid::pg_catalog.int8, 'child', k.conrelid::pg_catalog.int8, 'key', k.conkey::text) ORDER "
         "BY t.level, g.tgrelid, g.tgname)::text, 'UTF8'), 'hex') FROM pg_catalog.pg_partition_tree(" +
         oid_of(partition) +
         "::pg_catalog.oid::pg_catalog.regclass) t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.relid LEFT JOIN "
         "pg_catalog.pg_trigger o ON o.tgrelid = " +
         oid_of(table) +
         " AND o.tgname = g.tgname AND NOT o.tgisinternal LEFT JOIN pg_catalog.pg_constraint k ON k.oid = "
         "g.tgconstraint AND k.contype = 'f' AND k.confrelid = g.tgrelid AND k.conparentid <> 0 WHERE k.oid IS NULL "
         "AND g.tgparentid <> 0 AND o.oid IS NOT NULL AND (g.tgenabled <> o.tgenabled OR "
         "pg_catalog.obj_description(g.oid, 'pg_trigger') IS NOT NULL OR " +
         extensions + " IS NOT NULL) OR k.oid IS NOT NULL AND g.tgenabled <> 'O'), '')";
}

// Which rows a partition may have, behind its length: /34:((id IS NOT NULL) AND (id >= 5)). Of a default partition that
// is what its siblings leave over, and they come and go.
constexpr char kConditionToKeep[] =
    "coalesce((SELECT '/' || pg_catalog.octet_length(pg_catalog.convert_to(d.condition, 'UTF8')) || ':' || d.condition "
    "FROM pg_catalog.pg_get_partition_constraintdef(c.oid) AS d (condition) WHERE "
    "pg_catalog.pg_get_expr(c.relpartbound, "
    "c.oid) <> 'DEFAULT'), '')";

// What was recorded before the step.
struct Detached {
  std::string checks;     // its own, an array of oids
  std::string triggers;   // in hexadecimal, see triggers_to_keep()
  std::string condition;  // empty: not known
  std::string bounds;     // with the blank before them
};

Detached detached_of(std::string const& before) {
  Detached was;
  was.checks = before.substr(0, before.find('}') + 1);
  auto const end = std::min(before.find_first_of("/ ", was.checks.size()), before.size());
  was.triggers = before.substr(was.checks.size(), end - was.checks.size());
  was.bounds = before.substr(end);
  auto const colon = was.bounds.find(':');
  if (!was.bounds.starts_with('/') || colon == std::string::npos) return was;
  std::size_t length = 0;
  std::from_chars(was.bounds.data() + 1, was.bounds.data() + colon, length);
  length = std::min(length, was.bounds.size() - colon - 1);
  was.condition = was.bounds.substr(colon + 1, length);
  was.bounds.erase(0, colon + 1 + length);
  return was;
}

// Of a partition that comes back: rows of its own that left its bounds, and rows that went elsewhere meanwhile.
std::vector<RowQuestion> rows_against_attach(TableName const& table, TableName const& partition,
                                             std::string const& attached, std::string const& condition) {
  if (condition.empty()) return {};
  std::string const what = "partition " + shown(partition) + " is attached to " + shown(table) + " again, and ";
  return {counted_rows(what + "rows of it that its bounds do not allow any more: ",
                       quoted(partition) + " WHERE (" + condition + ") IS NOT TRUE AND NOT " + attached),
          counted_rows(what + "rows of other partitions that belong in it: ",
                       quoted(table) + " WHERE " + condition + " AND NOT " + attached)};
}

// In the transaction that attaches it: until then they fire. `kept` is hexadecimal, as above.
std::string triggers_as_before(std::string const& kept) {
  std::string const state =
      "CASE r.state WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' "
      "END";
  return "; DO " +
         quote_literal(
             "DECLARE r record; extension text; BEGIN FOR r IN SELECT w.state, w.said, w.extensions, g.tgname AS name, "
             "g.tgenabled AS now, g.tgrelid::pg_catalog.regclass AS rel FROM "
             "pg_catalog.jsonb_to_recordset(pg_catalog.convert_from(pg_catalog.decode(" +
             quote_literal(kept) +
             ", 'hex'), 'UTF8')::pg_catalog.jsonb) AS w (rel pg_catalog.int8, name text, state text, said text, "
             "extensions pg_catalog.jsonb, function pg_catalog.int8, child pg_catalog.int8, key text) JOIN "
             "pg_catalog.pg_class c ON c.oid = w.rel::pg_catalog.oid JOIN pg_catalog.pg_trigger g ON g.tgrelid = c.oid "
             "LEFT JOIN pg_catalog.pg_constraint k ON k.oid = g.tgconstraint WHERE g.tgname = w.name OR w.name IS NULL "
             "AND g.tgfoid = w.function::pg_catalog.oid AND k.conrelid = w.child::pg_catalog.oid AND k.conkey::text = "
             "w.key AND k.confrelid = c.oid ORDER BY c.relkind <> 'p' LOOP IF r.state <> r.now::text THEN EXECUTE "
             "pg_catalog.format(" +
             quote_literal("ALTER TABLE ONLY %s %s TRIGGER %I") + ", r.rel, " + state +
             ", r.name); END IF; IF r.said IS NOT NULL THEN EXECUTE pg_catalog.format(" +
             quote_literal("COMMENT ON TRIGGER %I ON %s IS %L") +
             ", r.name, r.rel, r.said); END IF; FOR extension IN SELECT pg_catalog.jsonb_array_elements_text("
             "r.extensions) LOOP EXECUTE pg_catalog.format(" +
             quote_literal("ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION %I") +
             ", r.name, r.rel, extension); END LOOP; END LOOP; END");
}

}  // namespace

Recipe recipe(DetachPartition const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const& partition = step.partition;
  std::string const parent = quoted(table);
  std::string const child = quoted(partition);
  Recipe recipe;
  recipe.title = "detach_partition " + shown(partition) + " from " + shown(table);
  recipe.relation = parent;
  recipe.risk = Risk::kHigh;
  recipe.reason = "its rows are no longer found through " + shown(table);
  std::string const attached = is_attached(facts, partition, "");
  // What this step has not detached may be misspelt.
  recipe.done = facts.is_claimed ? oid_of(partition) + " IS NOT NULL AND NOT " + attached : "false";
  // The checks that it has, its triggers that are enabled otherwise, which rows it may have, a blank, its bounds.
  recipe.before =
      "SELECT coalesce((SELECT array_agg(k.oid) FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid)::text, '{}') "
      "|| " +
      triggers_to_keep(table, partition) + " || " + kConditionToKeep +
      " || ' ' || pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM pg_catalog.pg_class c WHERE c.oid = " +
      oid_of(partition);
  auto refusals = table_refusals(table);
  refusals.emplace_back(oid_of(partition) + " IS NULL", quote_literal("there is no table " + shown(partition)));
  refusals.emplace_back("NOT " + attached, quote_literal(shown(partition) + " is no partition of " + shown(table)));
  recipe.refusal = first_of(refusals);
  bool const has_pending = facts.server_version >= kVersionWithDetachConcurrently;
  Action detach;
  detach.sql = "ALTER TABLE " + parent + " DETACH PARTITION " + child;
  detach.locks = {{parent, LockMode::kAccessExclusive}, {child, LockMode::kAccessExclusive}};
  detach.needed = attached;
  // CONCURRENTLY is not possible beside a default partition.
  if (has_pending && facts.named.empty()) {
    detach.sql += " CONCURRENTLY";
    detach.way = Way::kConcurrent;
    detach.locks = {{parent, LockMode::kShareUpdateExclusive}, {child, LockMode::kAccessExclusive}};
    detach.needed = is_attached(facts, partition, " AND NOT h.inhdetachpending");
  }
  Action finalize = detach;
  finalize.sql = "ALTER TABLE " + parent + " DETACH PARTITION " + child + " FINALIZE";
  finalize.way = Way::kConcurrent;
  finalize.busy = other_builder(table);
  finalize.needed = is_attached(facts, partition, " AND h.inhdetachpending");
  if (has_pending) recipe.actions.push_back(finalize);
  recipe.actions.push_back(std::move(detach));
  recipe.way_back = "it is attached again; the check that it keeps spares it the scan";
  if (!facts.is_claimed || facts.before.empty()) return recipe;
  if (has_pending) recipe.undo.push_back(std::move(finalize));
  auto const was = detached_of(facts.before);
  recipe.undo_questions = rows_against_attach(table, partition, attached, was.condition);
  Action attach;
  attach.sql = "ALTER TABLE " + parent + " ATTACH PARTITION " + child + was.bounds;
  if (!was.triggers.empty()) attach.sql += triggers_as_before(was.triggers);
  attach.way = Way::kPatient;
  attach.effort = Effort::kScan;
  attach.locks = {{parent, LockMode::kShareUpdateExclusive}, {child, LockMode::kAccessExclusive}};
  attach.needed = "NOT " + attached;
  recipe.undo.push_back(std::move(attach));
  // Detaching CONCURRENTLY leaves a check of the old bounds, under a name of the server's choice.
  std::string const left =
      " FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND k.conrelid = " + oid_of(partition) +
      " AND k.oid <> ALL (" + quote_literal(was.checks) +
      "::pg_catalog.oid[]) AND pg_catalog.pg_get_constraintdef(k.oid) = 'CHECK (' || "
      "pg_catalog.pg_get_partition_constraintdef(" +
      oid_of(partition) + ") || ')'";
  Action tidy;
  tidy.sql = "DO " + quote_literal("DECLARE name text; BEGIN FOR name IN SELECT k.conname" + left +
                                   " LOOP EXECUTE format(" + quote_literal("ALTER TABLE %s DROP CONSTRAINT %I") + ", " +
                                   quote_literal(child) + ", name); END LOOP; END");
  tidy.locks = {{child, LockMode::kAccessExclusive}};
  tidy.needed = attached + " AND EXISTS (SELECT" + left + ")";
  recipe.undo.push_back(std::move(tidy));
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
