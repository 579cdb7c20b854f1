// What a batch sends: its settings, the fence, work and checkpoint in one statement, and visits of deferred keys.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

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
      // For triggers that leave batches alone; those of `sync:` ask for the migration, below.
      {"pgbackfill.batch", "on"},
  };
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
  // With this session's number: ALTER DATABASE SET or ALTER ROLE SET must not make batches of everybody's writes.
  calls.push_back(fmt::format("set_config('pgbackfill.migration', {} || pg_backend_pid(), true)",
                              quote_literal(settings.migration + ":")));
  return "SELECT " + planner::join(calls, ", ");
}

namespace {

// What the work has left for us: see planner/work/work_sql.h.
std::string told(char const* name) {
  return fmt::format("current_setting('pgbackfill.{}')", name);
}

std::string number_told(char const* name) {
  return told(name) + "::bigint";
}

// Keys that were left out, as a relation of text[].
std::string keys_left() {
  return "(SELECT ARRAY(SELECT t.text FROM jsonb_array_elements_text(k.key) WITH ORDINALITY t (text, place) ORDER BY "
         "t.place) AS key FROM jsonb_array_elements(" +
         told("left") + "::jsonb) k (key))";
}

}  // namespace

std::string fence(std::int64_t job, planner::Lease const& lease, std::string const& owner) {
  return fmt::format("SELECT pgbackfill.fence({}, {}, {}, {}, {}, {}, {})", job, lease.range_id, lease.epoch,
                     lease.sequence, bound_text(lease.cursor), bound_text(lease.hi), quote_literal(owner));
}

std::string checkpoint(std::int64_t job, planner::BatchRequest const& request, planner::BatchWork const& work,
                       std::int64_t quarantine_budget, std::int64_t rows_per_key,
                       std::chrono::milliseconds lease_time) {
  std::string const changed = work.has_work ? number_told("changed") : "0::bigint";
  std::string const left = work.has_left ? "jsonb_array_length(" + told("left") + "::jsonb)::bigint" : "0::bigint";
  std::string counted = changed;
  if (work.can_repeat) {
    counted = fmt::format("pgbackfill.unless_repeating({}, {} > 0)", changed, number_told("again"));
  }
  if (work.knows_moved) {
    counted = fmt::format("pgbackfill.unless_moved({}, ARRAY(SELECT jsonb_array_elements_text({}::jsonb) LIMIT 5))",
                          counted, told("moved"));
  }
  if (work.may_fan_out) {
    counted = fmt::format("pgbackfill.unless_fanned_out({}, {}, {})", counted, request.rows, rows_per_key);
  }
  std::string kept_left = left;
  std::string stored;
  if (work.has_left && request.set_aside == planner::SetAside::kDefer) {
    stored = fmt::format(
        "WITH stored AS (INSERT INTO pgbackfill.deferred (job_id, leaf, key) SELECT {}, {}, l.key FROM {} l ON "
        "CONFLICT "
        "DO NOTHING)\n",
        job, request.lease.leaf, keys_left());
  } else if (work.has_left && request.set_aside == planner::SetAside::kQuarantine) {
    stored = fmt::format(
        "WITH stored AS (INSERT INTO pgbackfill.quarantine (job_id, leaf, key, sqlstate, message) SELECT {}, {}, "
        "l.key, "
        "{}, {} FROM {} l ON CONFLICT DO NOTHING)\n",
        job, request.lease.leaf, quote_literal(request.sqlstate), quote_literal(request.message), keys_left());
    // A row that is there already (a later pass met it again) does not count twice. Only the row that failed by itself
    // may go: one that was inserted beside it since is sound.
    kept_left = fmt::format(
        "pgbackfill.within_budget({0}, (SELECT count(*) FROM {4} l WHERE NOT EXISTS (SELECT 1 FROM "
        "pgbackfill.quarantine q WHERE q.job_id = {0} AND q.leaf = {1} AND q.key = l.key)), (SELECT count(*) FROM "
        "{4} l WHERE l.key IS DISTINCT FROM {2}), {3})",
        job, request.lease.leaf, bound_text(request.interval.hi), quarantine_budget, keys_left());
  }
  std::string const again = work.knows_again ? fmt::format(", rows_again = rows_again + {}", number_told("again")) : "";
  return fmt::format(
      "{}UPDATE pgbackfill.ranges SET cursor = {}, sequence = sequence + 1, done = {}, rows_done = rows_done + {}, "
      "rows_changed = rows_changed + {}, rows_left = rows_left + {}, batches = batches + 1, updated_at = "
      "clock_timestamp(), lease_expires = clock_timestamp() + {}{}{} WHERE job_id = {} AND range_id = {} RETURNING {}, "
      "{}",
      stored, bound_text(request.interval.hi), request.ends_range ? "true" : "false", request.rows, counted, kept_left,
      interval_text(lease_time), request.ends_range ? ", owner = NULL" : "", again, job, request.lease.range_id,
      changed, left);
}

// The lock keeps whoever ends the following from measuring in between; it is taken only where there is something.
std::string defer_found(std::int64_t job, int leaf, std::string const& ended) {
  return fmt::format(
      "WITH job AS MATERIALIZED (SELECT id FROM pgbackfill.jobs WHERE id = {0} AND status = 'complete' AND "
      "coalesce(settings ->> {2}, '') = {3} AND jsonb_array_length({4}::jsonb) > 0 FOR SHARE), stored AS (INSERT INTO "
      "pgbackfill.deferred (job_id, leaf, key) SELECT job.id, {1}, l.key FROM job CROSS JOIN {5} l WHERE NOT EXISTS "
      "(SELECT FROM pgbackfill.quarantine q WHERE q.job_id = {0} AND q.leaf = {1} AND q.key = l.key) ON CONFLICT DO "
      "NOTHING RETURNING 1) SELECT count(*) FROM stored",
      job, leaf, quote_literal(kFollowEnded), quote_literal(ended), told("left"), keys_left());
}

std::string has_contract_begun(std::string const& name) {
  return fmt::format(
      "SELECT EXISTS (SELECT FROM pgbackfill.steps WHERE migration = {0} AND phase = 'contract') OR EXISTS (SELECT "
      "FROM pgbackfill.claims WHERE migration = {0} AND phase = 'contract')",
      quote_literal(name));
}

namespace {

// Locks the deferred keys that `chosen` picks and nobody else has, and tells the work of them.
std::string tell_deferred(std::int64_t job, int leaf, std::string const& chosen) {
  return fmt::format(
      "WITH due AS (SELECT id, key FROM pgbackfill.deferred WHERE job_id = {} AND leaf = {}{} FOR UPDATE SKIP LOCKED) "
      "SELECT set_config('pgbackfill.due', coalesce(jsonb_agg(jsonb_build_object('id', id, 'key', key)), '[]')::text, "
      "true) FROM due",
      job, leaf, chosen);
}

}  // namespace

std::string choose_deferred(std::int64_t job, int leaf, std::int64_t rows, std::optional<std::int64_t> only) {
  std::string const chosen = only ? fmt::format(" AND id = {}", *only) : "";
  return tell_deferred(job, leaf, fmt::format("{} ORDER BY visited_at NULLS FIRST, id LIMIT {}", chosen, rows));
}

std::string choose_deferred_again(std::int64_t job, int leaf, std::string const& due) {
  return tell_deferred(job, leaf,
                       fmt::format(" AND id IN (SELECT (d ->> 'id')::bigint FROM jsonb_array_elements({}::jsonb) d)",
                                   quote_literal(due)));
}

std::string record_visit(std::int64_t job) {
  return fmt::format(
      "WITH due AS (SELECT d.id FROM jsonb_to_recordset({1}::jsonb) d (id bigint)), settled AS (SELECT s.id::bigint AS "
      "id FROM jsonb_array_elements_text({2}::jsonb) s (id)), cleared AS (DELETE FROM pgbackfill.deferred WHERE id IN "
      "(SELECT id FROM settled) RETURNING 1),\nvisited AS (UPDATE pgbackfill.deferred SET visits = visits + 1, "
      "visited_at = clock_timestamp() WHERE id IN (SELECT id FROM due) AND id NOT IN (SELECT id FROM settled) "
      "RETURNING "
      "1),\ncounted AS (UPDATE pgbackfill.jobs SET rows_changed_on_visits = rows_changed_on_visits + {3} WHERE id = "
      "{0} "
      "AND {3} > 0 RETURNING 1)\nSELECT {3}, (SELECT count(*) FROM cleared), (SELECT count(*) FROM visited), (SELECT "
      "count(*) FROM counted)",
      job, told("due"), told("settled"), number_told("changed"));
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
