"""The queues, each user's of an actor after the other.

Lock time: the index of what waits is made anew, which takes a second or two for a million messages;
on PostgreSQL nobody can write executions meanwhile. Compatibility: the release before reads by it
as well, slower.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_WAITS = sa.text("status = 'SUBMITTED' and array_id is null")


def _make(columns: list[str]) -> None:
    op.drop_index("ix_executions_queue", table_name="executions")
    op.create_index(
        "ix_executions_queue",
        "executions",
        columns,
        sqlite_where=_WAITS,
        postgresql_where=_WAITS,
    )


def upgrade() -> None:
    _make(["actor_id", "username", "seq"])


def downgrade() -> None:
    _make(["actor_id", "status", "seq"])
