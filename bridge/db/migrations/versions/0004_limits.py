"""Limits of tenants and users.

Lock time: only small tables are touched. Compatibility: the release before this one was never made.
"""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
