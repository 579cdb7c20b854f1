// What a batch sends: its settings, the fence, work and checkpoint in one statement, and visits of deferred keys.

#include <fmt/format.h>

#include "engine/state_sql.h"
#include "engine/state_store.h"

namespace pgbackfill::engine::state {

std::vector<std::pair<std::string, std::string>> const& key_text_settings() {
  static std::vector<std::pair<std::string, std::string>> const settings = {
      {"DateStyle", "ISO, YMD"}, {"IntervalStyle", "postgres"}, {"extra_float_digits", "3"}, {"bytea_output", "hex"}};
  return settings;
}

std::string local_settings(LocalSettings const& settings) {
  std::vector<std::pair<std::string, std::string>> values = {
      {"statement_timeout", milliseconds_text(settings.statement_timeout)},
      {"lock_timeout", milliseconds_text(settings.lock_timeout)},
      {"idle_in_transaction_session_timeout", "10000"},
      // A policy that hides rows from the role has to fail the batch, not to shrink it.
      {"row_security", "off"},
      // Parallel workers and JIT are for long queries; a batch is short.
      {"max_parallel_workers_per_gather", "0"},
      {"jit", "off"},
      // Lets a sync trigger skip our own batches.
      {"pgbackfill.batch", "on"},
  };
  values.insert(values.end(), key_text_settings().begin(), key_text_settings().end());
  if (settings.asynchronous_commit) values.emplace_back("synchronous_commit", "off");
  if (settings.skip_triggers) values.emplace_back("session_replication_role", "replica");
  if (settings.prefer_index) {
    for (char const* method : {"enable_seqscan", "enable_hashjoin", "enable_mergejoin"})
      values.emplace_back(method, "off");
  }
  if (settings.server_version >= 170000 && settings.statement_timeout.count() > 0) {
    values.emplace_back("transaction_timeout", milliseconds_text(settings.statement_timeout * 4));
  }
  std::vector<std::string> calls;
  for (auto const& [name, value] : values) {
    calls.push_back(fmt::format("set_config({}, {}, true)", quote_literal(name), quote_literal(value)));
  }
  return "SELECT " + planner::join(calls, ", ");
}

std::string fence(std::int64_t job, planner::Lease const& lease, std::string const& owner) {
  return fmt::format("SELECT pgbackfill.fence({}, {}, {}, {}, {}, {}, {})", job, lease.range_id, lease.epoch,
                     lease.sequence, bound_text(lease.cursor), bound_text(lease.hi), quote_literal(owner));
}

std::string checkpoint(std::int64_t job, planner::BatchRequest const& request, planner::WorkCtes const& ctes,
                       std::int64_t quarantine_budget, std::chrono::milliseconds lease_time) {
  bool const is_counted = !ctes.statement.empty();
  std::string const work = is_counted
                               ? fmt::format("pgbackfill_work AS MATERIALIZED (SELECT pgbackfill.work({}) AS changed)",
                                             quote_literal(ctes.statement))
                               : ctes.text;
  std::string const changed = is_counted      ? "(SELECT changed FROM pgbackfill_work)"
                              : ctes.has_work ? "(SELECT count(*) FROM pgbackfill_work)"
                                              : "0::bigint";
  std::string const left = ctes.has_left ? "(SELECT count(*) FROM pgbackfill_left)" : "0::bigint";
  std::string counted = changed;
  if (ctes.can_repeat) {
    counted = fmt::format("pgbackfill.unless_repeating({}, (SELECT bool_or(again) FROM pgbackfill_work))", changed);
  }
  std::string kept_left = left;
  std::string stored;
  if (ctes.has_left && request.set_aside == planner::SetAside::kDefer) {
    stored = fmt::format(
        ",\nstored AS (INSERT INTO pgbackfill.deferred (job_id, leaf, key) SELECT {}, {}, key FROM pgbackfill_left "
        "ON CONFLICT DO NOTHING)",
        job, request.lease.leaf);
  } else if (ctes.has_left && request.set_aside == planner::SetAside::kQuarantine) {
    stored = fmt::format(
        ",\nstored AS (INSERT INTO pgbackfill.quarantine (job_id, leaf, key, sqlstate, message) SELECT {}, {}, key, "
        "{}, "
        "{} FROM pgbackfill_left ON CONFLICT DO NOTHING)",
        job, request.lease.leaf, quote_literal(request.sqlstate), quote_literal(request.message));
    // A row that is there already (a later pass met it again) does not count twice. Only the row that failed by itself
    // may go: one that was inserted beside it since is sound.
    kept_left = fmt::format(
        "pgbackfill.within_budget({0}, (SELECT count(*) FROM pgbackfill_left l WHERE NOT EXISTS (SELECT 1 FROM "
        "pgbackfill.quarantine q WHERE q.job_id = {0} AND q.leaf = {1} AND q.key = l.key)), (SELECT count(*) FROM "
        "pgbackfill_left l WHERE l.key IS DISTINCT FROM {2}), {3})",
        job, request.lease.leaf, bound_text(request.interval.hi), quarantine_budget);
  }
  std::string const again =
      ctes.knows_again ? ", rows_again = rows_again + (SELECT count(*) FROM pgbackfill_work WHERE again)" : "";
  return fmt::format(
      "WITH {}{}\nUPDATE pgbackfill.ranges SET cursor = {}, sequence = sequence + 1, done = {}, rows_done = rows_done "
      "+ {}, rows_changed = rows_changed + {}, rows_left = rows_left + {}, batches = batches + 1, updated_at = "
      "clock_timestamp(), lease_expires = clock_timestamp() + {}{}{} WHERE job_id = {} AND range_id = {} RETURNING {}, "
      "{}",
      work, stored, bound_text(request.interval.hi), request.ends_range ? "true" : "false", request.rows, counted,
      kept_left, interval_text(lease_time), request.ends_range ? ", owner = NULL" : "", again, job,
      request.lease.range_id, changed, left);
}

std::string visit(std::int64_t job, int leaf, std::int64_t rows, std::optional<std::int64_t> only,
                  planner::WorkCtes const& ctes) {
  std::string const chosen = only ? fmt::format(" AND id = {}", *only) : "";
  return fmt::format(
      "WITH pgbackfill_due AS (SELECT id, key FROM pgbackfill.deferred WHERE job_id = {0} AND leaf = {1}{4} ORDER BY "
      "visited_at NULLS FIRST, id LIMIT {2} FOR UPDATE SKIP LOCKED),\n{3},\ncleared AS (DELETE FROM "
      "pgbackfill.deferred WHERE id IN (SELECT id FROM pgbackfill_settled) RETURNING 1),\nvisited AS (UPDATE "
      "pgbackfill.deferred SET visits = visits + 1, visited_at = clock_timestamp() WHERE id IN (SELECT id FROM "
      "pgbackfill_due) AND id NOT IN (SELECT id FROM pgbackfill_settled) RETURNING 1),\ncounted AS (UPDATE "
      "pgbackfill.jobs SET rows_changed_on_visits = rows_changed_on_visits + (SELECT count(*) FROM pgbackfill_work) "
      "WHERE id = {0} AND EXISTS (SELECT 1 FROM pgbackfill_work) RETURNING 1)\nSELECT (SELECT count(*) FROM "
      "pgbackfill_work), (SELECT count(*) FROM cleared), (SELECT count(*) FROM visited), (SELECT count(*) FROM "
      "counted)",
      job, leaf, rows, ctes.text, chosen);
}

std::string next_deferred(std::int64_t job, int leaf) {
  return fmt::format(
      "SELECT id FROM pgbackfill.deferred WHERE job_id = {} AND leaf = {} ORDER BY visited_at NULLS FIRST, id LIMIT 1",
      job, leaf);
}

std::string mark_visited(std::int64_t deferred) {
  return fmt::format("UPDATE pgbackfill.deferred SET visits = visits + 1, visited_at = clock_timestamp() WHERE id = {}",
                     deferred);
}

std::string leaves_with_deferred(std::int64_t job) {
  return fmt::format("SELECT leaf, count(*) FROM pgbackfill.deferred WHERE job_id = {} GROUP BY leaf ORDER BY leaf",
                     job);
}

std::string deferred_keys(std::int64_t job, int leaf, std::int64_t rows) {
  return fmt::format("SELECT key FROM pgbackfill.deferred WHERE job_id = {} AND leaf = {} ORDER BY id LIMIT {}", job,
                     leaf, rows);
}

std::string quarantine_deferred(std::int64_t job, std::int64_t deferred, Failure const& failure, std::int64_t budget) {
  return fmt::format(
      "WITH taken AS (DELETE FROM pgbackfill.deferred WHERE id = {1} RETURNING leaf, key), checked AS (SELECT "
      "pgbackfill.within_budget({0}, (SELECT count(*) FROM taken t WHERE NOT EXISTS (SELECT 1 FROM "
      "pgbackfill.quarantine q "
      "WHERE q.job_id = {0} AND q.leaf = t.leaf AND q.key = t.key)), 0, {2}) AS n) INSERT INTO pgbackfill.quarantine "
      "(job_id, leaf, key, sqlstate, message) SELECT {0}, leaf, key, {3}, {4} FROM taken, checked ON CONFLICT DO "
      "NOTHING",
      job, deferred, budget, quote_literal(failure.sqlstate), quote_literal(failure.message));
}

}  // namespace pgbackfill::engine::state
