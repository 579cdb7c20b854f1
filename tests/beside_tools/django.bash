# examples/django: the contract is refused until the backfill is complete, and within a transaction; Django's idea of
# the schema is that of the database.
source "$SOURCE/tests/beside_tools/expect.bash"
cd "$DIR/examples/django"
manage() { python3 manage.py "$@"; }
applied="SELECT max(name) FROM django_migrations WHERE app = 'shop'"

done_by manage migrate shop 0002
sql "INSERT INTO users (name) SELECT 'name ' || g FROM generate_series(1, 5000) g"

echo '== too early: nothing was run yet, then somebody holds a row'
refused 'nothing ever ran here' manage migrate
is 0002_user_display_name "$applied"
hold_a_row
ends_with 4 pgbackfill run users-display-name.yaml --wait-for-rows 0s
is 1 "$rows_left"
refused 'complete users_display_name` was refused: the gate is closed' manage migrate
says '1 row(s) are deferred'
is 0002_user_display_name "$applied"
is f "$is_not_null"
# Also where Django was told that 0003 is there.
done_by manage migrate --fake shop 0003
refused 'the gate of migration users_display_name is closed' manage migrate shop 0004
is '' "SELECT to_regclass('greetings')"
done_by manage migrate --fake shop 0002

echo '== within a transaction it would wait for its caller'
sed -i 's/atomic = False/atomic = True/' shop/migrations/0003_user_display_name_not_null.py
refused 'write `atomic = False` into the migration' manage migrate
sed -i 's/atomic = True/atomic = False/' shop/migrations/0003_user_display_name_not_null.py

echo '== in time'
release_the_row
done_by pgbackfill run users-display-name.yaml
done_by manage migrate
is 0004_greetings "$applied"
is t "$is_not_null"
is 0 "$rows_left"
is 5000 'SELECT count(*) FROM greetings'
done_by manage makemigrations --check --dry-run

echo '== a second deployment finds nothing to do'
before=$(fingerprint users)
done_by pgbackfill run users-display-name.yaml
done_by manage migrate
[[ $(fingerprint users) == "$before" ]] || fail 'the second deployment changed something'

echo '== the database of manage.py test, in one command; it is Django'\''s own, whatever DATABASE_URL says'
cat >shop/tests.py <<'PYTHON'
from django.db import IntegrityError
from django.test import TestCase

from shop.models import User


class UserTest(TestCase):
    def test_display_name_is_not_null(self):
        with self.assertRaises(IntegrityError):
            User.objects.create(name="a", display_name=None)
PYTHON
sed -i 's/"DATABASE_URL"/"SHOP_URL"/' shop/settings.py
export SHOP_URL=$DATABASE_URL
RUN_BACKFILLS_HERE=yes DATABASE_URL=$nowhere done_by manage test
says 'Ran 1 test'
RUN_BACKFILLS_HERE=no refused 'complete users_display_name` failed' manage test
