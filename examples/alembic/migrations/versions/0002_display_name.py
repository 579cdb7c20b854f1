"""expand: a column that may be NULL as yet"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    # It takes a moment, but waits for all who read the table now, and all others wait behind it.
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.add_column("users", sa.Column("display_name", sa.Text), if_not_exists=True)


def downgrade():
    op.drop_column("users", "display_name")
