// The layout of schema pgbackfill: a script for each version, and what is asked of it as a whole.

#include "engine/state/state_store.h"

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
      HINT = 'See pgbackfill.quarantine; fix the rows or raise on_bad_row: {quarantine: N}, then run again.';
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

// Revision 1 of version 9. A revision only adds: programs that know the version go on beside it. Nobody but who may run
// jobs may call our functions; who could before this is who may write to pgbackfill.ranges.
constexpr char kRevision1[] = R"sql(
ALTER TABLE pgbackfill.meta ADD COLUMN IF NOT EXISTS revision int NOT NULL DEFAULT 0;
COMMENT ON COLUMN pgbackfill.meta.revision IS 'additions to this version that older programs need not know';
-- It has no key, and a publication FOR ALL TABLES publishes its updates.
ALTER TABLE pgbackfill.meta REPLICA IDENTITY FULL;

ALTER TABLE pgbackfill.migrations ADD COLUMN IF NOT EXISTS session_settings jsonb;
COMMENT ON COLUMN pgbackfill.migrations.session_settings IS
  'settings under which the SQL of the file runs, on every host: those of the session that ran it first';

ALTER TABLE pgbackfill.leaves
  ADD COLUMN IF NOT EXISTS key_operators text[] NOT NULL DEFAULT '{}',
  ADD COLUMN IF NOT EXISTS key_collation_versions text[] NOT NULL DEFAULT '{}',
  ADD COLUMN IF NOT EXISTS gone_at timestamptz,
  ADD COLUMN IF NOT EXISTS bytes_needed bigint,
  ADD COLUMN IF NOT EXISTS left_keys text[];
COMMENT ON COLUMN pgbackfill.leaves.key_operators IS
  'of each key column <, <=, =, >=, > of the index, with their schemas; empty: those of pg_catalog';
COMMENT ON COLUMN pgbackfill.leaves.key_collation_versions IS 'version of the collation that each column was sorted by';
COMMENT ON COLUMN pgbackfill.leaves.bytes_needed IS
  'of bytes, what its rows needed; the rest was room to be used again';
COMMENT ON COLUMN pgbackfill.leaves.gone_at IS 'when it was found dropped or detached; it is not worked on any more';
COMMENT ON COLUMN pgbackfill.leaves.left_keys IS
  'keys that were deferred or set aside when it went; deferred again should it be attached again';

ALTER TABLE pgbackfill.jobs ADD COLUMN IF NOT EXISTS relation oid;
COMMENT ON COLUMN pgbackfill.jobs.relation IS 'the table that it began on, whatever has its name later';

-- Asked in the transaction of each batch, when it has the leaf locked against renaming and detaching.
CREATE OR REPLACE FUNCTION pgbackfill.same_leaf(a_name text, a_relation oid, a_root oid) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
  IF to_regclass(a_name) IS DISTINCT FROM a_relation OR a_relation <> a_root AND NOT EXISTS (
    SELECT FROM pg_partition_ancestors(a_relation::regclass) a WHERE a.relid = a_root)
  THEN
    RAISE EXCEPTION USING ERRCODE = 'BF004',
      MESSAGE = format('%s is not the table any more that the job works on', a_name);
  END IF;
END $fn$;

-- A key may be longer than an index takes. Its text depends on nothing but the key, so the function is immutable.
CREATE OR REPLACE FUNCTION pgbackfill.key_digest(a_key text[]) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp AS $fn$
  SELECT sha256(convert_to(a_key::text, getdatabaseencoding()))
$fn$;
ALTER TABLE pgbackfill.deferred DROP CONSTRAINT IF EXISTS deferred_job_id_leaf_key_key;
CREATE UNIQUE INDEX IF NOT EXISTS deferred_key_idx
  ON pgbackfill.deferred (job_id, leaf, pgbackfill.key_digest(key));
ALTER TABLE pgbackfill.quarantine DROP CONSTRAINT IF EXISTS quarantine_job_id_leaf_key_key;
CREATE UNIQUE INDEX IF NOT EXISTS quarantine_key_idx
  ON pgbackfill.quarantine (job_id, leaf, pgbackfill.key_digest(key));

CREATE TABLE IF NOT EXISTS pgbackfill.hook_turns (
  migration text NOT NULL,
  boundary text NOT NULL,
  owner text NOT NULL,
  host text NOT NULL,
  machine text NOT NULL,
  pid int NOT NULL,
  beat bigint NOT NULL DEFAULT 0,
  taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, boundary)
);
COMMENT ON TABLE pgbackfill.hook_turns IS 'Processes that run hooks now';
COMMENT ON COLUMN pgbackfill.hook_turns.beat IS 'grows every few seconds while the process is alive';
-- Who wrote what is run later in somebody's name. Nobody signs for another.
ALTER TABLE pgbackfill.migrations ADD COLUMN IF NOT EXISTS stored_by name;
COMMENT ON COLUMN pgbackfill.migrations.stored_by IS 'role that wrote file, source and settings';
ALTER TABLE pgbackfill.claims ADD COLUMN IF NOT EXISTS stored_by name;
COMMENT ON COLUMN pgbackfill.claims.stored_by IS 'role that wrote the claim';
CREATE OR REPLACE FUNCTION pgbackfill.sign() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
  unsigned CONSTANT text[] := ARRAY['last_run_at', 'steps_pending', 'first_run_at'];
BEGIN
  -- Whoever touches anything else signs, and so does whoever only asks to.
  IF TG_OP = 'INSERT' OR to_jsonb(NEW) - unsigned <> to_jsonb(OLD) - unsigned THEN
    NEW.stored_by := current_user;
  END IF;
  RETURN NEW;
END $fn$;
DROP TRIGGER IF EXISTS sign ON pgbackfill.migrations;
CREATE TRIGGER sign BEFORE INSERT OR UPDATE ON pgbackfill.migrations FOR EACH ROW EXECUTE FUNCTION pgbackfill.sign();
ALTER TABLE pgbackfill.migrations ENABLE ALWAYS TRIGGER sign;
DROP TRIGGER IF EXISTS sign ON pgbackfill.claims;
CREATE TRIGGER sign BEFORE INSERT OR UPDATE ON pgbackfill.claims FOR EACH ROW EXECUTE FUNCTION pgbackfill.sign();
ALTER TABLE pgbackfill.claims ENABLE ALWAYS TRIGGER sign;
CREATE OR REPLACE FUNCTION pgbackfill.sign_approval() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
  NEW.db_user := session_user;
  RETURN NEW;
END $fn$;
DROP TRIGGER IF EXISTS sign ON pgbackfill.approvals;
CREATE TRIGGER sign BEFORE INSERT OR UPDATE ON pgbackfill.approvals FOR EACH ROW
  EXECUTE FUNCTION pgbackfill.sign_approval();
ALTER TABLE pgbackfill.approvals ENABLE ALWAYS TRIGGER sign;

ALTER TABLE pgbackfill.runners ADD COLUMN IF NOT EXISTS machine text NOT NULL DEFAULT '';
COMMENT ON COLUMN pgbackfill.runners.machine IS 'boot and pid namespace: tells where pid can be looked up';

ALTER FUNCTION pgbackfill.fence(bigint, bigint, bigint, bigint, text[], text[], text)
  SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION pgbackfill.lock_pass(bigint, int) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION pgbackfill.unless_repeating(bigint, boolean) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION pgbackfill.within_budget(bigint, bigint, bigint, bigint) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION pgbackfill.tell_of_change() SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION pgbackfill.key_text(a_value anyelement) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
SET extra_float_digits = '3' SET bytea_output = 'hex' AS $fn$
BEGIN
  RETURN a_value::text;
END $fn$;
COMMENT ON FUNCTION pgbackfill.key_text(anyelement) IS
  'the text of a key, as it is stored, whatever the settings of the session';

CREATE OR REPLACE FUNCTION pgbackfill.unless_moved(a_changed bigint, a_moved text[]) RETURNS bigint LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
  IF cardinality(a_moved) > 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'BF006',
      MESSAGE = format('rows got another key while they were changed, such as %s: they could be met again or missed',
        array_to_string(a_moved, ', ')),
      HINT = 'A trigger or the statement changes the key. Have the table paged by another unique index, or stop that.';
  END IF;
  RETURN a_changed;
END $fn$;

CREATE OR REPLACE FUNCTION pgbackfill.unless_fanned_out(a_changed bigint, a_keys bigint, a_rows_per_key bigint)
  RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
  IF a_changed > a_rows_per_key * greatest(a_keys, 100) THEN
    RAISE EXCEPTION USING ERRCODE = 'BF005',
      MESSAGE = format('a batch of %s keys would change %s rows', a_keys, a_changed),
      HINT = format('Join the table of {batch} to the table that is changed. Where a key has that many rows, say so in '
        '"backfill": rows_per_key: %s', ceil(a_changed::numeric / greatest(a_keys, 1))::bigint);
  END IF;
  RETURN a_changed;
END $fn$;

-- So that the next value comes after a_value, in the direction of the sequence; never back.
CREATE OR REPLACE FUNCTION pgbackfill.pass_sequence(a_sequence regclass, a_value numeric) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
  q record;
  at numeric;
  is_called boolean;
  steps numeric;
  last numeric;
BEGIN
  SELECT s.seqincrement::numeric AS step, s.seqmin, s.seqmax INTO STRICT q FROM pg_sequence s
    WHERE s.seqrelid = a_sequence;
  EXECUTE format('SELECT last_value, is_called FROM %s', a_sequence) INTO STRICT at, is_called;
  IF is_called THEN at := at + q.step; END IF;
  steps := floor((a_value - at) / q.step) + 1;
  IF steps <= 0 THEN RETURN NULL; END IF;
  last := at + (steps - 1) * q.step;
  IF last > q.seqmax OR last < q.seqmin THEN
    RETURN setval(a_sequence, CASE WHEN q.step > 0 THEN q.seqmax ELSE q.seqmin END);
  END IF;
  -- Nearby, somebody who draws meanwhile must not be set back.
  IF steps > 1000 THEN RETURN setval(a_sequence, last::bigint); END IF;
  FOR i IN 1..steps::int LOOP
    at := nextval(a_sequence);
    -- They may have drawn it themselves.
    EXIT WHEN (at - last) / q.step >= 0;
  END LOOP;
  RETURN at;
END $fn$;

DO $do$
DECLARE
  caller record;
BEGIN
  REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgbackfill FROM PUBLIC;
  FOR caller IN
    SELECT DISTINCT acl.grantee::pg_catalog.regrole AS name
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) acl
    WHERE c.oid = 'pgbackfill.ranges'::pg_catalog.regclass AND acl.privilege_type = 'UPDATE' AND acl.grantee <> 0
      AND acl.grantee <> c.relowner
  LOOP
    EXECUTE pg_catalog.format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbackfill TO %s', caller.name);
    EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON pgbackfill.hook_turns TO %s', caller.name);
  END LOOP;
END $do$;

UPDATE pgbackfill.meta SET revision = 1 WHERE version = 9;
)sql";

// Revision 2: what `gate` measured last, and a function for migrations of other tools that have to wait for it. They
// are run in the rights of whoever calls, which may be somebody who only looks.
constexpr char kRevision2[] = R"sql(
CREATE TABLE IF NOT EXISTS pgbackfill.gate_readings (
  migration text PRIMARY KEY,
  is_open boolean NOT NULL,
  has_backfill boolean NOT NULL,
  reasons text[] NOT NULL,
  measured_at timestamptz NOT NULL,
  measured_by name NOT NULL DEFAULT session_user
);
COMMENT ON TABLE pgbackfill.gate_readings IS 'What gate and complete measured last of each migration';
COMMENT ON COLUMN pgbackfill.gate_readings.measured_at IS 'when it began to be measured';

CREATE OR REPLACE FUNCTION pgbackfill.require_gate(migration text, max_age interval DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
  job pgbackfill.jobs;
  reading pgbackfill.gate_readings;
  amount bigint;
  why text[] := '{}';
BEGIN
  IF require_gate.migration IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'require_gate: the name of the migration is NULL';
  END IF;
  SELECT * INTO job FROM pgbackfill.jobs j WHERE j.name = require_gate.migration;
  SELECT * INTO reading FROM pgbackfill.gate_readings g WHERE g.migration = require_gate.migration;
  IF NOT EXISTS (SELECT 1 FROM pgbackfill.migrations m WHERE m.name = require_gate.migration) THEN
    why := why || 'it is not recorded in this database'::text;
  ELSE
    IF job.id IS NOT NULL THEN
      SELECT count(*) INTO amount FROM pgbackfill.ranges r WHERE r.job_id = job.id AND r.pass = job.pass AND NOT r.done;
      IF job.status <> 'complete' OR amount > 0 THEN
        why := why || format('the backfill is %s, %s range(s) are open', job.status, amount);
      END IF;
      SELECT count(*) INTO amount FROM pgbackfill.deferred d WHERE d.job_id = job.id;
      IF amount > 0 THEN why := why || format('%s row(s) are deferred: somebody held them', amount); END IF;
      SELECT count(*) INTO amount FROM pgbackfill.quarantine q WHERE q.job_id = job.id;
      IF amount > 0 THEN why := why || format('%s row(s) are quarantined', amount); END IF;
    ELSIF reading.has_backfill THEN
      why := why || 'the backfill has not started'::text;
    END IF;
    IF reading.migration IS NULL THEN
      why := why || 'its gate was never measured'::text;
    ELSIF NOT reading.is_open THEN
      why := why || format('measured %s, the gate was closed: %s', reading.measured_at,
        array_to_string(reading.reasons, '; '));
    ELSIF reading.measured_at < job.completed_at OR EXISTS (SELECT 1 FROM pgbackfill.events e
        WHERE e.migration = require_gate.migration AND e.kind IN ('rolled back', 'created')
          AND e.at > reading.measured_at) THEN
      why := why || format('its gate was last measured %s, before the backfill was complete', reading.measured_at);
    ELSIF clock_timestamp() - reading.measured_at > max_age THEN
      why := why || format('its gate was last measured %s, longer than %s ago', reading.measured_at, max_age);
    END IF;
  END IF;
  IF cardinality(why) > 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'BF007',
      MESSAGE = format('the gate of migration %s is closed: %s', require_gate.migration, array_to_string(why, '; ')),
      HINT = format('Run the migration to its end (pgbackfill run), then "pgbackfill gate %s", then this again.',
        require_gate.migration);
  END IF;
END $fn$;
COMMENT ON FUNCTION pgbackfill.require_gate(text, interval) IS
  'raises an error with the reasons unless gate has measured that the migration is complete, at most max_age ago';

DO $do$
DECLARE
  caller record;
BEGIN
  REVOKE ALL ON FUNCTION pgbackfill.require_gate(text, interval) FROM PUBLIC;
  FOR caller IN
    SELECT DISTINCT acl.grantee::pg_catalog.regrole AS name
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) acl
    WHERE c.oid = 'pgbackfill.ranges'::pg_catalog.regclass AND acl.privilege_type = 'UPDATE' AND acl.grantee <> 0
      AND acl.grantee <> c.relowner
  LOOP
    EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION pgbackfill.require_gate(text, interval) TO %s', caller.name);
    EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON pgbackfill.gate_readings TO %s', caller.name);
  END LOOP;
END $do$;

CREATE OR REPLACE FUNCTION pgbackfill.key_text(a_value anyelement) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
SET extra_float_digits = '3' SET bytea_output = 'hex' AS $fn$
BEGIN
  -- A cast of a type that is not the server's own may be a function of somebody's.
  IF pg_typeof(a_value)::oid < 16384 THEN
    RETURN a_value::text;
  END IF;
  RETURN concat(a_value);
END $fn$;

UPDATE pgbackfill.meta SET revision = 2 WHERE version = 9;
)sql";

// Revision 3: of what is told of a job to whoever asked for it, what has been told, so that of several processes one
// does; and what a job was thought to cost when it began.
constexpr char kRevision3[] = R"sql(
CREATE TABLE IF NOT EXISTS pgbackfill.notices (
  migration text NOT NULL,
  command text NOT NULL,
  event text NOT NULL,
  mark text NOT NULL,
  told_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  host text NOT NULL,
  pid int NOT NULL,
  PRIMARY KEY (migration, command, event)
);
COMMENT ON TABLE pgbackfill.notices IS 'What `on:` told last of each migration, and which process did';
COMMENT ON COLUMN pgbackfill.notices.mark IS 'which of these events it was: the same one is told once';

ALTER TABLE pgbackfill.jobs
  ADD COLUMN IF NOT EXISTS estimated_ms bigint,
  ADD COLUMN IF NOT EXISTS estimated_bytes bigint,
  ADD COLUMN IF NOT EXISTS estimated_wal_bytes bigint,
  ADD COLUMN IF NOT EXISTS wal_at_start pg_lsn,
  ADD COLUMN IF NOT EXISTS wal_at_end pg_lsn;
COMMENT ON COLUMN pgbackfill.jobs.estimated_ms IS 'how long it was thought to take when it began';
COMMENT ON COLUMN pgbackfill.jobs.estimated_bytes IS 'to how many bytes the heap was thought to grow';
COMMENT ON COLUMN pgbackfill.jobs.estimated_wal_bytes IS 'how much WAL it was thought to write';
COMMENT ON COLUMN pgbackfill.jobs.wal_at_start IS 'where the WAL of the server ended when the job began';

DO $do$
DECLARE
  caller record;
BEGIN
  FOR caller IN
    SELECT DISTINCT acl.grantee::pg_catalog.regrole AS name
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) acl
    WHERE c.oid = 'pgbackfill.ranges'::pg_catalog.regclass AND acl.privilege_type = 'UPDATE' AND acl.grantee <> 0
      AND acl.grantee <> c.relowner
  LOOP
    EXECUTE pg_catalog.format('GRANT SELECT, INSERT, UPDATE, DELETE ON pgbackfill.notices TO %s', caller.name);
  END LOOP;
END $do$;

UPDATE pgbackfill.meta SET revision = 3 WHERE version = 9;
)sql";

// Revision 4: the past of a job, for people who ask what happened; and how long steps took, and waited for locks.
// Whoever may look at ranges may look at it.
constexpr char kRevision4[] = R"sql(
CREATE TABLE IF NOT EXISTS pgbackfill.samples (
  job_id bigint NOT NULL REFERENCES pgbackfill.jobs ON DELETE CASCADE,
  moment bigint NOT NULL,
  at timestamptz NOT NULL,
  took_ms bigint NOT NULL,
  phase text NOT NULL,
  rows_done bigint NOT NULL,
  rows_changed bigint NOT NULL,
  batch_rows bigint,
  batch_ms bigint,
  workers real NOT NULL,
  processes int NOT NULL,
  wal_per_second double precision NOT NULL,
  lag_ms jsonb NOT NULL DEFAULT '{}',
  latency_ratio real,
  waiters int NOT NULL,
  held_ms jsonb NOT NULL DEFAULT '{}',
  held_by text NOT NULL DEFAULT '',
  table_bytes bigint,
  PRIMARY KEY (job_id, moment)
);
COMMENT ON TABLE pgbackfill.samples IS
  'How jobs went: a row every five seconds of work, and fewer of what is older than an hour';
COMMENT ON COLUMN pgbackfill.samples.moment IS 'seconds since the job was created';
COMMENT ON COLUMN pgbackfill.samples.took_ms IS 'the time before at that the row is of';
COMMENT ON COLUMN pgbackfill.samples.held_ms IS
  'by cause: how long of took_ms it slowed or stopped the job; causes overlap';

ALTER TABLE pgbackfill.steps
  ADD COLUMN IF NOT EXISTS took_ms bigint,
  ADD COLUMN IF NOT EXISTS lock_wait_ms bigint,
  ADD COLUMN IF NOT EXISTS waited_for text NOT NULL DEFAULT '';
COMMENT ON COLUMN pgbackfill.steps.lock_wait_ms IS 'of took_ms, until it had its locks';
COMMENT ON COLUMN pgbackfill.steps.waited_for IS 'who held a lock that it needed, as it was last seen';

DO $do$
DECLARE
  caller record;
BEGIN
  FOR caller IN
    SELECT CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE acl.grantee::pg_catalog.regrole::pg_catalog.text END AS name,
      pg_catalog.bool_or(acl.privilege_type = 'UPDATE') AND acl.grantee <> 0 AS may_write
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) acl
    WHERE c.oid = 'pgbackfill.ranges'::pg_catalog.regclass AND acl.privilege_type IN ('SELECT', 'UPDATE')
      AND acl.grantee <> c.relowner
    GROUP BY acl.grantee
  LOOP
    EXECUTE pg_catalog.format('GRANT %s ON pgbackfill.samples TO %s',
      CASE WHEN caller.may_write THEN 'SELECT, INSERT, UPDATE, DELETE' ELSE 'SELECT' END, caller.name);
  END LOOP;
END $do$;

UPDATE pgbackfill.meta SET revision = 4 WHERE version = 9;
)sql";

// Revision 5: a key whose text is that of another key is told, by the equality of its type.
constexpr char kRevision5[] = R"sql(
CREATE OR REPLACE FUNCTION pgbackfill.key_text(a_value anyelement) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
SET extra_float_digits = '3' SET bytea_output = 'hex' AS $fn$
DECLARE
  kind pg_type;
  told text;
  is_other boolean;
BEGIN
  -- A cast of a type that is not the server's own may be a function of somebody's.
  IF pg_typeof(a_value)::oid < 16384 THEN
    RETURN a_value::text;
  END IF;
  told := concat(a_value);
  SELECT * INTO kind FROM pg_type t WHERE t.oid = pg_typeof(a_value);
  WHILE kind.typtype = 'd' LOOP
    SELECT * INTO kind FROM pg_type t WHERE t.oid = kind.typbasetype;
  END LOOP;
  IF kind.oid < 16384 OR kind.typtype = 'e' OR num_nulls(a_value) > 0
    OR EXISTS (SELECT FROM pg_proc f WHERE f.oid = kind.typoutput AND f.prosrc = 'textout') THEN
    RETURN told;
  END IF;
  EXECUTE format('SELECT record_ne(ROW(r.v), ROW($2::%1$s)) FROM jsonb_to_record(jsonb_build_object(''v'', $1)) AS r '
    '(v %1$s)', kind.oid::regtype) INTO is_other USING told, a_value;
  IF is_other THEN
    RAISE EXCEPTION USING ERRCODE = 'BF011',
      MESSAGE = format('a key of type %s cannot be told by its text: %s is the text of another value too',
        kind.oid::regtype, told),
      HINT = 'Page by another key, or give the table one.';
  END IF;
  RETURN told;
END $fn$;

UPDATE pgbackfill.meta SET revision = 5 WHERE version = 9;
)sql";

// Revision 6: a job knows which pgbackfill.jobs it was made in, so that one that was restored with it is told apart.
constexpr char kRevision6[] = R"sql(
ALTER TABLE pgbackfill.jobs ADD COLUMN IF NOT EXISTS state_relation oid;
COMMENT ON COLUMN pgbackfill.jobs.state_relation IS
  'oid of pgbackfill.jobs when the job was last bound to its table; another one: the state was restored from a dump';

UPDATE pgbackfill.meta SET revision = 6 WHERE version = 9;
)sql";

}  // namespace

std::string has_version() {
  return "SELECT to_regclass('pgbackfill.meta') IS NOT NULL";
}

std::string read_version() {
  // Through jsonb, since an older schema has no such column.
  return "SELECT m.version, coalesce((to_jsonb(m) ->> 'revision')::int, 0) FROM pgbackfill.meta m ORDER BY m.version "
         "DESC LIMIT 1";
}

std::vector<std::string> upgrades(int version, int revision) {
  static std::vector<std::string> const scripts = {kVersion1, kVersion2, kVersion3, kVersion4, kVersion5,
                                                   kVersion6, kVersion7, kVersion8, kVersion9};
  static std::vector<std::string> const revisions = {kRevision1, kRevision2, kRevision3,
                                                     kRevision4, kRevision5, kRevision6};
  if (version < 0 || version > kStateVersion || revision > kStateRevision) return {};
  std::vector<std::string> needed(scripts.begin() + version, scripts.end());
  // Those of an older version went into the next one.
  int const known = version == kStateVersion ? revision : 0;
  needed.insert(needed.end(), revisions.begin() + known, revisions.end());
  return needed;
}

std::string has_state_rights() {
  return "SELECT bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND "
         "has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')) AND coalesce((SELECT "
         "bool_and(has_function_privilege(f.oid, 'EXECUTE')) FROM pg_catalog.pg_proc f WHERE f.pronamespace = "
         "to_regnamespace('pgbackfill') AND f.prorettype <> 'trigger'::regtype), true) FROM pg_catalog.pg_class c "
         "WHERE c.relnamespace = to_regnamespace('pgbackfill') AND c.relkind = 'r' AND c.relname <> 'meta' AND "
         "c.relpersistence = 'p'";
}

std::string grants_to(std::string const& role) {
  return "GRANT USAGE ON SCHEMA pgbackfill TO " + role +
         "; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgbackfill TO " + role +
         "; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbackfill TO " + role;
}

}  // namespace pgbackfill::engine::state
