// Who works which range: claims, releases, splits, and leases that are taken away.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine {

std::string lease_name(Owner const& owner, int worker) {
  return fmt::format("{}/{}", owner.id, worker);
}

}  // namespace pgbackfill::engine

namespace pgbackfill::engine::state {

namespace {

std::string lease_columns() {
  return "range_id, leaf, pass, epoch, sequence, cursor, hi";
}

}  // namespace

std::string claim(std::int64_t job, Owner const& owner, int worker) {
  std::string const name = quote_literal(lease_name(owner, worker));
  // Who claims works on nothing: a range in its name is one whose claim or release it never heard of, or one that a
  // fail-over brought back.
  return fmt::format(
      "WITH open AS (SELECT r.range_id FROM pgbackfill.ranges r JOIN pgbackfill.jobs j ON j.id = r.job_id WHERE j.id = "
      "{} AND j.status = 'running' AND r.pass = j.pass AND NOT r.done AND (r.owner IS NULL OR r.owner = {} OR "
      "{} IS NOT TRUE) ORDER BY r.range_id LIMIT 1 FOR UPDATE OF r SKIP LOCKED)\nUPDATE "
      "pgbackfill.ranges r SET "
      "owner = {}, host = {}, machine = {}, pid = {}, epoch = epoch + 1, lease_expires = clock_timestamp() + {} FROM "
      "open WHERE r.job_id = {} AND r.range_id = open.range_id RETURNING r.range_id, leaf, pass, epoch, sequence, "
      "cursor, hi",
      job, name, is_live("r"), name, quote_literal(owner.host), quote_literal(owner.machine), owner.pid,
      interval_text(owner.lease_time), job);
}

std::string reread(std::int64_t job, planner::Lease const& lease, std::string const& lease_owner) {
  // The lock waits for a batch of a lost connection that the server is still at: its outcome is known afterwards.
  return fmt::format(
      "SELECT {} FROM pgbackfill.ranges WHERE job_id = {} AND range_id = {} AND epoch = {} AND owner = {} AND NOT done "
      "FOR UPDATE",
      lease_columns(), job, lease.range_id, lease.epoch, quote_literal(lease_owner));
}

std::string release(std::int64_t job, planner::Lease const& lease, std::string const& lease_owner) {
  return fmt::format(
      "UPDATE pgbackfill.ranges SET owner = NULL, lease_expires = NULL WHERE job_id = {} AND range_id = {} AND epoch = "
      "{} AND owner = {} AND NOT done",
      job, lease.range_id, lease.epoch, quote_literal(lease_owner));
}

std::string leases_of_machine(std::int64_t job, Owner const& owner) {
  return fmt::format(
      "SELECT DISTINCT pid FROM pgbackfill.ranges WHERE job_id = {} AND NOT done AND owner IS NOT NULL AND machine = "
      "{}",
      job, quote_literal(owner.machine));
}

std::string release_process(std::int64_t job, std::string const& machine, int pid) {
  return fmt::format(
      "UPDATE pgbackfill.ranges SET owner = NULL, lease_expires = NULL, epoch = epoch + 1 WHERE job_id = {} AND NOT "
      "done "
      "AND machine = {} AND pid = {}",
      job, quote_literal(machine), pid);
}

std::string split_candidate(std::int64_t job) {
  return fmt::format(
      "SELECT r.range_id, r.leaf, r.cursor, r.hi, greatest(r.rows_estimated - r.rows_done, 0) FROM pgbackfill.ranges r "
      "JOIN pgbackfill.jobs j ON j.id = r.job_id WHERE j.id = {} AND j.status = 'running' AND r.pass = j.pass AND NOT "
      "r.done AND r.owner IS NOT NULL ORDER BY r.rows_estimated - r.rows_done DESC, r.range_id LIMIT 1",
      job);
}

std::string split(std::int64_t job, std::int64_t range, Bound const& hi, planner::KeyValue const& middle,
                  planner::Key const& key, Owner const& owner, int worker) {
  std::string not_past;
  if (key.is_by_block()) {
    not_past = fmt::format("(cursor IS NULL OR (cursor[1])::bigint <= {})", middle.front());
  } else {
    std::vector<std::string> columns;
    for (std::size_t index = 0; index < key.columns.size(); ++index) {
      auto const& column = key.columns[index];
      columns.push_back(fmt::format("(cursor[{}])::{}{} AS {}", index + 1, planner::qualified_type(column.type),
                                    column.order_collation.empty() ? "" : " COLLATE " + column.order_collation,
                                    planner::quote_identifier(column.name)));
    }
    not_past = fmt::format(
        "(cursor IS NULL OR cursor IS NOT DISTINCT FROM lo OR EXISTS (SELECT 1 FROM (SELECT {}) AS c WHERE {}))",
        planner::join(columns, ", "), planner::interval_condition(key, {std::nullopt, middle}, "c"));
  }
  return fmt::format(
      "WITH cut AS (UPDATE pgbackfill.ranges SET hi = {}, rows_estimated = rows_done + greatest(rows_estimated - "
      "rows_done, 0) / 2 WHERE job_id = {} AND range_id = {} AND NOT done AND hi IS NOT DISTINCT FROM {} AND {} "
      "RETURNING leaf, pass, rows_estimated - rows_done AS rest)\nINSERT INTO pgbackfill.ranges (job_id, leaf, pass, "
      "lo, hi, cursor, rows_estimated, owner, host, machine, pid, epoch, lease_expires) SELECT {}, leaf, pass, {}, {}, "
      "{}, rest, {}, {}, {}, {}, 1, clock_timestamp() + {} FROM cut RETURNING {}",
      bound_text(middle), job, range, bound_text(hi), not_past, job, bound_text(middle), bound_text(hi),
      bound_text(middle), quote_literal(lease_name(owner, worker)), quote_literal(owner.host),
      quote_literal(owner.machine), owner.pid, interval_text(owner.lease_time), lease_columns());
}

std::string job_leases(std::string const& name) {
  return fmt::format(
      "SELECT r.host, r.pid, count(*), CASE WHEN bool_or({}) THEN {} ELSE least({}, -1) END, r.machine FROM "
      "pgbackfill.ranges r WHERE r.job_id = {} AND NOT r.done AND r.owner IS NOT NULL GROUP BY r.host, r.machine, "
      "r.pid "
      "ORDER BY r.host, r.pid",
      is_live("r"),
      milliseconds_between("clock_timestamp()", "min(r.lease_expires) FILTER (WHERE " + is_live("r") + ")"),
      milliseconds_between("clock_timestamp()", "min(r.lease_expires)"), job_id_of(name));
}

std::string job_lease_owners(std::string const& name) {
  return fmt::format(
      "SELECT held.process, min(held.host), min(held.pid), min(held.machine), count(*), {}, EXISTS (SELECT FROM "
      "pgbackfill.runners p WHERE p.process = held.process AND {}) FROM (SELECT "
      "split_part(r.owner, '/', 1) AS process, r.host, r.pid, r.machine, CASE WHEN {} THEN "
      "r.lease_expires END AS lease_expires FROM pgbackfill.ranges r "
      "WHERE "
      "r.job_id = {} AND NOT r.done AND r.owner IS NOT NULL) held GROUP BY held.process ORDER BY 2, 3",
      milliseconds_between("clock_timestamp()", "max(held.lease_expires)"), was_heard_lately("p"), is_live("r"),
      job_id_of(name));
}

std::string take_leases(std::int64_t job, std::string const& process, std::string const& why, Owner const& owner) {
  return fmt::format(
      "WITH freed AS (UPDATE pgbackfill.ranges SET owner = NULL, lease_expires = NULL, epoch = epoch + 1 WHERE job_id "
      "= "
      "{0} AND NOT done AND split_part(owner, '/', 1) = {1} RETURNING range_id), changed AS (SELECT id, name FROM "
      "pgbackfill.jobs WHERE id = {0} AND EXISTS (SELECT FROM freed)), event AS ({2}) SELECT count(*) FROM freed",
      job, quote_literal(process), event_of_change("leases taken", quote_literal(why), owner));
}

}  // namespace pgbackfill::engine::state
