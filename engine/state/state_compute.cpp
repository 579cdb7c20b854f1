// What a job whose values a program computes needs beside the other ones: its identity, leases that last as long as the
// program takes, and rows that the program refuses.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

std::string job_identity(std::int64_t job) {
  return fmt::format("SELECT id || '/' || extract(epoch FROM created_at) FROM pgbackfill.jobs WHERE id = {}", job);
}

std::string renew(std::int64_t job, planner::Lease const& lease, Owner const& owner, std::string const& lease_owner) {
  return fmt::format(
      "UPDATE pgbackfill.ranges SET lease_expires = clock_timestamp() + {} WHERE job_id = {} AND range_id = {} AND "
      "epoch = {} AND sequence = {} AND owner = {} AND NOT done RETURNING range_id",
      interval_text(owner.lease_time), job, lease.range_id, lease.epoch, lease.sequence, quote_literal(lease_owner));
}

std::string is_set_aside(std::int64_t job, int leaf, std::string const& key) {
  return fmt::format(
      "EXISTS (SELECT FROM pgbackfill.quarantine AS pgbackfill_q WHERE pgbackfill_q.job_id OPERATOR(pg_catalog.=) {} "
      "AND pgbackfill_q.leaf OPERATOR(pg_catalog.=) {} AND pgbackfill_q.key OPERATOR(pg_catalog.=) {})",
      job, leaf, key);
}

std::string set_aside_rows(std::int64_t job, int leaf, std::vector<RefusedRow> const& rows, std::int64_t budget) {
  std::vector<std::string> values;
  for (auto const& row : rows) {
    values.push_back(fmt::format("(ARRAY(SELECT jsonb_array_elements_text({}::jsonb)), {})", quote_literal(row.key),
                                 quote_literal(row.message)));
  }
  return fmt::format(
      "WITH refused (key, message) AS MATERIALIZED (VALUES {0}), fresh AS MATERIALIZED (SELECT r.key FROM refused r "
      "WHERE NOT EXISTS (SELECT FROM pgbackfill.quarantine q WHERE q.job_id = {1} AND q.leaf = {2} AND q.key = "
      "r.key)), "
      "visited AS (DELETE FROM pgbackfill.deferred d USING refused r WHERE d.job_id = {1} AND d.leaf = {2} AND d.key = "
      "r.key), stored AS (INSERT INTO pgbackfill.quarantine (job_id, leaf, key, sqlstate, message) SELECT {1}, {2}, "
      "key, {4}, message FROM refused ON CONFLICT DO NOTHING) SELECT pgbackfill.within_budget({1}, (SELECT count(*) "
      "FROM fresh), 0, {3})",
      planner::join(values, ", "), job, leaf, budget, quote_literal(planner::kProgramState));
}

}  // namespace pgbackfill::engine::state
