// The layout of schema pgbackfill: a script for each version, and what is asked of it as a whole.

#include "engine/state_store.h"

namespace pgbackfill::engine::state {

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

std::string has_state_rights() {
  return "SELECT bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND "
         "has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')) FROM pg_catalog.pg_class c "
         "WHERE c.relnamespace = to_regnamespace('pgbackfill') AND c.relkind = 'r' AND c.relname <> 'meta'";
}

}  // namespace pgbackfill::engine::state
