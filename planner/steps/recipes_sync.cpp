// The trigger of `sync:`: put in place, switched off, taken away.
#include "planner/steps/recipes_sync.h"

#include <algorithm>

#include "planner/model/sql_text.h"
#include "planner/steps/mirror_sql.h"
#include "planner/steps/recipes.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner::recipes {

namespace sync {

namespace {

constexpr std::string_view kLettersOfSettings = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";

constexpr char kSchema[] = "pgbackfill";

Action function_action(std::string const& migration, std::string const& body, std::string needed) {
  Action action;
  action.sql = "CREATE OR REPLACE FUNCTION " + function_of(migration) +
               "() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS " + dollar_quoted(body) +
               revoke_from_public(migration);
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

std::string row_trigger_of(TableName const& table, std::string const& migration) {
  // ROW: the lowest bit.
  return "SELECT min(g.tgname) FROM pg_catalog.pg_trigger g WHERE g.tgrelid = " + oid_of(table) +
         " AND g.tgtype & 1 = 1 AND " + is_ours(migration);
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

// What the block calls is found by nobody else's search_path; what follows it in the transaction keeps its own. The
// declarations come before: their types need a schema.
std::string do_under_our_path(std::string const& declared, std::string const& statements) {
  return "DO " +
         quote_literal("DECLARE pgbackfill_path pg_catalog.text := pg_catalog.current_setting('search_path'); " +
                       declared + " BEGIN PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true); " +
                       statements + " PERFORM pg_catalog.set_config('search_path', pgbackfill_path, true); END");
}

Action enable_on_partitions(TableName const& table, std::string const& migration, std::string const& type,
                            std::string const& trigger) {
  Action action;
  std::string const loop =
      "FOR leaf IN SELECT g.tgrelid::pg_catalog.regclass::text AS name, g.tgname FROM "
      "pg_catalog.pg_trigger g WHERE g.tgenabled <> 'A' AND " +
      is_ours(migration) +
      " LOOP EXECUTE pg_catalog.format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', leaf.name, leaf.tgname); END "
      "LOOP;";
  action.sql = do_under_our_path("leaf record;", loop);
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
  return "substring(pg_catalog.pg_get_viewdef(v.oid) FROM '^ ?SELECT[[:space:]]+(.*) AS pgbackfill_e[[:space:]]+FROM "
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

// Of an expression over the whole row, as in to_jsonb(t.*), no dependency tells.
std::string is_of_whole_row() {
  return "strpos(" + expression_of_view() + ", " + alias_of_view() + " || '.*') > 0";
}

// It reads whatever its side does not compute: v.computed.
std::string reads_of_whole_row() {
  return "CASE WHEN " + is_of_whole_row() +
         " THEN ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = " +
         quote_literal(kProbe) +
         "::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (v.computed) ORDER BY "
         "a.attnum) ELSE " +
         reads_of_view() + " END";
}

// Sets a setting of ours to the names, out of rows `source` with columns `name`, `sql` and `alias`, for which no index
// over that SQL can be made: an index takes none but immutable expressions. It knows its table by no alias; so the
// index is made on a table of that name, which is there for so long.
std::string look_for_what_no_index_takes(std::string const& setting, std::string const& source) {
  std::string const loop =
      "FOR pgbackfill_one IN " + source + " LOOP EXECUTE pg_catalog.format('CREATE TEMP TABLE %s (LIKE " + kProbe +
      ")', pgbackfill_one.alias); BEGIN EXECUTE pg_catalog.format('CREATE INDEX ON pg_temp.%s (((%s) IS NULL))', "
      "pgbackfill_one.alias, pgbackfill_one.sql); EXCEPTION WHEN OTHERS THEN pgbackfill_found := pgbackfill_found || "
      "pgbackfill_one.name; END; EXECUTE pg_catalog.format('DROP TABLE pg_temp.%s', pgbackfill_one.alias); END LOOP; "
      "PERFORM pg_catalog.set_config(" +
      quote_literal(setting) + ", pgbackfill_found::text, true);";
  return do_under_our_path("pgbackfill_one record; pgbackfill_found pg_catalog.text[] := '{}';", loop);
}

std::string rows_of(std::vector<ViewTarget> const& views) {
  std::vector<std::string> rows;
  for (auto const& one : views) {
    rows.push_back("(" + quote_literal("pg_temp." + one.view) + "::pg_catalog.regclass::pg_catalog.oid, " +
                   quote_literal(one.view) + ", " + one.relation + "::pg_catalog.oid, " + quote_literal(one.column) +
                   ")");
  }
  return "(VALUES " + join(rows, ", ") + ") AS v (oid, name, relation, column_name)";
}

std::string type_of_target() {
  return "(SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a WHERE a.attrelid = "
         "v.relation AND a.attname = v.column_name AND a.attnum > 0 AND NOT a.attisdropped)";
}

// A cast from text to date is not immutable, nor is a function of the user that says nothing of itself: both may read
// settings. Nor is what the value goes through on its way into a column of another type.
std::string look_for_mutable(std::vector<ViewTarget> const& views) {
  std::string const source = "SELECT v.name::text AS name, coalesce('CAST((' || " + expression_of_view() +
                             " || ') AS ' || " + type_of_target() + " || ')', " + expression_of_view() +
                             ") AS sql, CASE " + alias_of_view() +
                             " WHEN 'pgbackfill_probe' THEN 'pgbackfill_alias' ELSE " + alias_of_view() +
                             " END AS alias FROM " + rows_of(views);
  return look_for_what_no_index_takes("pgbackfill.mutable", source);
}

std::string mutable_of_views() {
  return "(pg_catalog.current_setting('pgbackfill.mutable') <> '{}')::text";
}

// Numbers that stand behind one of the words in the view's query, as the server keeps it.
std::string numbers_in_query(std::string const& words) {
  return "(SELECT m[1]::pg_catalog.oid FROM pg_catalog.pg_rewrite r, pg_catalog.regexp_matches(r.ev_action::text, " +
         quote_literal(":(?:" + words + ") ([0-9]+)") + ", 'g') m WHERE r.ev_class = v.oid)";
}

std::string settings_of_views(std::vector<ViewTarget> const& views) {
  std::string const types =
      "ARRAY(SELECT y.typname::text FROM pg_catalog.pg_type y WHERE y.oid IN " +
      numbers_in_query("vartype|consttype|funcresulttype|opresulttype|resulttype|type") +
      " OR y.oid = (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = v.relation AND a.attname = "
      "v.column_name AND a.attnum > 0))";
  std::string const functions =
      "(SELECT string_agg(p.oid::pg_catalog.regprocedure::text || CASE p.provolatile WHEN 's' THEN ' (STABLE)' ELSE ' "
      "(VOLATILE)' END, ', ' ORDER BY p.oid) FROM pg_catalog.pg_proc p WHERE p.provolatile <> 'i' AND p.oid IN " +
      numbers_in_query("funcid|opfuncid") + ")";
  // Of which types a text form, or a change from one to another, depends on which setting.
  constexpr char kSettings[] =
      "(VALUES ('TimeZone', '{timestamptz,timetz}', '{}'), ('DateStyle', '{date,timestamp,timestamptz}', "
      "'{text,varchar,bpchar,json,jsonb}'), ('IntervalStyle', '{interval}', '{text,varchar,bpchar,json,jsonb}'), "
      "('lc_monetary', '{money}', '{}'), ('lc_numeric', '{numeric,float4,float8,int4,int8}', '{text}'), "
      "('default_text_search_config', '{tsvector,tsquery}', '{}'), ('extra_float_digits', '{float4,float8}', "
      "'{text,varchar,bpchar}'), ('bytea_output', '{bytea}', '{text,varchar,bpchar}'), ('xmloption', '{xml}', '{}'), "
      "('search_path', '{regclass,regproc,regprocedure,regtype,regrole,regnamespace}', '{}')) AS s (name, types, "
      "others)";
  std::string const settings = "(SELECT string_agg(s.name, ', ') FROM " + std::string{kSettings} + " WHERE " + types +
                               " && s.types::text[] AND (s.others = '{}' OR " + types + " && s.others::text[]))";
  return "(SELECT string_agg(pg_catalog.concat_ws(' ', coalesce(nullif(v.column_name, ''), 'where'), 'depends on', "
         "coalesce(" +
         settings + ", 'settings of the session'), 'by ' || " + functions + R"(), E'\n' ORDER BY v.name) FROM )" +
         rows_of(views) + " WHERE v.name = ANY (pg_catalog.current_setting('pgbackfill.mutable')::text[]))";
}

namespace {

// "current_setting('app.tenant'::text, true)" gives app.tenant.
std::vector<std::string> custom_settings_in(std::string const& body) {
  static constexpr std::string_view kCall = "current_setting('";
  std::vector<std::string> names;
  for (auto at = body.find(kCall); at != std::string::npos; at = body.find(kCall, at)) {
    at += kCall.size();
    auto const name = body.substr(at, body.find('\'', at) - at);
    bool const is_name = name.find_first_not_of(kLettersOfSettings) == std::string::npos;
    bool const is_known = std::find(names.begin(), names.end(), name) != names.end();
    if (is_name && name.find('.') != std::string::npos && !is_known) names.push_back(name);
  }
  return names;
}

}  // namespace

std::string function_settings(bool is_mutable) {
  std::string text = " SET search_path FROM CURRENT";
  // The server calls the output of these types immutable, and yet it follows settings.
  std::vector<char const*> names = {"bytea_output", "extra_float_digits"};
  if (is_mutable) {
    names.insert(names.end(), {"DateStyle", "IntervalStyle", "TimeZone", "timezone_abbreviations", "xmlbinary",
                               "xmloption", "lc_monetary", "lc_numeric", "lc_time", "default_text_search_config",
                               "array_nulls", "quote_all_identifiers"});
  }
  for (char const* name : names) text += std::string(" SET ") + name + " FROM CURRENT";
  return text;
}

std::string custom_function_settings(std::string const& migration, std::string const& body) {
  std::string text;
  for (auto const& name : custom_settings_in(body)) {
    text += "; DO " + quote_literal("BEGIN IF pg_catalog.current_setting(" + quote_literal(name) +
                                    ", true) IS NOT NULL THEN ALTER FUNCTION " + function_of(migration) + "() SET " +
                                    name + " FROM CURRENT; END IF; END");
  }
  return text;
}

std::string revoke_from_public(std::string const& migration) {
  return "; REVOKE ALL ON FUNCTION " + function_of(migration) + "() FROM PUBLIC";
}

}  // namespace sync

namespace {

using namespace sync;

// ROW, BEFORE, INSERT, UPDATE: the bits of pg_trigger.tgtype.
constexpr char kTriggerType[] = "23";

// Of the columns: name, and the default in the server's words, also that of a domain. An identity has none.
std::string defaults_of(std::string const& written) {
  return "SELECT a.attname::text AS name, coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), "
         "pg_catalog.pg_get_expr(y.typdefaultbin, 0)) AS sql FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y "
         "ON y.oid = a.atttypid LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
         "WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attrelid = " +
         quote_literal(kProbe) + "::pg_catalog.regclass AND a.attname = ANY (" + written +
         ") AND (d.oid IS NOT NULL OR y.typdefaultbin IS NOT NULL)";
}

// What differs from row to row, or with time, cannot be told from what somebody gave.
std::string default_of_column(TableName const& table, std::string const& written) {
  return "SELECT CASE WHEN o.sql IS NULL OR v.name = ANY (pg_catalog.current_setting('pgbackfill.varying')::text[]) "
         "THEN " +
         quote_literal(kVaryingDefault) +
         " ELSE '(' || o.sql || ')::' || (SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM "
         "pg_catalog.pg_attribute a WHERE a.attname = v.name AND a.attrelid = " +
         quote_literal(kProbe) + "::pg_catalog.regclass) END FROM (" + defaults_of(written) +
         " UNION ALL SELECT a.attname::text, NULL FROM pg_catalog.pg_attribute a WHERE a.attidentity <> '' AND "
         "a.attrelid = " +
         oid_of(table) + ") o WHERE o.name = v.name LIMIT 1";
}

// The probe has the columns; here they get the defaults too, which a step of expand may change before the trigger is
// there.
std::string copy_defaults(StepFacts const& facts, std::string const& written) {
  std::string const loop =
      "FOR pgbackfill_one IN SELECT a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS sql FROM "
      "pg_catalog.pg_attrdef d JOIN "
      "pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attgenerated = '' AND "
      "a.attrelid = " +
      oid_of(facts.table) + " AND a.attname = ANY (" + written + ") LOOP EXECUTE pg_catalog.format('ALTER TABLE " +
      kProbe + " ALTER COLUMN %I SET DEFAULT %s', pgbackfill_one.attname, pgbackfill_one.sql); END LOOP;";
  return do_under_our_path("pgbackfill_one record;", loop);
}

// The one that is there, or the one that it is to be.
std::string trigger_name_of(InstallSync const& step, StepFacts const& facts) {
  if (!facts.named.empty()) return facts.named;
  return step.trigger.empty() ? sync_trigger_name(step.migration) : step.trigger;
}

// Triggers of others, on the table or a partition, that may change a row after ours has computed from it: the server
// fires them in the order of their names, byte by byte.
std::string fires_later(TableName const& table, std::string const& trigger) {
  std::string const oid = oid_of(table);
  // ROW and BEFORE; INSERT or UPDATE.
  return "pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid WHERE NOT g.tgisinternal AND "
         "g.tgenabled <> 'D' AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0 AND f.pronamespace IS DISTINCT FROM "
         "pg_catalog.to_regnamespace('pgbackfill')::oid AND g.tgname::text COLLATE \"C\" > " +
         quote_literal(trigger) + "::text COLLATE \"C\" AND g.tgrelid IN (SELECT " + oid +
         "::oid UNION SELECT t.relid::oid FROM pg_catalog.pg_partition_tree(" + oid + ") t)";
}

// Why the table is none for a trigger of ours; NULL: it is one.
std::string table_problem(TableName const& table, std::string const& written, std::string const& trigger) {
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
         oid +
         " AND NOT c.relispartition LIMIT 1), (SELECT pg_catalog.format('trigger %I of %s fires after the trigger of "
         "sync: "
         "(%I), for its name sorts behind it, and what it changes would not be seen; rename it: ALTER TRIGGER %I ON %s "
         "RENAME TO ...', g.tgname, g.tgrelid::pg_catalog.regclass, " +
         quote_literal(trigger) + ", g.tgname, g.tgrelid::pg_catalog.regclass) FROM " + fires_later(table, trigger) +
         " ORDER BY g.tgrelid, g.tgname LIMIT 1))";
}

}  // namespace

std::string facts_sql(InstallSync const& step) {
  return facts_of_table(step.table, "", row_trigger_of(step.table, step.migration));
}

std::vector<std::string> spelling(InstallSync const& step, StepFacts const& facts) {
  return spelling_of_sync(step, facts, {});
}

namespace {

struct SyncViews {
  std::vector<std::string> statements;
  std::vector<ViewTarget> targets;
  std::vector<std::string> rows;  // of v: place, oid, name, what its side computes
  std::vector<std::string> assignments;
};

SyncViews views_of(InstallSync const& step, TableName const& table) {
  SyncViews views;
  for (auto const* side : {&step.set, &step.reverse}) {
    std::vector<std::string> computed;
    for (auto const& one : *side) computed.push_back(one.column);
    for (auto const& one : *side) {
      std::size_t const number = views.targets.size();
      views.statements.push_back(view_statement(number, one.expression, table));
      views.targets.push_back(
          {view_name(number), quote_literal(kProbe) + std::string{"::pg_catalog.regclass"}, one.column});
      views.rows.push_back("(" + std::to_string(number) + ", 'pg_temp." + view_name(number) +
                           "'::pg_catalog.regclass, " + quote_literal(one.column) + ", " + text_array(computed) + ")");
      views.assignments.push_back(quote_identifier(one.column) + " = " + parenthesised(one.expression));
    }
  }
  return views;
}

// Lines as read_sync_spelling() takes them.
std::string spelling_lines() {
  return "(SELECT string_agg(" + escaped("expression") + R"( || E'\n' || )" + escaped("alias") +
         R"( || E'\n' || CASE WHEN is_row THEN )" + quote_literal(kWholeRow) +
         R"( ELSE cardinality(reads)::text END || E'\n' || CASE WHEN is_row THEN '' ELSE )" +
         R"((SELECT coalesce(string_agg()" + escaped("r.name") + R"( || E'\n', '' ORDER BY r.place), '') FROM )" +
         "unnest(reads) WITH ORDINALITY r (name, place)) END || " + escaped("standard") +
         R"(, E'\n' ORDER BY place) FROM facts))";
}

}  // namespace

std::vector<std::string> spelling_of_sync(InstallSync const& step, StepFacts const& facts,
                                          std::vector<std::string> const& additions) {
  if (facts.kind == ' ') return {};
  std::vector<std::string> written;
  for (auto const* side : {&step.set, &step.reverse}) {
    for (auto const& one : *side) written.push_back(one.column);
  }
  std::string const columns = text_array(written);
  auto statements = probe_begin(facts);
  statements.push_back(copy_defaults(facts, columns));
  statements.insert(statements.end(), additions.begin(), additions.end());
  auto const views = views_of(step, facts.table);
  statements.insert(statements.end(), views.statements.begin(), views.statements.end());
  // What an UPDATE would refuse, the type of a value above all, is refused before a trigger meets it.
  statements.push_back("EXPLAIN UPDATE " + std::string{kProbe} + " AS " + quote_identifier(facts.table.name) + " SET " +
                       join(views.assignments, ", "));
  statements.push_back(look_for_mutable(views.targets));
  statements.push_back(look_for_what_no_index_takes(
      "pgbackfill.varying", "SELECT o.name, o.sql, 'pgbackfill_alias' AS alias FROM (" + defaults_of(columns) + ") o"));
  statements.push_back("WITH v (place, oid, name, computed) AS (VALUES " + join(views.rows, ", ") +
                       "), facts AS (SELECT v.place, v.name, " + expression_of_view() + " AS expression, " +
                       alias_of_view() + " AS alias, " + is_of_whole_row() + " AS is_row, " + reads_of_whole_row() +
                       " AS reads, coalesce((" + default_of_column(facts.table, columns) +
                       "), '') AS standard FROM v), touched (name) AS (SELECT name FROM facts UNION SELECT "
                       "unnest(reads) FROM facts) SELECT " +
                       spelling_lines() + ", " + table_problem(facts.table, columns, trigger_name_of(step, facts)) +
                       ", " + mutable_of_views() + ", " + settings_of_views(views.targets));
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

// A batch of this migration computes the columns itself, in its own statement. What another migration's batches write,
// and what a trigger writes because of a batch (depth 1 and more), is seen; so is what sessions write for which
// somebody has set this by ALTER DATABASE.
std::string is_not_own_batch(std::string const& migration) {
  return "NOT COALESCE(pg_catalog.current_setting('pgbackfill.migration', true) OPERATOR(pg_catalog.=) (" +
         quote_literal(migration + ":") +
         " OPERATOR(pg_catalog.||) pg_catalog.pg_backend_pid()::pg_catalog.text), false) OR "
         "pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 0";
}

Action create_trigger(InstallSync const& step, TableName const& table, std::string const& name) {
  std::string const trigger = quote_identifier(name);
  Action action;
  // SHARE ROW EXCLUSIVE waits for all who write, so that no row is on its way without the trigger. ALWAYS, because
  // whoever loads rows with session_replication_role = replica writes the old columns too.
  action.sql = "CREATE TRIGGER " + trigger + " BEFORE INSERT OR UPDATE ON " + quoted(table) + " FOR EACH ROW WHEN (" +
               is_not_own_batch(step.migration) + ") EXECUTE FUNCTION " + function_of(step.migration) +
               "(); ALTER TABLE " + quoted(table) + " ENABLE ALWAYS TRIGGER " + trigger;
  action.locks = {{quoted(table), LockMode::kShareRowExclusive}};
  action.needed = "NOT " + trigger_is(table, name, is_ours(step.migration));
  return action;
}

Action create_function(InstallSync const& step, std::string const& body, bool is_mutable) {
  Action action;
  action.sql = "CREATE OR REPLACE FUNCTION " + function_of(step.migration) + "() RETURNS trigger LANGUAGE plpgsql" +
               function_settings(is_mutable) + " AS " + quote_literal(body) +
               custom_function_settings(step.migration, body) + revoke_from_public(step.migration);
  action.needed = "NOT " + function_is(step.migration, "f.prosrc = " + quote_literal(body));
  return action;
}

std::string sync_proof(TableName const& table, std::string const& migration, std::string const& trigger) {
  // The row of pg_trigger is written anew by DISABLE and ENABLE as well, which xmin shows.
  return "SELECT g.oid || ':' || g.xmin || ' ' || md5(f.prosrc) FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f "
         "ON f.oid = g.tgfoid WHERE g.tgrelid = " +
         oid_of(table) + " AND g.tgname = " + quote_literal(trigger) + " AND " + is_ours(migration) + " AND " +
         is_on_everywhere(table, migration, kTriggerType) + " AND NOT EXISTS (SELECT FROM " +
         fires_later(table, trigger) + ")";
}

}  // namespace

Recipe recipe(InstallSync const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const sync = read_sync_spelling(step, facts.spelling);
  std::string const body = sync ? sync_body(*sync) : body_unspelled(step);
  std::string const is_function = function_is(step.migration, "f.prosrc = " + quote_literal(body));
  std::string const trigger = trigger_name_of(step, facts);
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
  recipe.actions = {create_function(step, body, facts.is_mutable), create_trigger(step, table, trigger)};
  if (facts.kind == 'p') {
    recipe.actions.push_back(enable_on_partitions(table, step.migration, kTriggerType, trigger));
  }
  recipe.undo = removal(table, step.migration, {trigger});
  recipe.proof = sync_proof(table, step.migration, trigger);
  return recipe;
}

// --- remove ---------------------------------------------------------------------------------------------------------

std::string facts_sql(RemoveSync const& step) {
  return facts_of_table(step.table, "", row_trigger_of(step.table, step.migration));
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
  std::vector<std::string> triggers = {facts.named.empty() ? sync_trigger_name(step.migration) : facts.named};
  if (step.is_mirror) triggers.push_back(mirror_truncate_trigger_name(step.migration));
  recipe.done = "NOT " + function_is(step.migration, "true");
  for (auto const& trigger : triggers) recipe.done += " AND NOT " + trigger_is(table, trigger, "true");
  recipe.refusal = first_of(table_refusals(table));
  recipe.actions = removal(table, step.migration, triggers);
  recipe.no_way_back = "rows that are written after it are not kept in step";
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
