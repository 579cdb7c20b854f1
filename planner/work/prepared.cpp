#include "planner/work/prepared.h"

#include <utility>

#include "planner/model/fingerprint.h"
#include "planner/model/replace_all.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::planner {

namespace {

constexpr std::string_view kPrefix = "prepared_";

std::string plain_name(Prepared const& prepared, std::string_view migration) {
  return std::string(kPrefix) + fingerprint(migration) + "_" + prepared.name;
}

std::string qualified(std::string const& name) {
  return quote_qualified("pgbackfill", name);
}

std::string field(char const* name) {
  return std::string("r.record ->> '") + name + "'";
}

Backfill replaced_in(Backfill backfill, std::string const& what, std::string const& by) {
  std::vector<std::string*> texts = {&backfill.sql, &backfill.where, &backfill.only_keys};
  for (auto& assignment : backfill.assignments) texts.push_back(&assignment.expression);
  if (backfill.compute) {
    for (auto& input : backfill.compute->read) texts.push_back(&input.expression);
  }
  if (backfill.dedupe) texts.push_back(&backfill.dedupe->keep);
  for (auto* text : texts) replace_all(*text, what, by);
  return backfill;
}

// The comments of our tables, as JSON.
std::string records(std::string const& condition) {
  return "(SELECT c.oid, obj_description(c.oid, 'pg_class')::jsonb AS record FROM pg_class c JOIN pg_namespace n ON "
         "n.oid = "
         "c.relnamespace WHERE n.nspname = 'pgbackfill' AND c.relpersistence = 'u' AND c.relkind = 'r' AND " +
         condition + ") AS r";
}

// ALTER DEFAULT PRIVILEGES may give others rights on any new table; to read is the most that does no harm here.
std::string none_but_readers(std::string const& table) {
  return "DO " + quote_literal(
                     "DECLARE given record; BEGIN FOR given IN SELECT a.privilege_type AS privilege, "
                     "coalesce((SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.oid = a.grantee), "
                     "'PUBLIC') AS who FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = " +
                     quote_literal(table) +
                     "::regclass AND a.grantee <> c.relowner AND a.privilege_type <> 'SELECT' LOOP EXECUTE "
                     "format('REVOKE %s ON %s FROM %s', given.privilege, " +
                     quote_literal(table) + ", given.who); END LOOP; END");
}

}  // namespace

std::string in_place_of(Prepared const& prepared) {
  return "(/* prepare: " + prepared.name + " */ " + prepared.query + "\n)";
}

std::string table_of(Prepared const& prepared, std::string_view migration) {
  return qualified(plain_name(prepared, migration));
}

Backfill with_query(Backfill backfill, Prepared const& before, Prepared const& after) {
  return replaced_in(std::move(backfill), in_place_of(before), in_place_of(after));
}

Prepared prepared_keys(std::vector<ListedColumn> const& columns, ListedRows const& rows) {
  Prepared prepared;
  prepared.name = kOnlyKeysName;
  prepared.query = listed_rows_sql(columns, rows.variable, true);
  for (auto const& column : columns) prepared.key.push_back(column.name);
  return prepared;
}

Backfill with_tables(Backfill backfill, std::vector<Prepared> const& prepared, std::string_view migration) {
  for (auto const& one : prepared) {
    backfill = replaced_in(std::move(backfill), in_place_of(one), table_of(one, migration));
  }
  return backfill;
}

std::string definition_of(Prepared const& prepared) {
  return prepared.query + "\nkey " + join(prepared.key, ", ");
}

std::string record_sql(Prepared const& prepared, PreparedRecord const& record) {
  // A comment takes a literal and nothing else.
  std::string const object = "jsonb_build_object('migration', " + quote_literal(record.migration) + ", 'name', " +
                             quote_literal(record.name) + ", 'definition', " + quote_literal(record.definition) +
                             ", 'rows', " + std::to_string(record.rows) + ", 'pass', " + std::to_string(record.pass) +
                             ", 'at', extract(epoch FROM clock_timestamp()))";
  std::string const table = table_of(prepared, record.migration);
  return "DO " + quote_literal("BEGIN EXECUTE pg_catalog.format('COMMENT ON TABLE %s IS %L', " + quote_literal(table) +
                               ", " + object + "); END");
}

std::string read_record_sql(Prepared const& prepared, std::string_view migration) {
  return "SELECT " + field("migration") + ", " + field("name") + ", " + field("definition") + ", " + field("rows") +
         ", " + field("pass") + " FROM " + records("c.relname = " + quote_literal(plain_name(prepared, migration)));
}

std::string key_probe_sql(Prepared const& prepared) {
  std::vector<std::string> columns;
  for (auto const& column : prepared.key) columns.push_back("pgbackfill_prepared." + quote_identifier(column));
  return "SELECT " + join(columns, ", ") + " FROM " + in_place_of(prepared) + " AS pgbackfill_prepared";
}

PreparedStatements make_prepared(Prepared const& prepared, std::string_view migration) {
  std::string const name = plain_name(prepared, migration);
  std::string const made = name + "_new";
  std::vector<std::string> columns;
  for (auto const& column : prepared.key) columns.push_back(quote_identifier(column));
  PreparedStatements statements;
  // Whoever reads the old one is not in the way until the new one is there.
  statements.create = "CREATE UNLOGGED TABLE " + qualified(made) + " AS " + prepared.query;
  statements.finish = {none_but_readers(qualified(made)),
                       "CREATE UNIQUE INDEX ON " + qualified(made) + " (" + join(columns, ", ") + ")",
                       "ANALYZE " + qualified(made), "DROP TABLE IF EXISTS " + qualified(name),
                       "ALTER TABLE " + qualified(made) + " RENAME TO " + quote_identifier(name)};
  return statements;
}

std::string drop_prepared(Prepared const& prepared, std::string_view migration) {
  return "DROP TABLE IF EXISTS " + table_of(prepared, migration);
}

std::string lock_prepared_sql(std::string_view migration) {
  return "SELECT pg_advisory_xact_lock(hashtextextended(" +
         quote_literal("pgbackfill.prepare " + std::string(migration)) + ", 0))";
}

std::string has_rows_sql(Prepared const& prepared, std::string_view migration) {
  return "SELECT EXISTS (SELECT FROM " + table_of(prepared, migration) + ")";
}

std::string prepared_guard_sql(std::vector<std::string> const& tables) {
  if (tables.empty()) return "";
  std::vector<std::string> missing;
  for (auto const& table : tables) missing.push_back("NOT EXISTS (SELECT FROM " + table + ")");
  return "DO " + quote_literal("BEGIN IF " + join(missing, " OR ") + " THEN RAISE EXCEPTION USING ERRCODE = '" +
                               kPreparedLostState +
                               "', MESSAGE = 'a result of prepare was lost with a crash of the server'; END IF; END");
}

std::string list_prepared_sql(std::string_view migration) {
  return "SELECT " + field("name") + ", " + field("rows") +
         ", (extract(epoch FROM clock_timestamp()) - (r.record ->> 'at')::numeric)::bigint, " + field("pass") +
         ", pg_total_relation_size(r.oid) FROM " +
         records("starts_with(c.relname, " + quote_literal(std::string(kPrefix) + fingerprint(migration)) + ")") +
         " WHERE " + field("migration") + " = " + quote_literal(migration) + " ORDER BY 1";
}

}  // namespace pgbackfill::planner
