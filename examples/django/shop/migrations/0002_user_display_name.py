from django.db import migrations, models


class Migration(migrations.Migration):
    """Expand: a field that may be NULL as yet."""

    dependencies = [("shop", "0001_initial")]
    operations = [
        # It takes a moment, but waits for all who read the table now, and all others wait behind it.
        migrations.RunSQL("SET LOCAL lock_timeout = '2s'", migrations.RunSQL.noop),
        migrations.AddField("user", "display_name", models.TextField(null=True)),
    ]
