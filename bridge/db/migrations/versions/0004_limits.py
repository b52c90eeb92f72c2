"""What users' workers held, by day.

Lock time: a table is made, no other is touched. Compatibility: nothing that was there changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "core_usage",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("core_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("day", "tenant", "username", name=op.f("pk_core_usage")),
    )


def downgrade() -> None:
    op.drop_table("core_usage")
