-- migrate:up
-- An error, with the reasons, unless the backfill is complete and its gate was found open within the last hour. dbmate
-- runs the file in one transaction: nothing of it is left then.
SELECT pgbackfill.require_gate('users_display_name', max_age => '1 hour');

-- The gate is open before `pgbackfill complete`, too. This file wants what complete does.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_attribute
             WHERE attrelid = 'users'::regclass AND attname = 'display_name' AND NOT attnotnull) THEN
    RAISE EXCEPTION 'display_name may still be NULL: run "pgbackfill complete users_display_name", then this again';
  END IF;
END
$$;

CREATE VIEW greetings AS SELECT id, 'Dear ' || display_name AS greeting FROM users;

-- migrate:down
DROP VIEW greetings;
