"""what relies on the column, and is Alembic's own"""

from alembic import op

import pgbackfill_alembic as pgbackfill

revision = "0004"
down_revision = "0003"


def upgrade():
    pgbackfill.gate("users_display_name")
    op.execute("CREATE VIEW greetings AS SELECT id, 'Dear ' || display_name AS greeting FROM users")


def downgrade():
    op.execute("DROP VIEW greetings")
