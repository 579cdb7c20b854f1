"""pgbackfill in revisions of Alembic: copy this file beside alembic.ini, and import it in a revision.

    gate("users_display_name")        nothing of the revision is applied while rows are left
    complete("users_display_name")    the gate, then the contract steps of the migration
    run("users-display-name.yaml")    the backfill; for small databases, since the deployment waits for it

pgbackfill works on connections of its own and would wait for a lock that Alembic's open transaction holds. So each of
these commits that transaction first (autocommit_block): call it at the beginning of a revision, and let env.py set
transaction_per_migration, else the revisions before it are committed without their number.
"""

import os
import subprocess

from alembic import context, op
from alembic.util import CommandError

REASONS = {
    1: "failed",
    2: "was called wrongly, or its file has a mistake",
    3: "was refused: the gate is closed, a check did not hold, or somebody has to agree (pgbackfill approve)",
    4: "stopped early; the same command goes on",
}


def gate(name):
    if context.is_offline_mode():
        # A script has no programs: the database itself looks, at what `pgbackfill gate` measured last.
        quoted = name.replace("'", "''")
        op.execute(f"SELECT pgbackfill.require_gate('{quoted}')")
        return
    _pgbackfill("gate", name)


def complete(name, *options):
    _pgbackfill("complete", name, *options)


def run(file, *options):
    _pgbackfill("run", file, *options)


def _pgbackfill(command, *arguments):
    line = " ".join(["pgbackfill", command, *arguments])
    if context.is_offline_mode():
        raise CommandError(
            f"an SQL script cannot run `{line}`: end the script before this revision (alembic upgrade A:B --sql), "
            "run the command, record the revision (alembic stamp), then go on with the next script"
        )
    with op.get_context().autocommit_block():
        done = subprocess.run([os.environ.get("PGBACKFILL", "pgbackfill"), command, *arguments], env=_environment())
    if done.returncode != 0:
        reason = REASONS.get(done.returncode, "was killed")
        raise CommandError(f"`{line}` {reason} (exit code {done.returncode}); the revision was not applied")


def _environment():
    environment = dict(os.environ)
    # Alembic's own database, whatever DATABASE_URL says; the environment, since others can read a command line. A
    # role for pgbackfill alone may be set before, in PGBACKFILL_DATABASE_URL.
    if not environment.get("PGBACKFILL_DATABASE_URL"):
        url = op.get_bind().engine.url
        environment["PGBACKFILL_DATABASE_URL"] = url.render_as_string(hide_password=False)
    return environment
