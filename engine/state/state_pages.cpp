#include "engine/state/state_pages.h"

#include <fmt/format.h>

#include "engine/state/row_fields.h"
#include "engine/state/state_sql.h"

namespace pgbackfill::engine::state {

namespace {

constexpr char kLeafName[] = "l.table_schema || '.' || l.table_name";

}  // namespace

std::string list_ranges(std::string const& migration, std::int64_t limit) {
  return fmt::format(
      "SELECT r.leaf, {}, r.range_id, r.lo, r.hi, r.rows_estimated, r.rows_done, r.done, NOT r.done AND r.owner IS NOT "
      "NULL AND {} IS TRUE, r.host, r.pid FROM pgbackfill.ranges r JOIN pgbackfill.jobs j ON j.id = r.job_id AND "
      "r.pass = j.pass JOIN pgbackfill.leaves l ON l.job_id = r.job_id AND l.leaf = r.leaf WHERE j.id = {} ORDER BY "
      "r.leaf, r.range_id LIMIT {}",
      kLeafName, is_live("r"), job_id_of(migration), limit);
}

RangeRow range_row_of(std::vector<std::optional<std::string>> const& row) {
  RowFields fields(row);
  RangeRow range;
  range.leaf = fields.number();
  range.table = fields.text();
  range.range = fields.number();
  range.lo = fields.maybe_text();
  range.hi = fields.maybe_text();
  range.rows_estimated = fields.number();
  range.rows_done = fields.number();
  range.is_done = fields.text() == "t";
  range.is_held = fields.text() == "t";
  range.host = fields.text();
  range.pid = fields.number();
  return range;
}

std::string list_quarantine(std::string const& migration, std::int64_t limit) {
  return fmt::format(
      "SELECT q.id, {}, q.sqlstate, {}, q.key, q.message FROM pgbackfill.quarantine q JOIN pgbackfill.leaves l USING "
      "(job_id, leaf) WHERE q.job_id = {} ORDER BY q.id LIMIT {}",
      kLeafName, utc_text("q.at"), job_id_of(migration), limit);
}

QuarantineRow quarantine_row_of(std::vector<std::optional<std::string>> const& row) {
  RowFields fields(row);
  QuarantineRow one;
  one.id = fields.number();
  one.table = fields.text();
  one.sqlstate = fields.text();
  one.at = fields.text();
  one.key = fields.text();
  one.message = fields.text();
  return one;
}

std::string deferred_by_table(std::string const& migration) {
  return fmt::format(
      "SELECT {}, count(*), {}, max(d.visits) FROM pgbackfill.deferred d JOIN pgbackfill.leaves l USING (job_id, leaf) "
      "WHERE d.job_id = {} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50",
      kLeafName, utc_text("min(d.since)"), job_id_of(migration));
}

DeferredRows deferred_rows_of(std::vector<std::optional<std::string>> const& row) {
  RowFields fields(row);
  DeferredRows one;
  one.table = fields.text();
  one.rows = fields.number();
  one.since = fields.text();
  one.visits = fields.number();
  return one;
}

std::string plan_hash(std::string const& plan) {
  return "SELECT " + hash_of(plan);
}

}  // namespace pgbackfill::engine::state
