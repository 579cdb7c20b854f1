// A job from its creation to its end: leaves and ranges, passes, status, and settings that change while it runs.

#include <fmt/format.h>

#include <stdexcept>

#include "engine/base/secret_mask.h"
#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

std::string range_insert(std::string const& job, int pass, std::vector<NewRange> const& ranges) {
  std::vector<std::string> values;
  for (auto const& [leaf, range] : ranges) {
    values.push_back(fmt::format("({}, {}, {}, {}, {}, {}, {})", job, leaf, pass, bound_text(range.interval.lo),
                                 bound_text(range.interval.hi), bound_text(range.interval.lo), range.rows_estimated));
  }
  return "INSERT INTO pgbackfill.ranges (job_id, leaf, pass, lo, hi, cursor, rows_estimated) VALUES " +
         planner::join(values, ", ");
}

std::int64_t bounded(std::optional<std::string> const& text, std::string const& where, std::int64_t least,
                     std::int64_t most) {
  auto const number = number_of(text, where);
  if (number >= least && number <= most) return number;
  throw BrokenState(
      fmt::format("{} is {}, and may be {} to {}; somebody changed it by hand", where, number, least, most));
}

}  // namespace

int workers_of(std::optional<std::string> const& text) {
  return static_cast<int>(bounded(text, "pgbackfill.jobs: workers", 0, planner::kMaxWorkers));
}

std::chrono::milliseconds batch_target_of(std::optional<std::string> const& text) {
  // A job of an older version may have been given less or more than is allowed now.
  return std::chrono::milliseconds(
      bounded(text, "pgbackfill.jobs: batch_target_ms", 1, 10 * planner::kMaxBatchTarget.count()));
}

std::string control(std::int64_t job, std::string const& owner) {
  return fmt::format(
      "SELECT j.status, j.status_reason, j.pass, j.workers, j.batch_target_ms, {}, j.rows_estimated, "
      "coalesce(sum(r.rows_done) FILTER (WHERE r.pass = 0), 0), coalesce(sum(r.rows_changed), 0) + "
      "j.rows_changed_on_visits, coalesce(sum(r.batches), 0), count(*) FILTER (WHERE NOT r.done AND r.pass = j.pass), "
      "count(*) FILTER (WHERE r.pass = j.pass), count(*) FILTER (WHERE NOT r.done AND r.owner IS NOT NULL AND "
      "{} AND r.owner NOT LIKE {} || '/%'), (SELECT count(*) FROM "
      "pgbackfill.deferred d WHERE d.job_id = j.id), (SELECT count(*) FROM pgbackfill.quarantine q WHERE q.job_id = "
      "j.id), coalesce(sum(r.rows_again), 0), {}, {} FROM pgbackfill.jobs j LEFT JOIN pgbackfill.ranges r ON r.job_id "
      "= "
      "j.id WHERE j.id = {} GROUP BY j.id",
      kLiveSettings, is_live("r"), quote_literal(owner), utc_text("j.paused_until"),
      milliseconds_between("clock_timestamp()", "j.paused_until"), job);
}

Control control_of(std::vector<std::optional<std::string>> const& row) {
  auto const number = [&](std::size_t column, char const* name) {
    return number_of(row[column], std::string("pgbackfill, of the job that is read: ") + name);
  };
  Control control;
  control.status = status_of(row[0].value_or("NULL"));
  control.reason = row[1].value_or("");
  control.pass = static_cast<int>(number(2, "jobs.pass"));
  control.workers = workers_of(row[3]);
  control.batch_target = batch_target_of(row[4]);
  control.throttle_settings = live_settings(row[5]);
  control.compute_settings = live_settings(row[5], kComputePrefix);
  auto const of_follow = live_settings(row[5], kFollowEnded);
  if (!of_follow.empty()) control.follow_ended = of_follow.begin()->second;
  control.rows_estimated = number(6, "jobs.rows_estimated");
  control.rows_done = number(7, "sum of ranges.rows_done");
  control.rows_changed = number(8, "sum of ranges.rows_changed");
  control.batches = number(9, "sum of ranges.batches");
  control.ranges_open = number(10, "open ranges");
  control.ranges_total = number(11, "ranges");
  control.ranges_held_elsewhere = number(12, "ranges that are held");
  control.deferred = number(13, "deferred");
  control.quarantined = number(14, "quarantine");
  control.rows_again = number(15, "sum of ranges.rows_again");
  control.paused_until = row[16].value_or("");
  if (row[17]) control.pause_left = std::chrono::milliseconds(number(17, "jobs.paused_until"));
  return control;
}

std::vector<std::string> create_job(NewJob const& job, Owner const& owner) {
  std::int64_t rows = 0;
  for (auto const& leaf : job.leaves) rows += leaf.rows_estimated;
  rows = job.rows.value_or(rows);
  std::vector<std::string> statements;
  statements.push_back(
      fmt::format("INSERT INTO pgbackfill.jobs (name, definition, table_schema, table_name, relation, sweeps, workers, "
                  "batch_target_ms, rows_estimated, estimated_ms, estimated_bytes, estimated_wal_bytes, wal_at_start, "
                  "state_relation) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
                  "'pgbackfill.jobs'::regclass)",
                  quote_literal(job.name), quote_literal(job.definition), quote_literal(job.table_schema),
                  quote_literal(job.table_name), job.relation, job.sweeps ? "true" : "false", job.workers,
                  job.batch_target.count(), rows, job.estimate ? milliseconds_text(job.estimate->time) : "NULL",
                  optional_number(job.estimate ? job.estimate->heap_bytes : std::nullopt),
                  optional_number(job.estimate ? job.estimate->wal_bytes : std::nullopt),
                  job.estimate ? "pg_current_wal_insert_lsn()" : "NULL"));
  std::string const id = job_id_of(job.name);
  for (auto const& leaf : job.leaves) statements.push_back(leaf_insert(id, leaf));
  if (!job.ranges.empty()) statements.push_back(range_insert(id, 0, job.ranges));
  // The ends of the ranges are of these tables, and not of others that had their names for a moment.
  for (auto const& leaf : job.leaves) {
    statements.push_back(same_leaf(planner::quote_qualified(leaf.schema, leaf.name), leaf.oid, job.relation));
  }
  // What was compared before says nothing about rows that are about to change.
  statements.push_back(forget_comparisons(job.name));
  statements.push_back(fmt::format(
      "INSERT INTO pgbackfill.events {} VALUES ({})", kEventColumns,
      event_values(id, quote_literal(job.name), "created",
                   quote_literal(fmt::format("{} range(s), about {} rows", job.ranges.size(), rows)), owner)));
  return statements;
}

std::vector<std::string> stamp_job(NewJob const& job, Owner const& owner) {
  auto statements = create_job(job, owner);
  statements.push_back(
      "UPDATE pgbackfill.jobs SET status = 'complete', completed_at = clock_timestamp() WHERE name = " +
      quote_literal(job.name));
  return statements;
}

std::string find_job(std::string const& name) {
  return fmt::format(
      "SELECT id, definition, table_schema, table_name, status, status_reason, pass, sweeps, workers, batch_target_ms, "
      "{}, paused_until IS NOT NULL, to_jsonb(j) ->> 'relation', coalesce((to_jsonb(j) ->> "
      "'state_relation')::oid <> j.tableoid, false) FROM pgbackfill.jobs j WHERE name = {}",
      kLiveSettings, quote_literal(name));
}

std::string leaf_growth(std::int64_t job, std::uint64_t least_bytes, int server_version) {
  constexpr int kWithMaintain = 170000;
  std::string const right =
      server_version >= kWithMaintain ? "has_table_privilege(c.oid, 'MAINTAIN')" : "pg_has_role(c.relowner, 'USAGE')";
  return fmt::format(
      "WITH here AS MATERIALIZED (SELECT oid, datdba FROM pg_catalog.pg_database WHERE datname = current_database()), "
      "locked AS MATERIALIZED (SELECT k.relation FROM pg_catalog.pg_locks k, here WHERE k.granted AND k.mode = "
      "'ShareUpdateExclusiveLock' AND k.database = here.oid), changed AS (SELECT r.leaf, sum(r.rows_changed) AS rows "
      "FROM pgbackfill.ranges r WHERE r.job_id = {0} GROUP BY r.leaf) SELECT l.leaf, coalesce(pg_relation_size(c.oid), "
      "0), coalesce(changed.rows, 0), coalesce(pg_stat_get_dead_tuples(c.oid), 0), "
      "coalesce(pg_stat_get_vacuum_count(c.oid), 0) + coalesce(pg_stat_get_autovacuum_count(c.oid), 0), EXISTS (SELECT "
      "1 FROM locked WHERE locked.relation = c.oid), {2} OR pg_has_role(here.datdba, 'USAGE'), "
      "pg_snapshot_xmax(pg_current_snapshot()), quote_ident(current_user), coalesce(pg_stat_get_tuples_updated(c.oid), "
      "0) FROM here CROSS JOIN pgbackfill.leaves l "
      "JOIN "
      "pg_catalog.pg_class c ON c.oid = l.relation LEFT JOIN changed ON changed.leaf = l.leaf WHERE l.job_id = {0} AND "
      "l.bytes >= {1} AND to_jsonb(l) ->> 'gone_at' IS NULL ORDER BY l.leaf",
      job, least_bytes, right);
}

std::string job_growth(std::int64_t job) {
  // Through jsonb, since an older schema has no such columns.
  return fmt::format(
      "WITH sizes AS (SELECT coalesce(sum(l.bytes), 0), coalesce(sum(pg_relation_size(c.oid)), 0), "
      "coalesce(sum(l.rows_estimated), 0), (SELECT coalesce(sum(r.rows_changed), 0) FROM pgbackfill.ranges r WHERE "
      "r.job_id = {0}) FROM pgbackfill.leaves l JOIN pg_catalog.pg_class c ON c.oid = l.relation WHERE l.job_id = {0} "
      "AND to_jsonb(l) ->> 'gone_at' IS NULL), job AS (SELECT j.created_at, j.completed_at, to_jsonb(j) AS row FROM "
      "pgbackfill.jobs j WHERE j.id = {0}) SELECT sizes.*, job.row ->> 'estimated_ms', job.row ->> 'estimated_bytes', "
      "job.row ->> 'estimated_wal_bytes', {1}, pg_wal_lsn_diff(coalesce((job.row ->> 'wal_at_end')::pg_lsn, CASE WHEN "
      "NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END), (job.row ->> 'wal_at_start')::pg_lsn)::bigint, "
      "job.completed_at IS NOT NULL FROM sizes LEFT JOIN job ON true",
      job, milliseconds_between("job.created_at", "coalesce(job.completed_at, clock_timestamp())"));
}

std::string pass_state(std::int64_t job) {
  return fmt::format(
      "SELECT j.status, j.pass, count(*) FILTER (WHERE NOT r.done), (SELECT count(*) FROM "
      "pgbackfill.deferred d "
      "WHERE d.job_id = j.id), coalesce(sum(r.rows_changed), 0), coalesce(sum(r.rows_left), 0), "
      "coalesce(sum(r.rows_again), 0) FROM pgbackfill.jobs j "
      "LEFT JOIN pgbackfill.ranges r ON r.job_id = j.id AND r.pass = j.pass WHERE j.id = {} GROUP BY j.id",
      job);
}

planner::PassState pass_state_of(std::vector<std::optional<std::string>> const& row) {
  planner::PassState pass;
  pass.is_complete = row[0] == status_name(JobStatus::kComplete);
  pass.pass = std::stoi(*row[1]);
  pass.open_ranges = std::stoll(*row[2]);
  pass.deferred = std::stoll(*row[3]);
  pass.rows_changed = std::stoll(*row[4]);
  pass.rows_left = std::stoll(*row[5]);
  pass.rows_again = std::stoll(*row[6]);
  return pass;
}

std::vector<std::string> next_pass(std::int64_t job, int pass, NextPass const& next, std::uint32_t root,
                                   Owner const& owner) {
  std::vector<std::string> statements;
  statements.push_back(fmt::format("SELECT pgbackfill.lock_pass({}, {})", job, pass));
  for (auto const& leaf : next.new_leaves) statements.push_back(leaf_insert(std::to_string(job), leaf));
  for (auto const& [leaf, is_whole] : next.returned) {
    for (auto& one : take_leaf_back(job, leaf, pass + 1, is_whole)) statements.push_back(std::move(one));
  }
  for (auto const& leaf : next.known) {
    std::string const name = planner::quote_qualified(leaf.schema, leaf.name);
    statements.push_back(leaf_update(job, leaf));
    statements.push_back(same_leaf(name, leaf.oid, root));
  }
  if (!next.ranges.empty()) statements.push_back(range_insert(std::to_string(job), pass + 1, next.ranges));
  statements.push_back(fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs SET pass = {} WHERE id = {} RETURNING id, name) {}", pass + 1, job,
      event_of_change("pass", quote_literal(fmt::format("pass {} with {} range(s)", pass + 1, next.ranges.size())),
                      owner)));
  return statements;
}

std::string complete_job(std::int64_t job, int pass, Owner const& owner) {
  return fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs j SET status = 'complete', status_reason = '', completed_at = "
      "clock_timestamp(), wal_at_end = pg_current_wal_insert_lsn() WHERE id = {0} AND status = 'running' AND pass = "
      "{1} AND NOT EXISTS (SELECT 1 FROM "
      "pgbackfill.ranges r WHERE r.job_id = {0} AND NOT r.done) AND NOT EXISTS (SELECT 1 FROM pgbackfill.deferred d "
      "WHERE "
      "d.job_id = {0}) RETURNING id, name) {2} RETURNING 1",
      job, pass, event_of_change("complete", "''", owner));
}

std::string reopen_job(std::int64_t job, std::string const& why, Owner const& owner) {
  return fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs SET status = 'running', status_reason = '', completed_at = NULL, "
      "wal_at_end = NULL WHERE id = {} AND status = 'complete' RETURNING id, name) {} RETURNING 1",
      job, event_of_change("resumed", quote_literal(why), owner));
}

// By another value each time: those that follow compare it with the one that was there when they began.
std::string end_following(std::string const& name, std::string const& by, Owner const& owner) {
  return fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs SET settings = settings || jsonb_build_object({}, {} || ', ' || "
      "clock_timestamp()) WHERE name = {} RETURNING id, name) {} RETURNING 1",
      quote_literal(kFollowEnded), quote_literal(by), quote_literal(name),
      event_of_change("set", quote_literal("following ends: " + by), owner));
}

std::string set_status(std::int64_t job, JobStatus status, std::string const& reason, Owner const& owner,
                       std::optional<std::chrono::milliseconds> pause_for) {
  std::string const name = status_name(status);
  std::string const until = pause_for ? "clock_timestamp() + " + interval_text(*pause_for) : "NULL::timestamptz";
  // Nothing brings a complete job back; a job that failed or was cancelled stays so until somebody resumes it.
  std::string const from = status == JobStatus::kRunning  ? "status IN ('paused', 'cancelled', 'failed')"
                           : status == JobStatus::kPaused ? "(status = 'running' OR status = 'paused' AND paused_until "
                                                            "IS DISTINCT FROM " +
                                                                until + ")"
                                                          : "status IN ('running', 'paused', 'failed')";
  std::string const kind = status == JobStatus::kRunning ? "resumed" : name;
  std::string const told = quote_literal(without_passwords(reason));
  return fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs SET status = {}, status_reason = {}, paused_until = {} WHERE id = {} "
      "AND "
      "{} RETURNING id, name) {} RETURNING 1",
      quote_literal(name), told, until, job, from, event_of_change(kind, told, owner));
}

std::string end_pause(std::int64_t job, Owner const& owner) {
  return fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs SET status = 'running', status_reason = '', paused_until = NULL WHERE "
      "id "
      "= {} AND status = 'paused' AND paused_until <= clock_timestamp() RETURNING id, name) {} RETURNING 1",
      job, event_of_change("resumed", "'the pause is over'", owner));
}

std::string change_settings(std::int64_t job, SettingsChange const& change, Owner const& owner) {
  std::vector<std::string> columns;
  std::vector<std::string> details;
  auto const tell = [&](std::string const& name, std::string const& before, std::string const& after) {
    details.push_back(fmt::format("({} || {} || ' -> ' || {})", quote_literal(name + ": "), before, after));
  };
  if (change.workers) {
    columns.push_back(fmt::format("workers = {}", *change.workers));
    tell("workers", "before.workers", quote_literal(std::to_string(*change.workers)));
  }
  if (change.batch_target) {
    std::string const after = milliseconds_text(*change.batch_target);
    columns.push_back("batch_target_ms = " + after);
    tell("batch.target", "before.batch_target_ms || 'ms'", quote_literal(after + "ms"));
  }
  std::string settings = "j.settings";
  auto const set_live = [&](std::string_view prefix, SettingsChange::Live const& one) {
    std::string const name = std::string(prefix) + one.name;
    std::string const key = quote_literal(name);
    settings = one.text ? fmt::format("({} || jsonb_build_object({}, {}))", settings, key, quote_literal(*one.text))
                        : fmt::format("({} - {})", settings, key);
    tell(name, fmt::format("coalesce(before.settings ->> {}, {})", key, quote_literal(one.otherwise)),
         quote_literal(one.text ? *one.text : one.otherwise));
  };
  for (auto const& one : change.throttle) set_live(kThrottlePrefix, one);
  for (auto const& one : change.compute) set_live(kComputePrefix, one);
  if (!change.throttle.empty() || !change.compute.empty()) columns.push_back("settings = " + settings);
  return fmt::format(
      "WITH before AS (SELECT id, workers, batch_target_ms, settings FROM pgbackfill.jobs WHERE id = {} FOR UPDATE), "
      "changed AS (UPDATE pgbackfill.jobs j SET {} FROM before WHERE j.id = before.id RETURNING j.id, j.name) INSERT "
      "INTO pgbackfill.events {} SELECT {} FROM changed, before, LATERAL (VALUES {}) AS told (detail) RETURNING 1",
      job, planner::join(columns, ", "), kEventColumns,
      event_values("changed.id", "changed.name", "set", "told.detail", owner), planner::join(details, ", "));
}

std::map<std::string, std::string> live_settings(std::optional<std::string> const& column, std::string_view prefix) {
  std::map<std::string, std::string> settings;
  for (auto const& pair : parse_text_array(column).value_or(planner::KeyValue())) {
    auto const equals = pair.find('=');
    std::string const key = pair.substr(0, equals);
    if (!key.starts_with(prefix) || equals == std::string::npos) continue;
    settings[key.substr(prefix.size())] = pair.substr(equals + 1);
  }
  return settings;
}

std::string retry_quarantine(std::int64_t job, Owner const& owner) {
  return fmt::format(
      "WITH taken AS (DELETE FROM pgbackfill.quarantine WHERE job_id = {0} RETURNING leaf, key), kept AS (INSERT INTO "
      "pgbackfill.deferred (job_id, leaf, key) SELECT {0}, leaf, key FROM taken ON CONFLICT DO NOTHING), changed AS "
      "(UPDATE pgbackfill.jobs SET status = 'running', status_reason = '', paused_until = NULL, completed_at = NULL, "
      "wal_at_end = NULL WHERE id = {0} "
      "RETURNING "
      "id, name), told AS ({1}) SELECT count(*) FROM taken",
      job, event_of_change("resumed", "'quarantined rows are tried again'", owner));
}

std::string drop_job(std::int64_t job) {
  return fmt::format("DELETE FROM pgbackfill.jobs WHERE id = {}", job);
}

std::string forget_job(std::int64_t job, Owner const& owner) {
  return fmt::format("WITH changed AS (DELETE FROM pgbackfill.jobs WHERE id = {} RETURNING id, name) {}", job,
                     event_of_change("rolled back", "'the backfill is forgotten'", owner));
}

std::string status_name(JobStatus status) {
  switch (status) {
    case JobStatus::kRunning:
      return "running";
    case JobStatus::kPaused:
      return "paused";
    case JobStatus::kCancelled:
      return "cancelled";
    case JobStatus::kFailed:
      return "failed";
    case JobStatus::kComplete:
      return "complete";
  }
  return "running";
}

JobStatus status_of(std::string const& name) {
  for (auto const status :
       {JobStatus::kRunning, JobStatus::kPaused, JobStatus::kCancelled, JobStatus::kFailed, JobStatus::kComplete}) {
    if (status_name(status) == name) return status;
  }
  throw std::runtime_error("pgbackfill.jobs has a status that this version does not know: " + name);
}

}  // namespace pgbackfill::engine::state
