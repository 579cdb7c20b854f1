# examples/rails, by ActiveRecord and rake: the contract is refused until the backfill is complete, and within a
# transaction.
source "$SOURCE/tests/beside_tools/expect.bash"
cd "$DIR/examples/rails"
# Debian's, which has Debian's ActiveRecord.
rake() { /usr/bin/rake "$@"; }
applied='SELECT max(version) FROM schema_migrations'

VERSION=20261102000000 done_by rake db:migrate
is 20261102000000 "$applied"
sql "INSERT INTO users (name) SELECT 'name ' || g FROM generate_series(1, 5000) g"

echo '== too early: nothing was run yet, then somebody holds a row'
refused 'nothing ever ran here' rake db:migrate
is 20261102000000 "$applied"
hold_a_row
PGBACKFILL_WAIT_FOR_ROWS=0s refused 'stopped early; the same command goes on' \
  rake 'pgbackfill:run[users-display-name.yaml]'
is 1 "$rows_left"
refused '1 row(s) are deferred' rake 'pgbackfill:gate[users_display_name]'
refused 'complete users_display_name` was refused: the gate is closed' rake db:migrate
is 20261102000000 "$applied"
is f "$is_not_null"
sql "INSERT INTO schema_migrations VALUES ('20261103000000')"
refused 'the gate of migration users_display_name is closed' rake db:migrate
is '' "SELECT to_regclass('greetings')"
sql "DELETE FROM schema_migrations WHERE version = '20261103000000'"

echo '== within a transaction it would wait for its caller'
sed -i '/disable_ddl_transaction!/d' db/migrate/20261103000000_require_display_name_of_users.rb
refused 'write disable_ddl_transaction! into the migration' rake db:migrate
cp "$SOURCE/examples/rails/db/migrate/20261103000000_require_display_name_of_users.rb" db/migrate

echo '== in time'
release_the_row
PGBACKFILL=$DIR/nothing refused 'there is no such program' rake 'pgbackfill:run[users-display-name.yaml]'
done_by rake 'pgbackfill:run[users-display-name.yaml]'
done_by rake 'pgbackfill:gate[users_display_name]'
done_by rake db:migrate
is 20261104000000 "$applied"
is t "$is_not_null"
is 0 "$rows_left"
is 5000 'SELECT count(*) FROM greetings'

echo '== a second deployment finds nothing to do'
before=$(fingerprint users)
done_by rake 'pgbackfill:run[users-display-name.yaml]'
done_by rake db:migrate
[[ $(fingerprint users) == "$before" ]] || fail 'the second deployment changed something'

echo '== a new database of a developer, in one command; it is that of the connection, whatever DATABASE_URL says'
sql 'CREATE DATABASE fresh'
DATABASE_URL=${DATABASE_URL/\/postgres\?/\/fresh\?}
is '' "SELECT to_regclass('users')"
sed -i 's/"DATABASE_URL"/"SHOP_URL"/' Rakefile
SHOP_URL=$DATABASE_URL DATABASE_URL=$nowhere RUN_BACKFILLS_HERE=yes done_by rake db:migrate
is t "$is_not_null"
