// What `on:` has told of a migration: an event is told by the process that claims it first.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

using planner::Occasion;

// Of a rollback the steps are gone, and so is the job.
std::string mark_of_end(std::string const& name, std::string const& command) {
  if (command == "rollback") {
    return fmt::format(
        "SELECT max(e.id)::text FROM pgbackfill.events e WHERE e.migration = {} AND e.kind = 'rolled back' AND "
        "e.job_id IS NULL",
        name);
  }
  std::string const steps = fmt::format(
      "(SELECT 'steps ' || extract(epoch FROM max(s.done_at)) FROM pgbackfill.steps s WHERE s.migration = {})", name);
  if (command == "complete") return "SELECT " + steps;
  return fmt::format(
      "SELECT coalesce((SELECT 'job ' || j.id || ' ' || extract(epoch FROM j.completed_at) FROM pgbackfill.jobs j "
      "WHERE j.name = {}), {})",
      name, steps);
}

// A rollback cancels a job that runs, and says so again when it takes the job away.
std::string mark_of_cancel(std::string const& name) {
  return fmt::format(
      "SELECT max(e.id)::text FROM pgbackfill.events e WHERE e.migration = {0} AND (e.kind = 'cancelled' OR e.kind = "
      "'rolled back' AND NOT EXISTS (SELECT 1 FROM pgbackfill.events c WHERE c.migration = {0} AND c.kind = "
      "'cancelled' AND c.detail LIKE 'rolled back by %' AND c.id < e.id AND c.id > coalesce((SELECT max(b.id) FROM "
      "pgbackfill.events b WHERE b.migration = {0} AND b.kind = 'created' AND b.id < e.id), 0)))",
      name);
}

// SQL of a text that is another one for each event of its kind, and the same in all processes, whatever their sessions'
// time zones; NULL: it is of a process alone.
std::string mark_of(NoticeClaim const& claim) {
  auto const name = quote_literal(claim.migration);
  std::string const job = "(SELECT j.id FROM pgbackfill.jobs j WHERE j.name = " + name + ")";
  switch (claim.occasion) {
    case Occasion::kDone:
      return mark_of_end(name, claim.command);
    case Occasion::kPause:
      // It may have been paused by SQL, which leaves no event.
      return fmt::format(
          "SELECT concat_ws(' ', j.id, (SELECT max(e.id) FROM pgbackfill.events e WHERE e.migration = j.name AND "
          "e.kind IN ('paused', 'resumed', 'cancelled')), extract(epoch FROM j.paused_until), j.status_reason) FROM "
          "pgbackfill.jobs j WHERE j.name = {}",
          name);
    case Occasion::kCancel:
      return mark_of_cancel(name);
    case Occasion::kStall:
      // Claims and splits of ranges are no progress.
      return fmt::format(
          "SELECT j.id || ' ' || coalesce((SELECT sum(r.rows_done)::text FROM pgbackfill.ranges r WHERE r.job_id = "
          "j.id), '') FROM pgbackfill.jobs j WHERE j.name = {}",
          name);
    case Occasion::kHeldBack:
      return "SELECT extract(epoch FROM clock_timestamp())::text";
    case Occasion::kQuarantine:
      return fmt::format("SELECT max(q.id)::text FROM pgbackfill.quarantine q WHERE q.job_id = {}", job);
    case Occasion::kWindowClosed:
      return "SELECT " + quote_literal(claim.opens_at);
    case Occasion::kFailure:
      break;
  }
  return "SELECT NULL::text";
}

}  // namespace

std::string claim_notice(NoticeClaim const& claim, Owner const& owner) {
  bool const is_number = claim.occasion == Occasion::kQuarantine;
  // More rows were set aside; that fewer are left is no event.
  // Processes see one stall within moments of each other. The run of the next night may stall at the same row.
  std::string const is_long_ago =
      claim.occasion == Occasion::kStall ? " OR n.told_at < clock_timestamp() - interval '15 minutes'" : "";
  auto const is_other_than = [&](std::string const& mark) {
    return is_number ? fmt::format("n.mark::bigint < {}::bigint", mark)
                     : fmt::format("(n.mark <> {}{})", mark, is_long_ago);
  };
  bool const has_interval = claim.interval.count() > 0;
  std::string const is_due =
      has_interval ? "n.told_at <= clock_timestamp() - " + interval_text(claim.interval) : std::string("true");
  return fmt::format(
      "WITH m AS MATERIALIZED (SELECT ({5}) AS mark), told AS (INSERT INTO pgbackfill.notices AS n (migration, "
      "command, "
      "event, mark, host, pid) SELECT {0}, {1}, {2}, m.mark, {3}, {4} FROM m WHERE m.mark IS NOT NULL ON CONFLICT "
      "(migration, command, event) DO UPDATE SET mark = excluded.mark, told_at = clock_timestamp(), host = "
      "excluded.host, pid = excluded.pid WHERE {6} AND {8} RETURNING 1) SELECT CASE WHEN m.mark IS NULL OR EXISTS "
      "(SELECT 1 FROM told) THEN 'granted' WHEN EXISTS (SELECT 1 FROM pgbackfill.notices n WHERE n.migration = {0} AND "
      "n.command = {1} AND n.event = {2} AND {7}) THEN 'early' ELSE 'told' END FROM m",
      quote_literal(claim.migration), quote_literal(claim.command),
      quote_literal(std::string(planner::name_of(claim.occasion))), quote_literal(owner.host), owner.pid,
      mark_of(claim), is_other_than("excluded.mark"), is_other_than("m.mark"), is_due);
}

}  // namespace pgbackfill::engine::state
