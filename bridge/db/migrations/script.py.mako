"""${message}.

One migration, one change. Before merging, answer both:

- Lock time: does any statement rewrite or scan a large table (executions, messages, logs) while
  the API waits? On PostgreSQL add columns without a volatile default, and indexes CONCURRENTLY.
- Compatibility: does the release before this one still work on the new schema? Widen first,
  narrow a release later.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
