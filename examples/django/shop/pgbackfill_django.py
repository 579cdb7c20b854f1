"""pgbackfill in migrations of Django: copy this file into an app.

    complete("users_display_name", "users-display-name.yaml")    the gate, then the contract steps of the file
    gate("users_display_name")                                   nothing of the migration is applied while rows are left

Both are operations. pgbackfill works on connections of its own and would wait for a lock that an open transaction of
Django holds. So a migration with `complete` needs `atomic = False`, and is refused without.
"""

import os
import subprocess

from django.conf import settings
from django.core.management.base import CommandError
from django.db import migrations
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

REASONS = {
    1: "failed",
    2: "was called wrongly, or its file has a mistake",
    3: "was refused: the gate is closed, a check did not hold, or somebody has to agree (pgbackfill approve)",
    4: "stopped early; the same command goes on",
}


def gate(name):
    """Within the migration's transaction: the database looks at what `pgbackfill gate` measured last."""
    return migrations.RunSQL([("SELECT pgbackfill.require_gate(%s)", [name])], migrations.RunSQL.noop)


def complete(name, file):
    def forwards(apps, schema_editor):
        connection = schema_editor.connection
        if connection.in_atomic_block:
            raise CommandError(
                f"`pgbackfill complete {name}` would wait for this migration's own transaction: write `atomic = False` "
                "into the migration"
            )
        if getattr(settings, "RUN_BACKFILLS_HERE", False):
            _pgbackfill(connection, "run", str(settings.BASE_DIR / file))
        _pgbackfill(connection, "complete", name)

    # No way back: `complete` is not undone, and `migrate` says that the migration is irreversible.
    return migrations.RunPython(forwards)


def _pgbackfill(connection, *words):
    program = os.environ.get("PGBACKFILL", "pgbackfill")
    code = subprocess.run([program, *words], env=_environment(connection)).returncode
    if code != 0:
        reason = REASONS.get(code, "was killed")
        raise CommandError(f"`pgbackfill {' '.join(words)}` {reason} (exit code {code}); the migration was not applied")


def _environment(connection):
    """The database of this connection, also when it is not the default one; in the environment, since others can read
    a command line. A role for pgbackfill alone may be set before, in PGBACKFILL_DATABASE_URL."""
    environment = dict(os.environ)
    if not environment.get("PGBACKFILL_DATABASE_URL"):
        of_libpq = {option.keyword.decode() for option in Conninfo.get_defaults()}
        given = {name: value for name, value in connection.get_connection_params().items() if name in of_libpq}
        environment["PGBACKFILL_DATABASE_URL"] = make_conninfo(**given)
    return environment
