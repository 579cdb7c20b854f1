# examples/node-pg-migrate: the contract is refused until the backfill is complete, and within the one transaction of
# all pending migrations.
source "$SOURCE/tests/beside_tools/expect.bash"
cd "$DIR/examples/node-pg-migrate"

# pg reads no passfile of a URL.
passfile=${DATABASE_URL##*passfile=}
export PGPASSFILE=$passfile
DATABASE_URL=${DATABASE_URL%\?*}
up() { node-pg-migrate up --no-single-transaction "$@"; }
applied='SELECT max(name) FROM pgmigrations'

done_by up 2
sql "INSERT INTO users (name) SELECT 'name ' || g FROM generate_series(1, 5000) g"

echo '== too early: nothing was run yet, then somebody holds a row'
refused 'nothing ever ran here' up
is 20261102000000000_display-name "$applied"
hold_a_row
ends_with 4 pgbackfill run users-display-name.yaml --wait-for-rows 0s
is 1 "$rows_left"
refused 'complete users_display_name` was refused: the gate is closed' up
says '1 row(s) are deferred'
is 20261102000000000_display-name "$applied"
is f "$is_not_null"

echo '== also where node-pg-migrate was told that the third is there'
done_by up 1 --fake
refused 'the gate of migration users_display_name is closed' up
is '' "SELECT to_regclass('greetings')"
sql "DELETE FROM pgmigrations WHERE name = '20261103000000000_display-name-not-null'"

echo '== within a transaction it would wait for its caller'
refused 'give node-pg-migrate --no-single-transaction' node-pg-migrate up

echo '== in time'
release_the_row
done_by pgbackfill run users-display-name.yaml
done_by up
is 20261104000000000_greetings "$applied"
is t "$is_not_null"
is 0 "$rows_left"
is 5000 'SELECT count(*) FROM greetings'

echo '== a second deployment finds nothing to do'
before=$(fingerprint users)
done_by pgbackfill run users-display-name.yaml
done_by up
says 'No migrations to run!'
[[ $(fingerprint users) == "$before" ]] || fail 'the second deployment changed something'

echo '== a new database of a developer, in one command'
sql 'CREATE DATABASE fresh'
export DATABASE_URL=${DATABASE_URL%/postgres}/fresh
is '' "SELECT to_regclass('users')"
RUN_BACKFILLS_HERE=yes done_by up
is t "$is_not_null"
