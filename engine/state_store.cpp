#include "engine/state_store.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <stdexcept>

#include "planner/sql_text.h"

namespace pgbackfill::engine {

using planner::Bound;
using planner::quote_literal;

std::string lease_name(Owner const& owner, int worker) {
  return fmt::format("{}/{}", owner.id, worker);
}

namespace state {

namespace {

// Version 1. `cursor` is the last key that is done; `hi` the last key of the range; NULL is no bound on that side.
constexpr char kVersion1[] = R"sql(
CREATE SCHEMA IF NOT EXISTS pgbackfill;
COMMENT ON SCHEMA pgbackfill IS 'State of pgbackfill: jobs, ranges, events. Safe to read at any time.';

CREATE TABLE pgbackfill.meta (
  version int NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pgbackfill.migrations (
  name text PRIMARY KEY,
  file text NOT NULL,
  source text NOT NULL,
  first_run_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_run_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN pgbackfill.migrations.source IS 'The file as it was when it ran last';

CREATE TABLE pgbackfill.jobs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  definition text NOT NULL,
  table_schema text NOT NULL,
  table_name text NOT NULL,
  status text NOT NULL DEFAULT 'running'
    CHECK (status IN ('running', 'paused', 'cancelled', 'failed', 'complete')),
  status_reason text NOT NULL DEFAULT '',
  pass int NOT NULL DEFAULT 0,
  sweeps boolean NOT NULL,
  workers int NOT NULL CHECK (workers >= 0),
  batch_target_ms bigint NOT NULL CHECK (batch_target_ms > 0),
  max_rows_per_second bigint CHECK (max_rows_per_second > 0),
  rows_estimated bigint NOT NULL,
  rows_changed_on_visits bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  completed_at timestamptz
);
COMMENT ON COLUMN pgbackfill.jobs.pass IS '0: the rows that were there at the start; later: rows that came meanwhile';

CREATE TABLE pgbackfill.leaves (
  job_id bigint NOT NULL REFERENCES pgbackfill.jobs ON DELETE CASCADE,
  leaf int NOT NULL,
  relation oid NOT NULL,
  table_schema text NOT NULL,
  table_name text NOT NULL,
  key_index text NOT NULL,
  key_columns text[] NOT NULL,
  key_types text[] NOT NULL,
  key_collations text[] NOT NULL,
  key_order_collations text[] NOT NULL,
  key_descending boolean[] NOT NULL,
  key_nulls_first boolean[] NOT NULL,
  rows_estimated bigint NOT NULL,
  blocks bigint NOT NULL,
  bytes bigint NOT NULL,
  upper_key text[],
  PRIMARY KEY (job_id, leaf),
  UNIQUE (job_id, relation)
);
COMMENT ON COLUMN pgbackfill.leaves.key_columns IS 'empty: paged by physical blocks';

CREATE TABLE pgbackfill.ranges (
  job_id bigint NOT NULL REFERENCES pgbackfill.jobs ON DELETE CASCADE,
  range_id bigint GENERATED ALWAYS AS IDENTITY,
  leaf int NOT NULL,
  pass int NOT NULL,
  lo text[],
  hi text[],
  cursor text[],
  done boolean NOT NULL DEFAULT false,
  epoch bigint NOT NULL DEFAULT 0,
  sequence bigint NOT NULL DEFAULT 0,
  owner text,
  host text,
  machine text,
  pid int,
  lease_expires timestamptz,
  rows_estimated bigint NOT NULL,
  rows_done bigint NOT NULL DEFAULT 0,
  rows_changed bigint NOT NULL DEFAULT 0,
  rows_left bigint NOT NULL DEFAULT 0,
  rows_again bigint NOT NULL DEFAULT 0,
  batches bigint NOT NULL DEFAULT 0,
  updated_at timestamptz,
  PRIMARY KEY (job_id, range_id)
) WITH (fillfactor = 50);
COMMENT ON COLUMN pgbackfill.ranges.rows_again IS 'changed rows that still satisfied `where` afterwards';
COMMENT ON TABLE pgbackfill.ranges IS 'Keys in (lo, hi]; everything up to cursor is done and committed with it';

CREATE TABLE pgbackfill.deferred (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES pgbackfill.jobs ON DELETE CASCADE,
  leaf int NOT NULL,
  key text[] NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  visited_at timestamptz,
  visits int NOT NULL DEFAULT 0,
  UNIQUE (job_id, leaf, key)
);
COMMENT ON TABLE pgbackfill.deferred IS 'Rows that somebody held when their batch ran; visited again until done';

CREATE TABLE pgbackfill.quarantine (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES pgbackfill.jobs ON DELETE CASCADE,
  leaf int NOT NULL,
  key text[] NOT NULL,
  sqlstate text NOT NULL,
  message text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (job_id, leaf, key)
);
COMMENT ON TABLE pgbackfill.quarantine IS 'Rows that fail by themselves, with their error';

CREATE TABLE pgbackfill.steps (
  migration text NOT NULL,
  phase text NOT NULL CHECK (phase IN ('expand', 'contract')),
  position int NOT NULL,
  sql text NOT NULL,
  done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, phase, position)
);

CREATE TABLE pgbackfill.events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  job_id bigint,
  migration text NOT NULL,
  kind text NOT NULL,
  detail text NOT NULL DEFAULT '',
  db_user text NOT NULL DEFAULT session_user,
  os_user text NOT NULL DEFAULT '',
  host text NOT NULL DEFAULT '',
  pid int
);
CREATE INDEX events_migration_idx ON pgbackfill.events (migration, id);
COMMENT ON TABLE pgbackfill.events IS 'Who did what and when; only ever appended to';

CREATE FUNCTION pgbackfill.fence(a_job bigint, a_range bigint, a_epoch bigint, a_sequence bigint, a_cursor text[],
                                 a_hi text[], a_owner text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM 1 FROM pgbackfill.ranges r
    WHERE r.job_id = a_job AND r.range_id = a_range AND r.epoch = a_epoch AND r.sequence = a_sequence
      AND r.cursor IS NOT DISTINCT FROM a_cursor AND r.hi IS NOT DISTINCT FROM a_hi
      AND r.owner = a_owner AND NOT r.done
    FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'BF001',
      MESSAGE = format('range %s has moved on or belongs to another worker', a_range);
  END IF;
END $fn$;

CREATE FUNCTION pgbackfill.work(a_statement text) RETURNS bigint LANGUAGE plpgsql AS $fn$
DECLARE
  changed bigint;
BEGIN
  EXECUTE a_statement;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $fn$;

CREATE FUNCTION pgbackfill.lock_pass(a_job bigint, a_pass int) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM 1 FROM pgbackfill.jobs j WHERE j.id = a_job AND j.pass = a_pass AND j.status = 'running' FOR UPDATE;
  IF NOT FOUND OR EXISTS (SELECT 1 FROM pgbackfill.ranges r WHERE r.job_id = a_job AND r.pass = a_pass AND NOT r.done)
  THEN
    RAISE EXCEPTION USING ERRCODE = 'BF001', MESSAGE = format('pass %s of the job has moved on', a_pass);
  END IF;
END $fn$;

CREATE FUNCTION pgbackfill.unless_repeating(a_changed bigint, a_again boolean) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog AS $fn$
BEGIN
  IF a_again THEN
    RAISE EXCEPTION USING ERRCODE = 'BF002',
      MESSAGE = 'a changed row still satisfies `where`: paging by blocks could change it twice',
      HINT = 'Write a `where` that becomes false, or give the table a primary key.';
  END IF;
  RETURN a_changed;
END $fn$;

CREATE FUNCTION pgbackfill.within_budget(a_job bigint, a_added bigint, a_strangers bigint, a_budget bigint)
RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog AS $fn$
DECLARE
  so_far bigint;
BEGIN
  IF a_strangers > 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'BF001', MESSAGE = 'a row came in beside the one to be set aside';
  END IF;
  PERFORM 1 FROM pgbackfill.jobs j WHERE j.id = a_job FOR UPDATE;
  SELECT count(*) INTO so_far FROM pgbackfill.quarantine q WHERE q.job_id = a_job;
  IF so_far + a_added > a_budget THEN
    RAISE EXCEPTION USING ERRCODE = 'BF003',
      MESSAGE = format('%s rows failed, more than the %s that on_bad_row allows', so_far + a_added, a_budget),
      HINT = 'See pgbackfill.quarantine; mend the rows or raise on_bad_row: {quarantine: N}, then run again.';
  END IF;
  RETURN a_added;
END $fn$;

INSERT INTO pgbackfill.meta (version) VALUES (1);
)sql";

// Version 2: live settings, pauses with an end, word of changes. What a job's rows were limited to was the file's or
// set later, which could not be told apart; it stays what it is.
constexpr char kVersion2[] = R"sql(
ALTER TABLE pgbackfill.jobs
  ADD COLUMN settings jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
  ADD COLUMN paused_until timestamptz;
COMMENT ON COLUMN pgbackfill.jobs.settings IS 'What was set live, over what the file says: name and text';
COMMENT ON COLUMN pgbackfill.jobs.paused_until IS 'When a pause ends by itself; NULL: when somebody resumes it';
UPDATE pgbackfill.jobs
  SET settings = jsonb_build_object('throttle.max_rows_per_second', coalesce(max_rows_per_second::text, 'none'))
  WHERE status <> 'complete';
ALTER TABLE pgbackfill.jobs DROP COLUMN max_rows_per_second;

CREATE FUNCTION pgbackfill.tell_of_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $fn$
BEGIN
  PERFORM pg_notify('pgbackfill_control', NEW.id::text);
  RETURN NULL;
END $fn$;
CREATE TRIGGER tell_of_change
  AFTER UPDATE OF status, status_reason, paused_until, workers, batch_target_ms, settings ON pgbackfill.jobs
  FOR EACH ROW EXECUTE FUNCTION pgbackfill.tell_of_change();

INSERT INTO pgbackfill.meta (version) VALUES (2);
)sql";

// Version 3. A step that is claimed and not done was cut short; what it made so far is ours.
constexpr char kVersion3[] = R"sql(
CREATE TABLE pgbackfill.claims (
  migration text NOT NULL,
  phase text NOT NULL CHECK (phase IN ('expand', 'contract')),
  position int NOT NULL,
  step text NOT NULL,
  before text NOT NULL DEFAULT '',
  claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, phase, position)
);
COMMENT ON TABLE pgbackfill.claims IS 'Steps that began to change something; rollback undoes these and no others';
COMMENT ON COLUMN pgbackfill.claims.before IS 'what undoing the step has to know of how it was before';

INSERT INTO pgbackfill.meta (version) VALUES (3);
)sql";

// Version 4. Not UNLOGGED: status has to be readable on a standby.
constexpr char kVersion4[] = R"sql(
CREATE TABLE pgbackfill.runners (
  process text PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES pgbackfill.jobs ON DELETE CASCADE,
  host text NOT NULL,
  pid int NOT NULL,
  seen_at timestamptz NOT NULL,
  mode text NOT NULL,
  weight double precision NOT NULL,
  may_start boolean NOT NULL,
  wal_per_second double precision NOT NULL,
  wal_limit double precision,
  wal_wanted double precision,
  workers int NOT NULL,
  workers_limit double precision,
  workers_wanted double precision,
  causes jsonb NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE pgbackfill.runners IS 'Processes at work, as each told of itself a second ago; gone when it ended';
COMMENT ON COLUMN pgbackfill.runners.wal_wanted IS 'bytes a second; NULL, as in every limit here: all that can be had';

INSERT INTO pgbackfill.meta (version) VALUES (4);
)sql";

// Version 5. The trigger of `sync:` is a step too, and has to be the same one for as long as the backfill relies on it.
constexpr char kVersion5[] = R"sql(
ALTER TABLE pgbackfill.steps DROP CONSTRAINT steps_phase_check;
ALTER TABLE pgbackfill.steps ADD CONSTRAINT steps_phase_check CHECK (phase IN ('expand', 'sync', 'contract'));
ALTER TABLE pgbackfill.claims DROP CONSTRAINT claims_phase_check;
ALTER TABLE pgbackfill.claims ADD CONSTRAINT claims_phase_check CHECK (phase IN ('expand', 'sync', 'contract'));
ALTER TABLE pgbackfill.steps ADD COLUMN proof text NOT NULL DEFAULT '';
COMMENT ON COLUMN pgbackfill.steps.proof IS 'which object holds the step, where it must not be another one later';

INSERT INTO pgbackfill.meta (version) VALUES (5);
)sql";

// Version 6. The plan itself is kept beside its hash, so that whoever is refused can be told what has changed since.
constexpr char kVersion6[] = R"sql(
CREATE TABLE pgbackfill.approvals (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  migration text NOT NULL,
  plan_hash text NOT NULL,
  plan text NOT NULL,
  reason text NOT NULL DEFAULT '',
  approved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  db_user text NOT NULL DEFAULT session_user,
  os_user text NOT NULL,
  host text NOT NULL
);
CREATE INDEX approvals_migration_idx ON pgbackfill.approvals (migration, id);
COMMENT ON TABLE pgbackfill.approvals IS 'Who agreed to the contract steps of a migration; the latest one counts';
COMMENT ON COLUMN pgbackfill.approvals.plan IS 'the steps that were agreed to, one a line';
COMMENT ON COLUMN pgbackfill.approvals.plan_hash IS 'SHA-256 of plan';

INSERT INTO pgbackfill.meta (version) VALUES (6);
)sql";

// Version 7. Hooks run once a migration, unless they ask for more.
constexpr char kVersion7[] = R"sql(
CREATE TABLE pgbackfill.hooks (
  migration text NOT NULL,
  boundary text NOT NULL,
  position int NOT NULL,
  hook text NOT NULL,
  result text NOT NULL,
  ran_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, boundary, position)
);
COMMENT ON TABLE pgbackfill.hooks IS 'Hooks that ran and were content; rollback takes them out again';
COMMENT ON COLUMN pgbackfill.hooks.result IS 'of a backup its id';

INSERT INTO pgbackfill.meta (version) VALUES (7);
)sql";

// Version 8. What was compared of a table, so that a comparison that was cut short can go on. `owner`: whoever begins
// takes it over, and the one before sees that it is not his any more.
constexpr char kVersion8[] = R"sql(
CREATE TABLE pgbackfill.comparisons (
  migration text NOT NULL,
  position int NOT NULL,
  relation oid NOT NULL,
  table_name text NOT NULL,
  definition text NOT NULL,
  owner text NOT NULL,
  cursor text[],
  upper_key text[],
  done boolean NOT NULL DEFAULT false,
  rows_compared bigint NOT NULL DEFAULT 0,
  rows_differing bigint NOT NULL DEFAULT 0,
  differing jsonb NOT NULL DEFAULT '[]',
  began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, position, relation)
);
COMMENT ON TABLE pgbackfill.comparisons IS 'How far the checks `agrees` of a verify are that has not ended';
COMMENT ON COLUMN pgbackfill.comparisons.cursor IS 'the last key that was compared';
COMMENT ON COLUMN pgbackfill.comparisons.differing IS 'the first rows that differ';

INSERT INTO pgbackfill.meta (version) VALUES (8);
)sql";

// Version 9. What is there without a record was so before, or a step made it: the first run after the upgrade records
// it.
constexpr char kVersion9[] = R"sql(
CREATE TABLE pgbackfill.facts (
  migration text NOT NULL,
  relation text NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  definition text NOT NULL,
  is_own boolean NOT NULL DEFAULT false,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, relation, kind, name)
);
COMMENT ON TABLE pgbackfill.facts IS 'What tables were made of at the first run, and what steps made of it';
COMMENT ON COLUMN pgbackfill.facts.is_own IS 'a step of the migration made or changed it';
ALTER TABLE pgbackfill.migrations ADD COLUMN steps_pending boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN pgbackfill.migrations.steps_pending IS 'steps were begun, and not seen to end';

INSERT INTO pgbackfill.meta (version) VALUES (9);
)sql";

// A process that was silent for so long has no part in what is shared, and is not shown.
constexpr char kRunnerSilence[] = "interval '10 seconds'";

// As an array of name=text, which parse_text_array reads.
constexpr char kLiveSettings[] =
    "ARRAY(SELECT s.key || '=' || s.value FROM jsonb_each_text(j.settings) s WHERE s.value IS NOT NULL ORDER BY 1)";
constexpr std::string_view kThrottlePrefix = "throttle.";

std::string milliseconds_text(std::chrono::milliseconds duration) {
  return std::to_string(duration.count());
}

std::string interval_text(std::chrono::milliseconds duration) {
  return fmt::format("interval '{} milliseconds'", duration.count());
}

std::string utc_text(std::string const& time) {
  return "to_char(" + time + " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
}

std::string milliseconds_of(std::string const& interval) {
  return "(extract(epoch FROM " + interval + ") * 1000)::bigint";
}

std::string hash_of(std::string const& text) {
  return "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(" + quote_literal(text) + ", 'UTF8')), 'hex')";
}

std::string bound_text(Bound const& bound) {
  return bound ? planner::text_array(*bound) : "NULL::text[]";
}

// Infinity is no limit.
std::string limit_number(double number) {
  return std::isinf(number) ? "NULL" : fmt::format("{:.3f}", number);
}

double limit_of_text(std::optional<std::string> const& text) {
  return text ? std::stod(*text) : throttle::kUnlimited;
}

std::string causes_json(std::vector<RunnerTold::Cause> const& causes) {
  boost::json::array array;
  for (auto const& cause : causes) {
    array.push_back({{"kind", throttle::name_of(cause.kind)},
                     {"grip", throttle::name_of(cause.grip)},
                     {"text", cause.text},
                     {"lasted_ms", cause.lasted.count()}});
  }
  return boost::json::serialize(array);
}

std::string optional_number(std::optional<std::int64_t> number) {
  return number ? std::to_string(*number) : "NULL";
}

std::string boolean_array(std::vector<bool> const& values) {
  std::string text;
  for (bool const value : values) text += std::string(text.empty() ? "" : ", ") + (value ? "true" : "false");
  return "ARRAY[" + text + "]::boolean[]";
}

std::string lease_columns() {
  return "range_id, leaf, pass, epoch, sequence, cursor, hi";
}

std::string event_values(std::string const& job, std::string const& migration, std::string const& kind,
                         std::string const& detail, Owner const& owner) {
  return fmt::format("{}, {}, {}, {}, {}, {}, {}", job, migration, quote_literal(kind), detail,
                     quote_literal(owner.user), quote_literal(owner.host), owner.pid);
}

constexpr char kEventColumns[] = "(job_id, migration, kind, detail, os_user, host, pid)";

// Appends the event of a change that another CTE, `changed (id, name)`, made.
std::string event_of_change(std::string const& kind, std::string const& detail, Owner const& owner) {
  return fmt::format("INSERT INTO pgbackfill.events {} SELECT {} FROM changed", kEventColumns,
                     event_values("id", "name", kind, detail, owner));
}

std::string leaf_insert(std::string const& job, int number, NewLeaf const& leaf) {
  std::vector<std::string> names, types, collations, order_collations;
  std::vector<bool> descending, nulls_first;
  for (auto const& column : leaf.key.columns) {
    names.push_back(column.name);
    types.push_back(column.type);
    collations.push_back(column.collation);
    order_collations.push_back(column.order_collation);
    descending.push_back(column.descending);
    nulls_first.push_back(column.nulls_first);
  }
  return fmt::format(
      "INSERT INTO pgbackfill.leaves (job_id, leaf, relation, table_schema, table_name, key_index, key_columns, "
      "key_types, key_collations, key_order_collations, key_descending, key_nulls_first, rows_estimated, blocks, "
      "bytes, upper_key) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
      job, number, leaf.oid, quote_literal(leaf.schema), quote_literal(leaf.name), quote_literal(leaf.key.index),
      planner::text_array(names), planner::text_array(types), planner::text_array(collations),
      planner::text_array(order_collations), boolean_array(descending), boolean_array(nulls_first), leaf.rows_estimated,
      leaf.blocks, leaf.bytes, bound_text(leaf.upper));
}

std::string range_insert(std::string const& job, int pass, std::vector<NewRange> const& ranges) {
  std::vector<std::string> values;
  for (auto const& [leaf, range] : ranges) {
    values.push_back(fmt::format("({}, {}, {}, {}, {}, {}, {})", job, leaf, pass, bound_text(range.interval.lo),
                                 bound_text(range.interval.hi), bound_text(range.interval.lo), range.rows_estimated));
  }
  return "INSERT INTO pgbackfill.ranges (job_id, leaf, pass, lo, hi, cursor, rows_estimated) VALUES " +
         planner::join(values, ", ");
}

std::string job_id_of(std::string const& name) {
  return "(SELECT id FROM pgbackfill.jobs WHERE name = " + quote_literal(name) + ")";
}

}  // namespace

std::string has_version() {
  return "SELECT to_regclass('pgbackfill.meta') IS NOT NULL";
}

std::string read_version() {
  return "SELECT max(version) FROM pgbackfill.meta";
}

std::vector<std::string> upgrades(int version) {
  static std::vector<std::string> const scripts = {kVersion1, kVersion2, kVersion3, kVersion4, kVersion5,
                                                   kVersion6, kVersion7, kVersion8, kVersion9};
  if (version < 0 || version > kStateVersion) return {};
  return {scripts.begin() + version, scripts.end()};
}

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

std::string claim(std::int64_t job, Owner const& owner, int worker) {
  std::string const name = quote_literal(lease_name(owner, worker));
  // Who claims works on nothing: a range in its name is one whose claim or release it never heard of, or one that a
  // fail-over brought back.
  return fmt::format(
      "WITH open AS (SELECT r.range_id FROM pgbackfill.ranges r JOIN pgbackfill.jobs j ON j.id = r.job_id WHERE j.id = "
      "{} AND j.status = 'running' AND r.pass = j.pass AND NOT r.done AND (r.owner IS NULL OR r.owner = {} OR "
      "r.lease_expires < clock_timestamp()) ORDER BY r.range_id LIMIT 1 FOR UPDATE OF r SKIP LOCKED)\nUPDATE "
      "pgbackfill.ranges r SET "
      "owner = {}, host = {}, machine = {}, pid = {}, epoch = epoch + 1, lease_expires = clock_timestamp() + {} FROM "
      "open WHERE r.job_id = {} AND r.range_id = open.range_id RETURNING r.range_id, leaf, pass, epoch, sequence, "
      "cursor, hi",
      job, name, name, quote_literal(owner.host), quote_literal(owner.machine), owner.pid,
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
      columns.push_back(fmt::format("(cursor[{}])::{}{} AS {}", index + 1, column.type,
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

std::string control(std::int64_t job, std::string const& owner) {
  return fmt::format(
      "SELECT j.status, j.status_reason, j.pass, j.workers, j.batch_target_ms, {}, j.rows_estimated, "
      "coalesce(sum(r.rows_done) FILTER (WHERE r.pass = 0), 0), coalesce(sum(r.rows_changed), 0) + "
      "j.rows_changed_on_visits, coalesce(sum(r.batches), 0), count(*) FILTER (WHERE NOT r.done AND r.pass = j.pass), "
      "count(*) FILTER (WHERE r.pass = j.pass), count(*) FILTER (WHERE NOT r.done AND r.owner IS NOT NULL AND "
      "r.lease_expires > clock_timestamp() AND r.owner NOT LIKE {} || '/%'), (SELECT count(*) FROM "
      "pgbackfill.deferred d WHERE d.job_id = j.id), (SELECT count(*) FROM pgbackfill.quarantine q WHERE q.job_id = "
      "j.id), coalesce(sum(r.rows_again), 0), {}, {} FROM pgbackfill.jobs j LEFT JOIN pgbackfill.ranges r ON r.job_id "
      "= "
      "j.id WHERE j.id = {} GROUP BY j.id",
      kLiveSettings, quote_literal(owner), utc_text("j.paused_until"),
      milliseconds_of("j.paused_until - clock_timestamp()"), job);
}

Control control_of(std::vector<std::optional<std::string>> const& row) {
  Control control;
  control.status = status_of(*row[0]);
  control.reason = *row[1];
  control.pass = std::stoi(*row[2]);
  control.workers = std::stoi(*row[3]);
  control.batch_target = std::chrono::milliseconds(std::stoll(*row[4]));
  control.throttle_settings = live_settings(row[5]);
  control.rows_estimated = std::stoll(*row[6]);
  control.rows_done = std::stoll(*row[7]);
  control.rows_changed = std::stoll(*row[8]);
  control.batches = std::stoll(*row[9]);
  control.ranges_open = std::stoll(*row[10]);
  control.ranges_total = std::stoll(*row[11]);
  control.ranges_held_elsewhere = std::stoll(*row[12]);
  control.deferred = std::stoll(*row[13]);
  control.quarantined = std::stoll(*row[14]);
  control.paused_until = row[16].value_or("");
  if (row[17]) control.pause_left = std::chrono::milliseconds(std::stoll(*row[17]));
  return control;
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

std::vector<std::string> create_job(NewJob const& job, Owner const& owner) {
  std::int64_t rows = 0;
  for (auto const& leaf : job.leaves) rows += leaf.rows_estimated;
  std::vector<std::string> statements;
  statements.push_back(fmt::format(
      "INSERT INTO pgbackfill.jobs (name, definition, table_schema, table_name, sweeps, workers, batch_target_ms, "
      "rows_estimated) VALUES ({}, {}, {}, {}, {}, {}, {}, {})",
      quote_literal(job.name), quote_literal(job.definition), quote_literal(job.table_schema),
      quote_literal(job.table_name), job.sweeps ? "true" : "false", job.workers, job.batch_target.count(), rows));
  std::string const id = job_id_of(job.name);
  for (std::size_t number = 0; number < job.leaves.size(); ++number) {
    statements.push_back(leaf_insert(id, static_cast<int>(number), job.leaves[number]));
  }
  if (!job.ranges.empty()) statements.push_back(range_insert(id, 0, job.ranges));
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
      "{}, paused_until IS NOT NULL FROM pgbackfill.jobs j WHERE name = {}",
      kLiveSettings, quote_literal(name));
}

std::string list_leaves(std::int64_t job) {
  return fmt::format(
      "SELECT leaf, relation, table_schema, table_name, key_index, key_columns, key_types, key_collations, "
      "key_order_collations, key_descending::text[], key_nulls_first::text[], rows_estimated, blocks, bytes, "
      "upper_key, "
      "EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE "
      "c.oid "
      "= relation AND c.relname = table_name AND n.nspname = table_schema) FROM pgbackfill.leaves WHERE job_id = {} "
      "ORDER BY leaf",
      job);
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
      "pg_snapshot_xmax(pg_current_snapshot()), quote_ident(current_user) FROM here CROSS JOIN pgbackfill.leaves l "
      "JOIN "
      "pg_catalog.pg_class c ON c.oid = l.relation LEFT JOIN changed ON changed.leaf = l.leaf WHERE l.job_id = {0} AND "
      "l.bytes >= {1} ORDER BY l.leaf",
      job, least_bytes, right);
}

std::string job_growth(std::int64_t job) {
  return fmt::format(
      "SELECT coalesce(sum(l.bytes), 0), coalesce(sum(pg_relation_size(c.oid)), 0), coalesce(sum(l.rows_estimated), "
      "0), "
      "(SELECT coalesce(sum(r.rows_changed), 0) FROM pgbackfill.ranges r WHERE r.job_id = {0}) FROM pgbackfill.leaves "
      "l "
      "JOIN pg_catalog.pg_class c ON c.oid = l.relation WHERE l.job_id = {0}",
      job);
}

std::string pass_state(std::int64_t job) {
  return fmt::format(
      "SELECT j.status, j.pass, j.sweeps, count(*) FILTER (WHERE NOT r.done), (SELECT count(*) FROM "
      "pgbackfill.deferred d "
      "WHERE d.job_id = j.id), coalesce(sum(r.rows_changed), 0), coalesce(sum(r.rows_left), 0), "
      "coalesce(sum(r.rows_again), 0) FROM pgbackfill.jobs j "
      "LEFT JOIN pgbackfill.ranges r ON r.job_id = j.id AND r.pass = j.pass WHERE j.id = {} GROUP BY j.id",
      job);
}

std::vector<std::string> next_pass(std::int64_t job, int pass, std::vector<NewLeaf> const& new_leaves,
                                   std::vector<NewRange> const& ranges,
                                   std::vector<std::pair<int, Bound>> const& uppers, Owner const& owner) {
  std::vector<std::string> statements;
  statements.push_back(fmt::format("SELECT pgbackfill.lock_pass({}, {})", job, pass));
  for (auto const& leaf : new_leaves) {
    statements.push_back(
        leaf_insert(std::to_string(job),
                    static_cast<int>(uppers.size() + static_cast<std::size_t>(&leaf - new_leaves.data())), leaf));
  }
  for (auto const& [leaf, upper] : uppers) {
    statements.push_back(fmt::format("UPDATE pgbackfill.leaves SET upper_key = {} WHERE job_id = {} AND leaf = {}",
                                     bound_text(upper), job, leaf));
  }
  if (!ranges.empty()) statements.push_back(range_insert(std::to_string(job), pass + 1, ranges));
  statements.push_back(fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs SET pass = {} WHERE id = {} RETURNING id, name) {}", pass + 1, job,
      event_of_change("pass", quote_literal(fmt::format("pass {} with {} range(s)", pass + 1, ranges.size())), owner)));
  return statements;
}

std::string complete_job(std::int64_t job, int pass, Owner const& owner) {
  return fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs j SET status = 'complete', status_reason = '', completed_at = "
      "clock_timestamp() WHERE id = {0} AND status = 'running' AND pass = {1} AND NOT EXISTS (SELECT 1 FROM "
      "pgbackfill.ranges r WHERE r.job_id = {0} AND NOT r.done) AND NOT EXISTS (SELECT 1 FROM pgbackfill.deferred d "
      "WHERE "
      "d.job_id = {0}) RETURNING id, name) {2} RETURNING 1",
      job, pass, event_of_change("complete", "''", owner));
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
  return fmt::format(
      "WITH changed AS (UPDATE pgbackfill.jobs SET status = {}, status_reason = {}, paused_until = {} WHERE id = {} "
      "AND "
      "{} RETURNING id, name) {} RETURNING 1",
      quote_literal(name), quote_literal(reason), until, job, from,
      event_of_change(kind, quote_literal(reason), owner));
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
  for (auto const& [name, text, otherwise] : change.throttle) {
    std::string const key = quote_literal(std::string(kThrottlePrefix) + name);
    settings = text ? fmt::format("({} || jsonb_build_object({}, {}))", settings, key, quote_literal(*text))
                    : fmt::format("({} - {})", settings, key);
    tell(std::string(kThrottlePrefix) + name,
         fmt::format("coalesce(before.settings ->> {}, {})", key, quote_literal(otherwise)),
         quote_literal(text ? *text : otherwise));
  }
  if (!change.throttle.empty()) columns.push_back("settings = " + settings);
  return fmt::format(
      "WITH before AS (SELECT id, workers, batch_target_ms, settings FROM pgbackfill.jobs WHERE id = {} FOR UPDATE), "
      "changed AS (UPDATE pgbackfill.jobs j SET {} FROM before WHERE j.id = before.id RETURNING j.id, j.name) INSERT "
      "INTO pgbackfill.events {} SELECT {} FROM changed, before, LATERAL (VALUES {}) AS told (detail) RETURNING 1",
      job, planner::join(columns, ", "), kEventColumns,
      event_values("changed.id", "changed.name", "set", "told.detail", owner), planner::join(details, ", "));
}

std::map<std::string, std::string> live_settings(std::optional<std::string> const& column) {
  std::map<std::string, std::string> settings;
  for (auto const& pair : parse_text_array(column).value_or(planner::KeyValue())) {
    auto const equals = pair.find('=');
    std::string const key = pair.substr(0, equals);
    if (!key.starts_with(kThrottlePrefix) || equals == std::string::npos) continue;
    settings[key.substr(kThrottlePrefix.size())] = pair.substr(equals + 1);
  }
  return settings;
}

std::string retry_quarantine(std::int64_t job, Owner const& owner) {
  return fmt::format(
      "WITH taken AS (DELETE FROM pgbackfill.quarantine WHERE job_id = {0} RETURNING leaf, key), kept AS (INSERT INTO "
      "pgbackfill.deferred (job_id, leaf, key) SELECT {0}, leaf, key FROM taken ON CONFLICT DO NOTHING), changed AS "
      "(UPDATE pgbackfill.jobs SET status = 'running', status_reason = '', paused_until = NULL, completed_at = NULL "
      "WHERE "
      "id = {0} "
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

std::string record_event(std::optional<std::int64_t> job, std::string const& migration, std::string const& kind,
                         std::string const& detail, Owner const& owner) {
  return fmt::format("INSERT INTO pgbackfill.events {} VALUES ({})", kEventColumns,
                     event_values(optional_number(job), quote_literal(migration), kind, quote_literal(detail), owner));
}

std::string remember_migration(std::string const& name, std::string const& file, std::string const& source) {
  return fmt::format(
      "INSERT INTO pgbackfill.migrations (name, file, source) VALUES ({}, {}, {}) ON CONFLICT (name) DO UPDATE SET "
      "file = "
      "excluded.file, source = excluded.source, last_run_at = clock_timestamp()",
      quote_literal(name), quote_literal(file), quote_literal(source));
}

std::string find_migration(std::string const& name) {
  return "SELECT file, source FROM pgbackfill.migrations WHERE name = " + quote_literal(name);
}

std::string step_done(std::string const& migration, std::string const& phase, int position) {
  return fmt::format("SELECT sql, proof FROM pgbackfill.steps WHERE migration = {} AND phase = {} AND position = {}",
                     quote_literal(migration), quote_literal(phase), position);
}

std::string recorded_steps(std::string const& migration) {
  return "SELECT phase, position, sql FROM pgbackfill.steps WHERE migration = " + quote_literal(migration);
}

std::string record_step(std::string const& migration, std::string const& phase, int position, std::string const& sql,
                        Owner const& owner, std::string const& proof) {
  return fmt::format(
      "WITH step AS (INSERT INTO pgbackfill.steps (migration, phase, position, sql, proof) VALUES ({}, {}, {}, {}, "
      "coalesce(({})::text, '')) RETURNING migration) INSERT INTO pgbackfill.events {} SELECT {} FROM step",
      quote_literal(migration), quote_literal(phase), position, quote_literal(sql),
      proof.empty() ? std::string("NULL") : proof, kEventColumns,
      event_values("NULL", "migration", "step", quote_literal(fmt::format("{} step {}: {}", phase, position + 1, sql)),
                   owner));
}

std::string forget_step(std::string const& migration, std::string const& phase, int position, Owner const& owner) {
  std::string const place = fmt::format("migration = {} AND phase = {} AND position = {}", quote_literal(migration),
                                        quote_literal(phase), position);
  return fmt::format(
      "WITH step AS (DELETE FROM pgbackfill.steps WHERE {} RETURNING migration), claim AS (DELETE FROM "
      "pgbackfill.claims WHERE {} RETURNING migration) INSERT INTO pgbackfill.events {} SELECT {} FROM (SELECT "
      "migration FROM step UNION SELECT migration FROM claim) gone",
      place, place, kEventColumns,
      event_values("NULL", "migration", "rolled back", quote_literal(fmt::format("{} step {}", phase, position + 1)),
                   owner));
}

std::string claim_step(std::string const& migration, std::string const& phase, int position, std::string const& step,
                       std::string const& before) {
  return fmt::format(
      "INSERT INTO pgbackfill.claims (migration, phase, position, step, before) VALUES ({}, {}, {}, {}, "
      "coalesce(({})::text, '')) ON CONFLICT DO NOTHING",
      quote_literal(migration), quote_literal(phase), position, quote_literal(step),
      before.empty() ? std::string("NULL") : before);
}

std::string find_claim(std::string const& migration, std::string const& phase, int position) {
  return fmt::format("SELECT step, before FROM pgbackfill.claims WHERE migration = {} AND phase = {} AND position = {}",
                     quote_literal(migration), quote_literal(phase), position);
}

namespace {

std::string fact_place(std::string const& migration, planner::SchemaFact const& fact) {
  return fmt::format("migration = {} AND relation = {} AND kind = {} AND name = {}", quote_literal(migration),
                     quote_literal(fact.relation), quote_literal(fact.kind), quote_literal(fact.name));
}

std::string fact_insert(std::string const& migration, planner::SchemaFact const& fact, bool is_own) {
  return fmt::format(
      "INSERT INTO pgbackfill.facts (migration, relation, kind, name, definition, is_own) VALUES ({}, {}, {}, {}, {}, "
      "{})",
      quote_literal(migration), quote_literal(fact.relation), quote_literal(fact.kind), quote_literal(fact.name),
      quote_literal(fact.definition), is_own);
}

}  // namespace

std::string list_facts(std::string const& migration) {
  return "SELECT relation, kind, name, definition, is_own, to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD "
         "HH24:MI') FROM pgbackfill.facts WHERE migration = " +
         quote_literal(migration) + " ORDER BY relation, kind, name";
}

std::string are_steps_pending(std::string const& migration) {
  return "SELECT steps_pending FROM pgbackfill.migrations WHERE name = " + quote_literal(migration);
}

std::string mark_steps_pending(std::string const& migration, bool is_pending) {
  return fmt::format("UPDATE pgbackfill.migrations SET steps_pending = {0} WHERE name = {1} AND steps_pending <> {0}",
                     is_pending, quote_literal(migration));
}

std::string record_fact(std::string const& migration, planner::SchemaFact const& fact, bool is_own) {
  return fact_insert(migration, fact, is_own) +
         " ON CONFLICT (migration, relation, kind, name) DO UPDATE SET definition = excluded.definition, is_own = "
         "excluded.is_own, recorded_at = excluded.recorded_at";
}

std::string record_fact_once(std::string const& migration, planner::SchemaFact const& fact) {
  return fact_insert(migration, fact, false) + " ON CONFLICT DO NOTHING";
}

std::string forget_fact(std::string const& migration, planner::SchemaFact const& fact) {
  return "DELETE FROM pgbackfill.facts WHERE " + fact_place(migration, fact);
}

std::string forget_facts(std::string const& migration) {
  return "DELETE FROM pgbackfill.facts WHERE migration = " + quote_literal(migration);
}

std::string job_keys(std::string const& migration) {
  return "SELECT DISTINCT key_index, key_columns FROM pgbackfill.leaves WHERE job_id = " + job_id_of(migration);
}

std::string list_jobs() {
  return "SELECT name FROM pgbackfill.jobs ORDER BY id";
}

std::string list_names() {
  return "SELECT name FROM pgbackfill.jobs UNION SELECT name FROM pgbackfill.migrations ORDER BY 1";
}

std::string overviews(std::string const& name) {
  std::string const only = name.empty() ? "" : " WHERE n.name = " + quote_literal(name);
  return "WITH names AS (SELECT name FROM pgbackfill.jobs UNION SELECT name FROM pgbackfill.migrations) SELECT n.name, "
         "m.file, j.id, j.table_schema, j.table_name, j.status, j.status_reason, j.definition, j.pass, j.workers, "
         "j.batch_target_ms, " +
         std::string(kLiveSettings) +
         ", j.rows_estimated, coalesce(sum(r.rows_done) FILTER (WHERE r.pass = "
         "0), 0), coalesce(sum(r.rows_done), 0), coalesce(sum(r.rows_done) FILTER (WHERE r.pass = j.pass), 0), "
         "coalesce(sum(r.rows_estimated) FILTER (WHERE r.pass = j.pass), 0), coalesce(sum(r.rows_changed), 0) + "
         "coalesce(j.rows_changed_on_visits, 0), coalesce(sum(r.batches), 0), count(*) FILTER (WHERE NOT r.done AND "
         "r.pass = j.pass), count(*) FILTER (WHERE r.pass = j.pass), (SELECT count(*) FROM pgbackfill.deferred d WHERE "
         "d.job_id = j.id), (SELECT count(*) FROM pgbackfill.quarantine q WHERE q.job_id = j.id), count(DISTINCT "
         "(r.machine, r.pid)) FILTER (WHERE NOT r.done AND r.owner IS NOT NULL AND r.lease_expires > "
         "clock_timestamp()), " +
         utc_text("coalesce(j.created_at, m.first_run_at)") + ", " + utc_text("j.completed_at") + ", " +
         milliseconds_of("clock_timestamp() - max(r.updated_at)") + ", " +
         milliseconds_of("coalesce(j.completed_at, clock_timestamp()) - j.created_at") +
         ", (SELECT count(*) FROM pgbackfill.steps s WHERE s.migration = n.name AND s.phase = 'expand'), (SELECT "
         "count(*) FROM pgbackfill.steps s WHERE s.migration = n.name AND s.phase = 'contract'), m.source, " +
         utc_text("j.paused_until") + ", " + milliseconds_of("j.paused_until - clock_timestamp()") +
         " FROM names n LEFT JOIN "
         "pgbackfill.migrations m ON m.name = n.name LEFT JOIN pgbackfill.jobs j ON j.name = n.name LEFT JOIN "
         "pgbackfill.ranges r ON r.job_id = j.id" +
         only + " GROUP BY n.name, m.name, j.id ORDER BY coalesce(j.created_at, m.first_run_at), n.name";
}

std::string job_leases(std::string const& name) {
  return fmt::format(
      "SELECT host, pid, count(*), {}, machine FROM pgbackfill.ranges WHERE job_id = {} AND NOT done AND owner IS NOT "
      "NULL GROUP BY host, machine, pid ORDER BY host, pid",
      milliseconds_of("min(lease_expires) - clock_timestamp()"), job_id_of(name));
}

std::string job_lease_owners(std::string const& name) {
  return fmt::format(
      "SELECT held.process, min(held.host), min(held.pid), min(held.machine), count(*), {}, EXISTS (SELECT FROM "
      "pgbackfill.runners p WHERE p.process = held.process AND p.seen_at > clock_timestamp() - {}) FROM (SELECT "
      "split_part(r.owner, '/', 1) AS process, r.host, r.pid, r.machine, r.lease_expires FROM pgbackfill.ranges r "
      "WHERE "
      "r.job_id = {} AND NOT r.done AND r.owner IS NOT NULL) held GROUP BY held.process ORDER BY 2, 3",
      milliseconds_of("max(held.lease_expires) - clock_timestamp()"), kRunnerSilence, job_id_of(name));
}

std::string take_leases(std::int64_t job, std::string const& process, std::string const& why, Owner const& owner) {
  return fmt::format(
      "WITH freed AS (UPDATE pgbackfill.ranges SET owner = NULL, lease_expires = NULL, epoch = epoch + 1 WHERE job_id "
      "= "
      "{0} AND NOT done AND split_part(owner, '/', 1) = {1} RETURNING range_id), changed AS (SELECT id, name FROM "
      "pgbackfill.jobs WHERE id = {0} AND EXISTS (SELECT FROM freed)), event AS ({2}) SELECT count(*) FROM freed",
      job, quote_literal(process), event_of_change("leases taken", quote_literal(why), owner));
}

std::string tell_runner(std::int64_t job, RunnerTold const& told, Owner const& owner) {
  std::string const values = fmt::format(
      "{}, {}, {}, {}, clock_timestamp(), {}, {:.6f}, {}, {:.3f}, {}, {}, {}, {}, {}, {}::jsonb",
      quote_literal(owner.id), job, quote_literal(owner.host), owner.pid, quote_literal(throttle::name_of(told.mode)),
      told.weight, told.may_start, told.wal_per_second, limit_number(told.wal_limit), limit_number(told.wal_wanted),
      told.workers, limit_number(told.workers_limit), limit_number(told.workers_wanted),
      quote_literal(causes_json(told.causes)));
  return fmt::format(
      "WITH told AS (INSERT INTO pgbackfill.runners AS r (process, job_id, host, pid, seen_at, mode, weight, "
      "may_start, "
      "wal_per_second, wal_limit, wal_wanted, workers, workers_limit, workers_wanted, causes) VALUES ({0}) ON CONFLICT "
      "(process) DO UPDATE SET seen_at = excluded.seen_at, mode = excluded.mode, weight = excluded.weight, may_start = "
      "excluded.may_start, wal_per_second = excluded.wal_per_second, wal_limit = excluded.wal_limit, wal_wanted = "
      "excluded.wal_wanted, workers = excluded.workers, workers_limit = excluded.workers_limit, workers_wanted = "
      "excluded.workers_wanted, causes = excluded.causes), gone AS (DELETE FROM pgbackfill.runners WHERE seen_at < "
      "clock_timestamp() - interval '10 minutes' AND process <> {1}) SELECT r.process, r.job_id, j.name, r.weight, "
      "r.wal_per_second, r.wal_wanted, r.workers, r.workers_wanted FROM pgbackfill.runners r JOIN pgbackfill.jobs j ON "
      "j.id = r.job_id WHERE r.process <> {1} AND r.seen_at > clock_timestamp() - {2}",
      values, quote_literal(owner.id), kRunnerSilence);
}

RunnersHeard runners_heard(std::vector<std::vector<std::optional<std::string>>> const& rows, std::int64_t job) {
  std::map<std::string, int> processes;  // by job
  for (auto const& row : rows) ++processes[*row[1]];
  RunnersHeard heard;
  heard.of_job = ++processes[std::to_string(job)];
  for (auto const& row : rows) {
    throttle::NeighbourReading other;
    other.name = *row[2];
    other.weight = std::stod(*row[3]) / processes[*row[1]];
    other.wal_per_second = std::stod(*row[4]);
    other.wal_wanted = limit_of_text(row[5]);
    other.workers = std::stod(*row[6]);
    other.workers_wanted = limit_of_text(row[7]);
    heard.others.push_back(std::move(other));
  }
  return heard;
}

std::string forget_runner(Owner const& owner) {
  return "DELETE FROM pgbackfill.runners WHERE process = " + quote_literal(owner.id);
}

std::string job_runners(std::string const& name) {
  return fmt::format(
      "SELECT host, pid, {}, mode, may_start, wal_per_second, wal_limit, workers, workers_limit, causes FROM "
      "pgbackfill.runners WHERE job_id = {} AND seen_at > clock_timestamp() - {} ORDER BY host, pid",
      milliseconds_of("clock_timestamp() - seen_at"), job_id_of(name), kRunnerSilence);
}

std::string job_quarantine(std::string const& name, std::int64_t limit) {
  return fmt::format(
      "SELECT l.table_schema, l.table_name, q.key, q.sqlstate, q.message, l.key_columns FROM pgbackfill.quarantine q "
      "JOIN pgbackfill.leaves l USING (job_id, leaf) WHERE q.job_id = {} ORDER BY q.id LIMIT {}",
      job_id_of(name), limit);
}

std::string unended_runs(std::string const& name) {
  return fmt::format(
      "SELECT host, pid, {}, os_user FROM (SELECT DISTINCT ON (host, pid) host, pid, at, os_user, kind FROM "
      "pgbackfill.events WHERE migration = {} AND kind IN ('started', 'stopped') ORDER BY host, pid, id DESC) latest "
      "WHERE kind = 'started' ORDER BY at",
      utc_text("at"), quote_literal(name));
}

std::string latest_status_change(std::string const& name) {
  return fmt::format(
      "SELECT kind, {}, os_user, host, db_user FROM pgbackfill.events WHERE migration = {} AND kind IN ('paused', "
      "'resumed', 'cancelled', 'failed', 'complete', 'rolled back') ORDER BY id DESC LIMIT 1",
      utc_text("at"), quote_literal(name));
}

std::string list_history() {
  return fmt::format(
      "WITH names AS (SELECT name FROM pgbackfill.jobs UNION SELECT name FROM pgbackfill.migrations) SELECT n.name, "
      "j.table_schema, j.table_name, j.status, {}, {}, {}, (SELECT coalesce(sum(rows_changed), 0) FROM "
      "pgbackfill.ranges r WHERE r.job_id = j.id) + j.rows_changed_on_visits, (SELECT string_agg(DISTINCT "
      "coalesce(nullif(e.os_user, ''), e.db_user) || CASE WHEN e.host = '' THEN '' ELSE '@' || e.host END, ', ') FROM "
      "pgbackfill.events e WHERE e.migration = n.name), (SELECT count(*) FROM pgbackfill.steps s WHERE s.migration = "
      "n.name AND s.phase = 'expand'), (SELECT count(*) FROM pgbackfill.steps s WHERE s.migration = n.name AND s.phase "
      "= 'contract'), (SELECT h.result FROM pgbackfill.hooks h WHERE h.migration = n.name AND h.boundary = 'backup') "
      "FROM names n LEFT JOIN pgbackfill.migrations m ON m.name = n.name LEFT JOIN pgbackfill.jobs j ON "
      "j.name = n.name ORDER BY coalesce(j.created_at, m.first_run_at), n.name",
      utc_text("coalesce(j.created_at, m.first_run_at)"), utc_text("j.completed_at"),
      milliseconds_of("j.completed_at - j.created_at"));
}

std::string hook_done(std::string const& migration, std::string const& boundary, int position,
                      std::string const& hook) {
  return fmt::format(
      "SELECT result FROM pgbackfill.hooks WHERE migration = {} AND boundary = {} AND position = {} AND hook = {}",
      quote_literal(migration), quote_literal(boundary), position, quote_literal(hook));
}

std::string record_hook(std::string const& migration, std::string const& boundary, int position,
                        std::string const& hook, std::string const& result, std::string const& detail,
                        Owner const& owner) {
  return fmt::format(
      "WITH done AS (INSERT INTO pgbackfill.hooks (migration, boundary, position, hook, result) VALUES ({}, {}, {}, "
      "{}, {}) ON CONFLICT (migration, boundary, position) DO UPDATE SET hook = excluded.hook, result = "
      "excluded.result, ran_at = clock_timestamp() RETURNING migration) INSERT INTO pgbackfill.events {} SELECT {} "
      "FROM done",
      quote_literal(migration), quote_literal(boundary), position, quote_literal(hook), quote_literal(result),
      kEventColumns, event_values("NULL", "migration", "hook", quote_literal(detail), owner));
}

std::string forget_hooks(std::string const& migration) {
  return "DELETE FROM pgbackfill.hooks WHERE migration = " + quote_literal(migration);
}

std::string find_backup(std::string const& migration) {
  return "SELECT max(result) FROM pgbackfill.hooks WHERE boundary = 'backup' AND migration = " +
         quote_literal(migration);
}

std::string approve(std::string const& migration, std::string const& plan, std::string const& reason,
                    Owner const& owner) {
  std::string const detail = "'plan ' || left(plan_hash, 12) || CASE WHEN reason = '' THEN '' ELSE ': ' || reason END";
  return fmt::format(
      "WITH approval AS (INSERT INTO pgbackfill.approvals (migration, plan_hash, plan, reason, os_user, host) VALUES "
      "({}, {}, {}, {}, {}, {}) RETURNING *), event AS (INSERT INTO pgbackfill.events {} SELECT {} FROM approval) "
      "SELECT plan_hash, db_user, os_user, host, {} FROM approval",
      quote_literal(migration), hash_of(plan), quote_literal(plan), quote_literal(reason), quote_literal(owner.user),
      quote_literal(owner.host), kEventColumns, event_values("NULL", "migration", "approved", detail, owner),
      utc_text("approved_at"));
}

std::string find_approval(std::string const& migration, std::string const& plan) {
  return fmt::format(
      "SELECT plan_hash = {}, plan_hash, plan, reason, db_user, os_user, host, {} FROM pgbackfill.approvals WHERE "
      "migration = {} ORDER BY id DESC LIMIT 1",
      hash_of(plan), utc_text("approved_at"), quote_literal(migration));
}

std::vector<std::string> begin_comparison(std::string const& migration, int position,
                                          std::vector<ComparedLeaf> const& leaves, Owner const& owner) {
  std::string const where = fmt::format("migration = {} AND position = {}", quote_literal(migration), position);
  std::vector<std::string> values;
  std::vector<std::string> same;
  for (auto const& leaf : leaves) {
    std::string const definition = quote_literal(leaf.definition);
    values.push_back(fmt::format("({}, {}, {}, {}, {}, {}, {}, {})", quote_literal(migration), position, leaf.relation,
                                 quote_literal(leaf.name), definition, quote_literal(owner.id),
                                 bound_text(leaf.progress.upper), leaf.progress.is_done));
    same.push_back(fmt::format("(relation = {} AND definition = {})", leaf.relation, definition));
  }
  return {
      fmt::format("DELETE FROM pgbackfill.comparisons WHERE {} AND NOT ({})", where, planner::join(same, " OR ")),
      fmt::format("INSERT INTO pgbackfill.comparisons (migration, position, relation, table_name, definition, owner, "
                  "upper_key, done) VALUES {} ON CONFLICT (migration, position, relation) DO UPDATE SET owner = "
                  "excluded.owner",
                  planner::join(values, ", ")),
      fmt::format("SELECT relation, cursor, upper_key, done, rows_compared, rows_differing, differing, CASE WHEN "
                  "min(began_at) OVER () < transaction_timestamp() THEN {} END FROM pgbackfill.comparisons WHERE {}",
                  utc_text("min(began_at) OVER ()"), where)};
}

planner::AgreementProgress comparison_progress(std::vector<std::optional<std::string>> const& row) {
  planner::AgreementProgress progress;
  progress.cursor = parse_text_array(row.at(1));
  progress.upper = parse_text_array(row.at(2));
  progress.is_done = row.at(3) == "t";
  progress.rows_compared = std::stoll(row.at(4).value());
  progress.rows_differing = std::stoll(row.at(5).value());
  return progress;
}

std::string keep_comparison(std::string const& migration, int position, std::uint32_t relation,
                            planner::AgreementProgress const& progress, std::string const& differing,
                            Owner const& owner) {
  return fmt::format(
      "UPDATE pgbackfill.comparisons SET cursor = {}, done = {}, rows_compared = {}, rows_differing = {}, differing = "
      "{}::jsonb, updated_at = clock_timestamp() WHERE migration = {} AND position = {} AND relation = {} AND owner = "
      "{}",
      bound_text(progress.cursor), progress.is_done, progress.rows_compared, progress.rows_differing,
      quote_literal(differing), quote_literal(migration), position, relation, quote_literal(owner.id));
}

std::string forget_comparisons(std::string const& migration) {
  return "DELETE FROM pgbackfill.comparisons WHERE migration = " + quote_literal(migration);
}

std::string list_events(std::string const& name, std::int64_t limit) {
  return fmt::format(
      "SELECT * FROM (SELECT id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), kind, detail, "
      "db_user, os_user, host, pid FROM pgbackfill.events WHERE migration = {} ORDER BY id DESC LIMIT {}) latest ORDER "
      "BY id",
      quote_literal(name), limit);
}

std::string has_state_rights() {
  return "SELECT bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND "
         "has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')) FROM pg_catalog.pg_class c "
         "WHERE c.relnamespace = to_regnamespace('pgbackfill') AND c.relkind = 'r' AND c.relname <> 'meta'";
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

Bound parse_text_array(std::optional<std::string> const& text) {
  if (!text) return std::nullopt;
  planner::KeyValue values;
  std::size_t at = 1;
  while (at < text->size() && (*text)[at] != '}') {
    std::string value;
    if ((*text)[at] == '"') {
      for (++at; at < text->size() && (*text)[at] != '"'; ++at) {
        if ((*text)[at] == '\\') ++at;
        value += (*text)[at];
      }
      ++at;
    } else {
      while (at < text->size() && (*text)[at] != ',' && (*text)[at] != '}') value += (*text)[at++];
    }
    values.push_back(std::move(value));
    if (at < text->size() && (*text)[at] == ',') ++at;
  }
  return values;
}

}  // namespace state
}  // namespace pgbackfill::engine
