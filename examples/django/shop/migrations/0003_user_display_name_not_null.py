from django.db import migrations, models

from shop import pgbackfill_django as pgbackfill


class Migration(migrations.Migration):
    """Contract: NOT NULL, once every row has its value."""

    atomic = False
    dependencies = [("shop", "0002_user_display_name")]
    operations = [
        # For Django it is an AlterField. In the database that would be SET NOT NULL, which reads the whole table while
        # nobody else may, whether the rows are done or not.
        migrations.SeparateDatabaseAndState(
            database_operations=[pgbackfill.complete("users_display_name", "users-display-name.yaml")],
            state_operations=[migrations.AlterField("user", "display_name", models.TextField())],
        ),
    ]
