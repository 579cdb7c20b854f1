// The trigger of `sync:`: put in place, switched off, taken away.
#include "planner/recipes_sync.h"

#include "planner/mirror_sql.h"
#include "planner/recipes.h"
#include "planner/sql_text.h"
#include "planner/sync_sql.h"

namespace pgbackfill::planner::recipes {

namespace sync {

namespace {

constexpr char kSchema[] = "pgbackfill";

Action function_action(std::string const& migration, std::string const& body, std::string needed) {
  Action action;
  action.sql = "CREATE OR REPLACE FUNCTION " + function_of(migration) + "() RETURNS trigger LANGUAGE plpgsql AS " +
               dollar_quoted(body);
  action.needed = std::move(needed);
  return action;
}

}  // namespace

std::string function_of(std::string const& migration) {
  return quote_qualified(kSchema, sync_function_name(migration));
}

std::string function_oid(std::string const& migration) {
  return "pg_catalog.to_regprocedure(" + quote_literal(function_of(migration) + "()") + ")";
}

std::string function_is(std::string const& migration, std::string const& condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_proc f WHERE f.oid = " + function_oid(migration) + " AND " + condition +
         ")";
}

std::string trigger_is(TableName const& table, std::string const& trigger, std::string const& condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = " + oid_of(table) +
         " AND g.tgname = " + quote_literal(trigger) + " AND " + condition + ")";
}

std::string is_ours(std::string const& migration) {
  return "g.tgfoid = " + function_oid(migration);
}

std::string is_on_everywhere(TableName const& table, std::string const& migration, std::string const& type) {
  return "NOT EXISTS (SELECT FROM (SELECT " + oid_of(table) +
         "::oid AS relid UNION SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(" + oid_of(table) +
         ") p) t WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = t.relid AND g.tgenabled = 'A' "
         "AND g.tgtype = " +
         type + " AND " + is_ours(migration) + "))";
}

void refuse_foreign(TableName const& table, std::string const& migration, std::vector<std::string> const& triggers,
                    bool is_claimed, std::vector<std::pair<std::string, std::string>>& refusals) {
  if (!is_claimed) {
    refusals.emplace_back(function_is(migration, "true"),
                          quote_literal("a function " + function_of(migration) +
                                        " is there already, and not from this step; drop it first"));
  }
  for (auto const& trigger : triggers) {
    refusals.emplace_back(
        trigger_is(table, trigger, "g.tgfoid IS DISTINCT FROM " + function_oid(migration)),
        quote_literal("a trigger " + trigger + " is there already, and not from this step; drop it first"));
  }
}

Action enable_on_partitions(TableName const& table, std::string const& migration, std::string const& type,
                            std::string const& trigger) {
  Action action;
  std::string const loop =
      "DECLARE leaf record; BEGIN FOR leaf IN SELECT g.tgrelid::pg_catalog.regclass::text AS name, g.tgname FROM "
      "pg_catalog.pg_trigger g WHERE g.tgenabled <> 'A' AND " +
      is_ours(migration) +
      " LOOP EXECUTE pg_catalog.format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', leaf.name, leaf.tgname); END "
      "LOOP; END";
  action.sql = "DO " + quote_literal(loop);
  action.locks = {{quoted(table), LockMode::kShareRowExclusive}};
  action.needed =
      trigger_is(table, trigger, is_ours(migration)) + " AND NOT " + is_on_everywhere(table, migration, type);
  return action;
}

std::vector<Action> removal(TableName const& table, std::string const& migration,
                            std::vector<std::string> const& triggers) {
  std::vector<std::string> any;
  for (auto const& trigger : triggers) any.push_back(trigger_is(table, trigger, is_ours(migration)));
  std::string const has_trigger = "(" + join(any, " OR ") + ")";
  std::vector<Action> actions;
  actions.push_back(
      function_action(migration, sync_body_off(),
                      has_trigger + " AND " + function_is(migration, "f.prosrc <> " + quote_literal(sync_body_off()))));
  for (std::size_t index = 0; index < triggers.size(); ++index) {
    Action drop_trigger;
    drop_trigger.sql = "DROP TRIGGER " + quote_identifier(triggers[index]) + " ON " + quoted(table);
    drop_trigger.locks = {exclusive(table)};
    drop_trigger.needed = any[index];
    actions.push_back(std::move(drop_trigger));
  }
  Action drop_function;
  drop_function.sql = "DROP FUNCTION " + function_of(migration) + "()";
  drop_function.needed = function_is(migration, "true") + " AND NOT " + has_trigger;
  actions.push_back(std::move(drop_function));
  return actions;
}

// --- the spelling

std::string view_name(std::size_t number) {
  return "pgbackfill_sync_" + std::to_string(number);
}

std::string view_statement(std::size_t number, std::string const& expression, TableName const& table) {
  return "CREATE TEMP VIEW " + view_name(number) + " AS SELECT " + parenthesised(expression) +
         " AS pgbackfill_e FROM " + kProbe + " AS " + quote_identifier(table.name);
}

std::string escaped(std::string const& text) {
  return "replace(replace(" + text + R"(, E'\\', E'\\\\'), E'\n', E'\\n'))";
}

std::string expression_of_view() {
  return "substring(pg_catalog.pg_get_viewdef(v.oid) FROM '^ ?SELECT (.*) AS pgbackfill_e[[:space:]]+FROM "
         "(?:pg_temp[_0-9]*[.])?pgbackfill_probe')";
}

// A table "new" has to be called otherwise in a view, up to PostgreSQL 15.
std::string alias_of_view() {
  return "coalesce(substring(pg_catalog.pg_get_viewdef(v.oid) FROM 'FROM (?:pg_temp[_0-9]*[.])?pgbackfill_probe "
         "(.*);$'), 'pgbackfill_probe')";
}

std::string reads_of_view() {
  return "ARRAY(SELECT x.attname::text FROM (SELECT a.attname, a.attnum FROM pg_catalog.pg_depend d JOIN "
         "pg_catalog.pg_rewrite r ON r.oid = d.objid JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND "
         "a.attnum = d.refobjsubid WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = "
         "'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = " +
         quote_literal(kProbe) +
         "::pg_catalog.regclass AND d.refobjsubid > 0 AND r.ev_class = v.oid) x ORDER BY x.attnum)";
}

}  // namespace sync

namespace {

using namespace sync;

// ROW, BEFORE, INSERT, UPDATE: the bits of pg_trigger.tgtype.
constexpr char kTriggerType[] = "23";

// A constant, as pg_get_expr() writes it: what else a default is may differ from row to row.
std::string default_of_column(TableName const& table) {
  return R"(SELECT '(' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) || ')::' || pg_catalog.format_type(a.atttypid, )"
         R"(a.atttypmod) FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND )"
         R"(a.attnum = d.adnum WHERE a.attgenerated = '' AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ )"
         R"('^(-?[0-9.]+|true|false|''([^'']|'''')*''(::[^'']*)?)$' AND a.attrelid = )" +
         oid_of(table) + " AND a.attname = v.name";
}

// Why the table is none for a trigger of ours; NULL: it is one.
std::string table_problem(TableName const& table, std::string const& written) {
  std::string const oid = oid_of(table);
  return "coalesce((SELECT 'column ' || a.attname || ' is generated, and has no value yet when the trigger runs; write "
         "the expression over the columns that it is made of' FROM pg_catalog.pg_attribute a WHERE a.attrelid = " +
         oid +
         " AND a.attgenerated <> '' AND a.attname IN (SELECT n.name FROM touched n) LIMIT 1), (SELECT 'column ' "
         "|| a.attname || ' is in the partition key, which no trigger can change' FROM "
         "pg_catalog.pg_partitioned_table p JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND "
         "a.attnum = ANY (p.partattrs::int2[]) WHERE p.partrelid IN (SELECT " +
         oid + "::oid UNION SELECT r.relid::oid FROM pg_catalog.pg_partition_tree(" + oid +
         ") r) AND a.attname = ANY (" + written +
         ") LIMIT 1), (SELECT 'table ' || c.relname || ' inherits from it, and a trigger would not see its rows' FROM "
         "pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid WHERE h.inhparent = " +
         oid + " AND NOT c.relispartition LIMIT 1))";
}

}  // namespace

std::string facts_sql(InstallSync const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(InstallSync const& step, StepFacts const& facts) {
  return spelling_of_sync(step, facts, {});
}

std::vector<std::string> spelling_of_sync(InstallSync const& step, StepFacts const& facts,
                                          std::vector<std::string> const& additions) {
  if (facts.kind == ' ') return {};
  auto statements = probe_begin(facts);
  statements.insert(statements.end(), additions.begin(), additions.end());
  std::string const alias = std::string{kProbe} + " AS " + quote_identifier(facts.table.name);
  std::vector<std::string> views;
  std::vector<std::string> written;
  std::vector<std::string> assignments;
  for (auto const* side : {&step.set, &step.reverse}) {
    for (auto const& one : *side) {
      std::string const name = view_name(views.size());
      statements.push_back(view_statement(views.size(), one.expression, facts.table));
      views.push_back("(" + std::to_string(views.size()) + ", 'pg_temp." + name + "'::pg_catalog.regclass, " +
                      quote_literal(one.column) + ")");
      written.push_back(one.column);
      assignments.push_back(quote_identifier(one.column) + " = " + parenthesised(one.expression));
    }
  }
  // What an UPDATE would refuse, the type of a value above all, is refused before a trigger meets it.
  statements.push_back("EXPLAIN UPDATE " + alias + " SET " + join(assignments, ", "));
  statements.push_back("SELECT pg_catalog.set_config('search_path', '', true)");
  statements.push_back(
      "WITH v (place, oid, name) AS (VALUES " + join(views, ", ") + "), facts AS (SELECT v.place, v.name, " +
      expression_of_view() + " AS expression, " + alias_of_view() + " AS alias, " + reads_of_view() +
      " AS reads, coalesce((" + default_of_column(facts.table) +
      "), '') AS standard FROM v), touched (name) AS (SELECT name FROM facts UNION SELECT unnest(reads) FROM facts) "
      "SELECT (SELECT string_agg(" +
      escaped("expression") + R"( || E'\n' || )" + escaped("alias") +
      R"( || E'\n' || cardinality(reads) || E'\n' || )" + R"((SELECT coalesce(string_agg()" + escaped("r.name") +
      R"( || E'\n', '' ORDER BY r.place), '') FROM )" + "unnest(reads) WITH ORDINALITY r (name, place)) || " +
      escaped("standard") + R"(, E'\n' ORDER BY place) FROM facts), )" +
      table_problem(facts.table, text_array(written)));
  return statements;
}

namespace {

// What `plan` shows before the columns are there, so that the server could not spell the expressions.
std::string body_unspelled(InstallSync const& step) {
  std::string body = "\n-- compares OLD and NEW and computes:\n";
  for (auto const* side : {&step.set, &step.reverse}) {
    for (auto const& one : *side) body += "--   " + one.column + ": " + one.expression + "\n";
  }
  return body;
}

Action create_trigger(InstallSync const& step, TableName const& table) {
  std::string const trigger = quote_identifier(sync_trigger_name(step.migration));
  Action action;
  // SHARE ROW EXCLUSIVE waits for all who write, so that no row is on its way without the trigger. ALWAYS, because
  // whoever loads rows with session_replication_role = replica writes the old columns too.
  action.sql = "CREATE TRIGGER " + trigger + " BEFORE INSERT OR UPDATE ON " + quoted(table) +
               " FOR EACH ROW WHEN (pg_catalog.current_setting('pgbackfill.batch', true) IS DISTINCT FROM 'on') "
               "EXECUTE FUNCTION " +
               function_of(step.migration) + "(); ALTER TABLE " + quoted(table) + " ENABLE ALWAYS TRIGGER " + trigger;
  action.locks = {{quoted(table), LockMode::kShareRowExclusive}};
  action.needed = "NOT " + trigger_is(table, sync_trigger_name(step.migration), is_ours(step.migration));
  return action;
}

Action create_function(InstallSync const& step, std::string const& body) {
  Action action;
  action.sql = "CREATE OR REPLACE FUNCTION " + function_of(step.migration) + "() RETURNS trigger LANGUAGE plpgsql AS " +
               quote_literal(body);
  action.needed = "NOT " + function_is(step.migration, "f.prosrc = " + quote_literal(body));
  return action;
}

std::string sync_proof(TableName const& table, std::string const& migration) {
  // The row of pg_trigger is written anew by DISABLE and ENABLE as well, which xmin shows.
  return "SELECT g.oid || ':' || g.xmin || ' ' || md5(f.prosrc) FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f "
         "ON f.oid = g.tgfoid WHERE g.tgrelid = " +
         oid_of(table) + " AND g.tgname = " + quote_literal(sync_trigger_name(migration)) + " AND " +
         is_ours(migration) + " AND " + is_on_everywhere(table, migration, kTriggerType);
}

}  // namespace

Recipe recipe(InstallSync const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const sync = read_sync_spelling(step, facts.spelling);
  std::string const body = sync ? sync_body(*sync) : body_unspelled(step);
  std::string const is_function = function_is(step.migration, "f.prosrc = " + quote_literal(body));
  std::string const trigger = sync_trigger_name(step.migration);
  Recipe recipe;
  recipe.title = "sync on " + shown(table);
  recipe.relation = quoted(table);
  recipe.reason = "each INSERT and UPDATE calls a function";
  recipe.done = std::string{sync ? "true" : "false"} + " AND " + is_function + " AND " +
                trigger_is(table, trigger, is_ours(step.migration)) + " AND " +
                is_on_everywhere(table, step.migration, kTriggerType);
  auto refusals = table_refusals(table);
  std::string const problem = sync ? sync_problem(*sync) : "the server does not spell its expressions";
  if (!problem.empty()) refusals.emplace_back("true", quote_literal(problem));
  refuse_foreign(table, step.migration, {trigger}, facts.is_claimed, refusals);
  recipe.refusal = first_of(refusals);
  recipe.actions = {create_function(step, body), create_trigger(step, table)};
  if (facts.kind == 'p') {
    recipe.actions.push_back(enable_on_partitions(table, step.migration, kTriggerType, trigger));
  }
  recipe.undo = removal(table, step.migration, {trigger});
  recipe.proof = sync_proof(table, step.migration);
  return recipe;
}

// --- remove ---------------------------------------------------------------------------------------------------------

std::string facts_sql(RemoveSync const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(RemoveSync const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(RemoveSync const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "end of sync on " + shown(table);
  recipe.relation = quoted(table);
  recipe.risk = Risk::kMedium;
  recipe.reason = "writes of old versions of the application do not reach the new columns any more";
  std::vector<std::string> triggers = {sync_trigger_name(step.migration)};
  if (step.is_mirror) triggers.push_back(mirror_truncate_trigger_name(step.migration));
  recipe.done = "NOT " + function_is(step.migration, "true");
  for (auto const& trigger : triggers) recipe.done += " AND NOT " + trigger_is(table, trigger, "true");
  recipe.refusal = first_of(table_refusals(table));
  recipe.actions = removal(table, step.migration, triggers);
  recipe.no_way_back = "rows that are written after it are not kept in step";
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
