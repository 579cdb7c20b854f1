# examples/dbmate: plain SQL that begins with require_gate() is refused until the backfill is complete, and its gate
# measured.
source "$SOURCE/tests/beside_tools/expect.bash"
cd "$DIR/examples/dbmate"

# dbmate reads no ~/.pgpass of another name, and wants TLS unless it is told.
url=$DATABASE_URL
passfile=${url##*passfile=}
export PGPASSFILE=$passfile
migrate() { DATABASE_URL=${url%\?*}?sslmode=disable dbmate --no-dump-schema "$@"; }
applied='SELECT max(version) FROM schema_migrations'

# The rules see nothing heavy in what the files do themselves.
done_by pgbackfill lint --in-transaction db/migrations

echo '== too early: nothing was run yet'
refused 'schema "pgbackfill" does not exist' migrate up
is 20261102000000 "$applied"
sql "INSERT INTO users (name) SELECT 'name ' || g FROM generate_series(1, 5000) g"

echo '== too early: somebody holds a row'
hold_a_row
ends_with 4 pgbackfill run users-display-name.yaml --wait-for-rows 0s
is 1 "$rows_left"
refused 'the gate of migration users_display_name is closed' migrate up
says '1 row(s) are deferred'
ends_with 3 pgbackfill complete users_display_name
is f "$is_not_null"
release_the_row

echo '== too early: complete, but nobody has measured that'
done_by pgbackfill run users-display-name.yaml
is 0 "$rows_left"
refused 'the gate of migration users_display_name is closed' migrate up
says 'the gate was closed: the backfill is running'

echo '== too early: the gate is open, the contract not done'
done_by pgbackfill gate users_display_name
refused 'display_name may still be NULL' migrate up
is 20261102000000 "$applied"
is '' "SELECT to_regclass('greetings')"

echo '== in time'
done_by pgbackfill complete users_display_name
is t "$is_not_null"
done_by migrate up
is 20261103000000 "$applied"
is 5000 'SELECT count(*) FROM greetings'
is 0 "$rows_left"

echo '== a second deployment finds nothing to do'
before=$(fingerprint users)
done_by pgbackfill run users-display-name.yaml
done_by pgbackfill complete users_display_name
done_by migrate up
[[ $(fingerprint users) == "$before" ]] || fail 'the second deployment changed something'
