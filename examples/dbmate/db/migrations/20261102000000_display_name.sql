-- migrate:up
-- It takes a moment, but waits for all who read the table now, and all others wait behind it.
SET LOCAL lock_timeout = '2s';
ALTER TABLE users ADD COLUMN IF NOT EXISTS display_name text;

-- migrate:down
ALTER TABLE users DROP COLUMN display_name;
