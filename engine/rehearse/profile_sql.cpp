#include "engine/rehearse/profile_sql.h"

#include <fmt/format.h>

#include <algorithm>

#include "planner/fill/value_sql.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

constexpr std::int64_t kSampledRows = 3'000;
constexpr std::int64_t kSampledBytes = 16 * 1024 * 1024;

std::string list_of(Oids const& oids) {
  return oids.empty() ? "0" : fmt::format("{}", fmt::join(oids, ", "));
}

}  // namespace

std::string named_oids_sql(std::vector<planner::TableName> const& names) {
  std::vector<std::string> oids;
  for (auto const& name : names) oids.push_back("(" + planner::oid_of(name.schema, name.name) + ")");
  return fmt::format(
      "SELECT DISTINCT c.oid FROM pg_class c JOIN (VALUES {}) AS named (oid) ON named.oid = c.oid WHERE c.relkind IN "
      "('r', 'p') AND c.relpersistence <> 't' AND c.relnamespace <> 'pg_catalog'::regnamespace",
      planner::join(oids, ", "));
}

std::string referring_oids_sql(Oids const& tables) {
  return fmt::format("SELECT DISTINCT conrelid FROM pg_constraint WHERE contype = 'f' AND confrelid IN ({})",
                     list_of(tables));
}

std::string grown_oids_sql(Oids const& tables) {
  return fmt::format(
      "WITH those AS (SELECT oid FROM pg_class WHERE oid IN ({})) SELECT oid FROM those UNION SELECT inhrelid FROM "
      "pg_inherits JOIN those ON inhparent = oid UNION SELECT inhparent FROM pg_inherits JOIN those ON inhrelid = oid "
      "UNION SELECT confrelid FROM pg_constraint JOIN those ON conrelid = those.oid WHERE contype = 'f'",
      list_of(tables));
}

std::string tables_sql(Oids const& tables) {
  return fmt::format(
      "SELECT c.oid, n.nspname, c.relname, c.relkind, coalesce(pn.nspname, ''), coalesce(p.relname, ''), "
      "coalesce(pg_get_expr(c.relpartbound, c.oid), ''), coalesce(pg_get_partkeydef(c.oid), ''), "
      "CASE WHEN c.reltuples >= 0 THEN c.reltuples::int8 ELSE coalesce(s.n_live_tup, 0) END, "
      "CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) ELSE 0 END, pg_indexes_size(c.oid), CASE WHEN "
      "c.reltoastrelid <> 0 THEN pg_total_relation_size(c.reltoastrelid) ELSE 0 END, coalesce((SELECT "
      "o.option_value::int FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'fillfactor'), 100), "
      "coalesce(s.n_dead_tup, 0), has_table_privilege(c.oid, 'SELECT') FROM pg_class c JOIN pg_namespace n ON n.oid = "
      "c.relnamespace LEFT JOIN "
      "pg_inherits i ON i.inhrelid = c.oid AND c.relispartition LEFT JOIN pg_class p ON p.oid = i.inhparent LEFT JOIN "
      "pg_namespace pn ON pn.oid = p.relnamespace LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid IN "
      "({}) ORDER BY n.nspname, c.relname",
      list_of(tables));
}

// Of a domain the type below, of an array that of its elements; a domain over an array and an array of domains both end
// in a plain type.
std::string columns_of_tables_sql(Oids const& tables) {
  return fmt::format(
      "WITH RECURSIVE types AS (SELECT a.attrelid, a.attnum, t.oid, t.typtype, t.typbasetype, t.typelem, "
      "t.typcategory, "
      "t.typname, t.typnamespace, a.atttypmod AS modifier, false AS is_array FROM pg_attribute a JOIN pg_type t ON "
      "t.oid = a.atttypid WHERE a.attrelid IN ({0}) AND a.attnum > 0 AND NOT a.attisdropped UNION ALL SELECT "
      "b.attrelid, b.attnum, t.oid, t.typtype, t.typbasetype, t.typelem, t.typcategory, t.typname, t.typnamespace, "
      "CASE WHEN b.typtype = 'd' AND b.modifier < 0 THEN d.typtypmod ELSE b.modifier END, b.is_array OR "
      "b.typcategory = 'A' FROM types b JOIN pg_type d ON d.oid = b.oid JOIN pg_type t ON t.oid = CASE WHEN b.typtype "
      "= 'd' THEN b.typbasetype WHEN b.typcategory = 'A' THEN b.typelem END) SELECT a.attrelid, a.attname, "
      "format_type(a.atttypid, a.atttypmod), CASE WHEN y.typtype = 'e' THEN 'enum' WHEN y.typnamespace = "
      "'pg_catalog'::regnamespace OR y.typname = 'citext' THEN y.typname ELSE 'other' END, y.is_array, a.attnotnull OR "
      "(y.oid <> a.atttypid AND EXISTS (SELECT FROM pg_type d WHERE d.oid = a.atttypid AND d.typnotnull)), "
      "a.attgenerated <> '', ARRAY(SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = y.oid ORDER BY "
      "e.enumsortorder), CASE WHEN y.typname IN ('varchar', 'bpchar') AND y.modifier > 4 THEN y.modifier - 4 ELSE 0 "
      "END, CASE WHEN y.typname = 'numeric' AND y.modifier > 4 THEN (((y.modifier - 4) >> 16) & 65535) - "
      "((y.modifier - 4) & 2047) ELSE 0 END, s.attname IS NOT NULL, coalesce(s.null_frac, 0), coalesce(s.avg_width, "
      "0), coalesce(s.n_distinct, 0), coalesce(s.correlation, 0), "
      "coalesce(s.elem_count_histogram[cardinality(s.elem_count_histogram)], 0), coalesce(s.most_common_freqs::text[], "
      "'{{}}'), coalesce(s.most_common_vals::text::text[], '{{}}'), coalesce(s.histogram_bounds::text::text[], '{{}}') "
      "FROM pg_attribute a JOIN types y ON y.attrelid = a.attrelid AND y.attnum = a.attnum AND y.typtype <> 'd' AND "
      "NOT (y.typcategory = 'A') JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
      "LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND "
      "s.inherited = (c.relkind = 'p') ORDER BY a.attrelid, a.attnum",
      list_of(tables));
}

// Of an index over an expression the columns in it: what is unique then is unique in them too.
std::string unique_keys_sql(Oids const& tables) {
  return fmt::format(
      "SELECT i.indrelid, ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum "
      "> "
      "0 AND (a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) OR (0 = ANY (i.indkey[0:i.indnkeyatts - 1]) AND EXISTS "
      "(SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = "
      "'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))) ORDER BY a.attnum) FROM "
      "pg_index i WHERE i.indisunique AND i.indrelid IN ({}) ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid",
      list_of(tables));
}

std::string foreign_keys_sql(Oids const& tables) {
  return fmt::format(
      "SELECT k.conrelid, k.conname, ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS c (number, "
      "place) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number ORDER BY c.place), n.nspname, "
      "p.relname, ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS c (number, place) JOIN "
      "pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.number ORDER BY c.place) FROM pg_constraint k JOIN "
      "pg_class p ON p.oid = k.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace WHERE k.contype = 'f' AND "
      "k.conrelid IN ({}) ORDER BY k.conrelid, k.conname",
      list_of(tables));
}

std::string checks_sql(Oids const& tables) {
  return fmt::format(
      "SELECT k.conrelid, k.conname, pg_get_constraintdef(k.oid), ARRAY(SELECT a.attname::text FROM pg_attribute a "
      "WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) ORDER BY a.attnum) FROM pg_constraint k WHERE "
      "k.contype = 'c' AND k.conrelid IN ({}) ORDER BY k.conrelid, k.conname",
      list_of(tables));
}

std::string writes_sql(Oids const& tables) {
  return fmt::format(
      "SELECT relid, coalesce(n_tup_ins, 0), coalesce(n_tup_upd, 0), coalesce(n_tup_del, 0) FROM pg_stat_all_tables "
      "WHERE relid IN ({})",
      list_of(tables));
}

// What decides how fast writing is, and what it leaves behind.
std::string profiled_settings_sql() {
  return "SELECT name, current_setting(name) FROM pg_settings WHERE name IN ('shared_buffers', 'max_wal_size', "
         "'min_wal_size', 'checkpoint_timeout', 'checkpoint_completion_target', 'wal_compression', 'wal_buffers', "
         "'wal_level', 'full_page_writes', 'synchronous_commit', 'fsync', 'autovacuum', 'autovacuum_naptime', "
         "'autovacuum_vacuum_scale_factor', 'autovacuum_vacuum_threshold', 'autovacuum_vacuum_cost_limit', "
         "'autovacuum_vacuum_cost_delay', 'vacuum_cost_limit', 'maintenance_work_mem', 'work_mem', "
         "'max_parallel_maintenance_workers', 'max_worker_processes', 'jit', 'commit_delay') ORDER BY name";
}

std::string widths_sql(planner::TableProfile const& table) {
  std::vector<std::string> parts;
  for (auto const& column : table.columns) {
    auto const family = planner::family_of(column);
    bool const is_text = family == planner::ValueFamily::kText || family == planner::ValueFamily::kDocument;
    bool const is_bytes = family == planner::ValueFamily::kBytes;
    if (column.is_array || (!is_text && !is_bytes)) continue;
    auto const name = planner::quote_identifier(column.name);
    std::string const length = fmt::format("octet_length({}{})", name, is_bytes ? "" : "::text");
    parts.push_back(fmt::format(
        "SELECT {0}::text, percentile_disc('{{0,.1,.2,.3,.4,.5,.6,.7,.8,.9,1}}'::float8[]) WITHIN GROUP (ORDER BY "
        "{1})::text[], "
        "least(coalesce(sum(pg_column_size({2}))::float8 / nullif(sum({1}), 0), 1), 1) FROM sampled WHERE {2} IS NOT "
        "NULL HAVING count(*) > 0",
        planner::quote_literal(column.name), length, name));
  }
  if (parts.empty()) return "";
  double const percent = std::clamp(
      100.0 * static_cast<double>(kSampledBytes) / static_cast<double>(std::max<std::int64_t>(table.heap_bytes, 1)),
      0.0001, 100.0);
  return fmt::format(
      "WITH sampled AS MATERIALIZED (SELECT * FROM ONLY {} TABLESAMPLE SYSTEM ({:.4f}) REPEATABLE (1) LIMIT {}) {}",
      planner::quote_qualified(table.table.schema, table.table.name), percent, kSampledRows,
      planner::join(parts, " UNION ALL "));
}

}  // namespace pgbackfill::engine
