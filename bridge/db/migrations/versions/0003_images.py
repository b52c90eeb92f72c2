"""Where images come from and how they are kept.

Lock time: only small tables are touched. Compatibility: the release before this one was never made.
"""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
