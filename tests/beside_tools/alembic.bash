# examples/alembic: the contract is refused until the backfill is complete; offline scripts; a run that would wait for
# its own caller.
source "$SOURCE/tests/beside_tools/expect.bash"
cd "$DIR/examples/alembic"

done_by alembic upgrade 0002
sql "INSERT INTO users (name) SELECT 'name ' || g FROM generate_series(1, 5000) g"

echo '== too early: nothing was run yet, then somebody holds a row'
refused 'nothing ever ran here' alembic upgrade head
is 0002 'SELECT version_num FROM alembic_version'
hold_a_row
ends_with 4 pgbackfill run users-display-name.yaml --wait-for-rows 0s
is 1 "$rows_left"
refused 'complete users_display_name` was refused: the gate is closed' alembic upgrade head
says '1 row(s) are deferred'
is 0002 'SELECT version_num FROM alembic_version'
is f "$is_not_null"

echo '== by an SQL script as well, where the revision is Alembic'\''s own'
alembic upgrade 0003:0004 --sql >"$DIR/0004.sql" 2>"$output" || { cat "$output"; fail 'upgrade --sql'; }
refused 'the gate of migration users_display_name is closed' \
  psql "$DATABASE_URL" -Xq -v ON_ERROR_STOP=1 -f "$DIR/0004.sql"
refused 'an SQL script cannot run `pgbackfill complete users_display_name`' alembic upgrade 0002:0003 --sql
is '' "SELECT to_regclass('greetings')"

echo '== in time'
release_the_row
done_by pgbackfill run users-display-name.yaml
done_by alembic upgrade head
is 0004 'SELECT version_num FROM alembic_version'
is t "$is_not_null"
is 0 "$rows_left"
is 5000 'SELECT count(*) FROM greetings'
is 0 "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal"

echo '== a second deployment finds nothing to do'
before=$(fingerprint users)
done_by pgbackfill run users-display-name.yaml
done_by alembic upgrade head
[[ $(fingerprint users) == "$before" ]] || fail 'the second deployment changed something'

echo '== a run within the transaction of its caller is told to commit first, not left to wait in silence'
cat >migrations/versions/0005_wrong.py <<'PYTHON'
import subprocess

import pgbackfill_alembic
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade():
    op.execute("ALTER TABLE users ADD COLUMN extra text")
    subprocess.run(["pgbackfill", "run", "again.yaml"], env=pgbackfill_alembic._environment(), check=True)
PYTHON
sed 's/users_display_name/again/' users-display-name.yaml >again.yaml
PGBACKFILL_LOCK_PATIENCE=1s PGAPPNAME=deployment refused '(commit first: ' alembic upgrade head
says '(deployment, role postgres, idle in transaction'
rm migrations/versions/0005_wrong.py

echo '== a new database of a developer, in one command; it is Alembic'\''s own, whatever DATABASE_URL says'
sql 'CREATE DATABASE fresh'
DATABASE_URL=${DATABASE_URL/\/postgres\?/\/fresh\?}
is '' "SELECT to_regclass('users')"
sed -i 's/"DATABASE_URL"/"SHOP_URL"/' migrations/env.py
SHOP_URL=$DATABASE_URL DATABASE_URL=$nowhere done_by alembic -x backfill=here upgrade head
is t "$is_not_null"
