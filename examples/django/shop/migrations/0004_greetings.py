from django.db import migrations

from shop import pgbackfill_django as pgbackfill


class Migration(migrations.Migration):
    """What relies on the field: in one transaction with its gate."""

    dependencies = [("shop", "0003_user_display_name_not_null")]
    operations = [
        pgbackfill.gate("users_display_name"),
        migrations.RunSQL(
            "CREATE VIEW greetings AS SELECT id, 'Dear ' || display_name AS greeting FROM users",
            "DROP VIEW greetings",
        ),
    ]
