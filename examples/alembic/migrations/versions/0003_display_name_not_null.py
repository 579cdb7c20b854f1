"""contract: NOT NULL, once every row has its value"""

from alembic import context

import pgbackfill_alembic as pgbackfill

revision = "0003"
down_revision = "0002"


def upgrade():
    # `alembic -x backfill=here upgrade head`: a new or small database, for which nobody runs the backfill beforehand.
    if context.get_x_argument(as_dictionary=True).get("backfill") == "here":
        pgbackfill.run("users-display-name.yaml")
    # Not op.alter_column("users", "display_name", nullable=False): that reads the whole table while nobody else may,
    # whether the rows are done or not. This asks the gate first.
    pgbackfill.complete("users_display_name")


def downgrade():
    raise NotImplementedError("a contract is not taken back; write a revision that goes on from here")
