// How full the tables of a job were when it began, of which its budget of growth is.

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

// "-1:i:193:0.25,8:d::" as leaf_fill() has it.
std::vector<throttle::ColumnWidth> widths_of(std::string const& text) {
  std::vector<throttle::ColumnWidth> columns;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    std::istringstream fields(part);
    std::string length, alignment, width, null_share;
    std::getline(fields, length, ':');
    std::getline(fields, alignment, ':');
    std::getline(fields, width, ':');
    std::getline(fields, null_share, ':');
    throttle::ColumnWidth column;
    column.length = std::stoi(length);
    column.alignment = alignment.empty() ? 'i' : alignment.front();
    if (!width.empty()) column.width = std::stod(width);
    if (!null_share.empty()) column.null_share = std::stod(null_share);
    columns.push_back(column);
  }
  return columns;
}

}  // namespace

std::string leaf_fill(std::int64_t job, std::uint64_t least_bytes) {
  return fmt::format(
      "SELECT l.leaf, l.bytes, l.bytes_needed, l.rows_estimated, CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN "
      "c.reltuples::float8 / c.relpages END, current_setting('block_size'), coalesce((SELECT o.option_value FROM "
      "pg_catalog.pg_options_to_table(c.reloptions) o WHERE o.option_name = 'fillfactor'), '100'), (SELECT "
      "string_agg(a.attlen || ':' || a.attalign::text || ':' || coalesce(s.avg_width::text, '') || ':' || "
      "coalesce(s.null_frac::text, ''), ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a LEFT JOIN "
      "pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT "
      "s.inherited WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'), "
      "earlier.bytes_per_row, earlier.rows FROM pgbackfill.leaves l JOIN pg_catalog.pg_class c ON c.oid = l.relation "
      "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (SELECT min(j.bytes / j.rows) AS "
      "bytes_per_row, (array_agg(j.rows ORDER BY j.id DESC))[1]::bigint AS rows FROM (SELECT j.id, o.bytes::float8 AS "
      "bytes, (SELECT sum(r.rows_done) FROM pgbackfill.ranges r WHERE r.job_id = o.job_id AND r.leaf = o.leaf AND "
      "r.pass = 0)::float8 AS rows FROM pgbackfill.leaves o JOIN pgbackfill.jobs j ON j.id = o.job_id WHERE o.relation "
      "= l.relation AND o.job_id <> l.job_id AND j.status = 'complete') AS j WHERE j.rows > 0) AS earlier WHERE "
      "l.job_id = {} AND l.bytes >= {} ORDER BY l.leaf",
      job, least_bytes);
}

LeafFill leaf_fill_of(std::vector<std::optional<std::string>> const& row) {
  LeafFill fill;
  fill.leaf = std::stoi(*row[0]);
  fill.table.bytes = std::stoull(*row[1]);
  if (row[2]) fill.bytes_needed = std::stoull(*row[2]);
  fill.table.rows = std::stoll(*row[3]);
  if (row[4]) fill.table.rows_per_page = std::stod(*row[4]);
  fill.table.page_bytes = std::stoull(*row[5]);
  fill.table.fillfactor = std::stoi(*row[6]);
  fill.table.columns = widths_of(row[7].value_or(""));
  if (row[8]) fill.table.bytes_per_row_before = std::stod(*row[8]);
  // An earlier job has counted them. Vacuums of a table that is half changed leave a reltuples that is too low.
  if (row[9]) fill.table.rows = std::max<std::int64_t>(fill.table.rows, std::stoll(*row[9]));
  return fill;
}

std::string set_bytes_needed(std::int64_t job, int leaf, std::uint64_t bytes) {
  return fmt::format(
      "UPDATE pgbackfill.leaves SET bytes_needed = {} WHERE job_id = {} AND leaf = {} AND bytes_needed IS NULL", bytes,
      job, leaf);
}

}  // namespace pgbackfill::engine::state
