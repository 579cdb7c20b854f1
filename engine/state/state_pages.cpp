#include "engine/state/state_pages.h"

#include <fmt/format.h>

#include "engine/state/state_sql.h"

namespace pgbackfill::engine::state {

namespace {

constexpr char kLeafName[] = "l.table_schema || '.' || l.table_name";

}  // namespace

std::string list_ranges(std::string const& migration, std::int64_t limit) {
  return fmt::format(
      "SELECT r.leaf, {}, r.range_id, r.lo, r.hi, r.rows_estimated, r.rows_done, r.done, NOT r.done AND r.owner IS NOT "
      "NULL AND {} IS TRUE, coalesce(r.host, ''), coalesce(r.pid, 0) FROM pgbackfill.ranges r JOIN pgbackfill.jobs j "
      "ON j.id = r.job_id AND "
      "r.pass = j.pass JOIN pgbackfill.leaves l ON l.job_id = r.job_id AND l.leaf = r.leaf WHERE j.id = {} ORDER BY "
      "r.leaf, r.range_id LIMIT {}",
      kLeafName, is_live("r"), job_id_of(migration), limit);
}

std::string list_quarantine(std::string const& migration, std::int64_t limit) {
  return fmt::format(
      "SELECT q.id, {}, q.sqlstate, coalesce({}, ''), q.key, q.message FROM pgbackfill.quarantine q JOIN "
      "pgbackfill.leaves l USING "
      "(job_id, leaf) WHERE q.job_id = {} ORDER BY q.id LIMIT {}",
      kLeafName, utc_text("q.at"), job_id_of(migration), limit);
}

std::string deferred_by_table(std::string const& migration) {
  return fmt::format(
      "SELECT {}, count(*), coalesce({}, ''), max(d.visits) FROM pgbackfill.deferred d JOIN pgbackfill.leaves l USING "
      "(job_id, leaf) "
      "WHERE d.job_id = {} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50",
      kLeafName, utc_text("min(d.since)"), job_id_of(migration));
}

std::string plan_hash(std::string const& plan) {
  return "SELECT " + hash_of(plan);
}

}  // namespace pgbackfill::engine::state
