"""What Alembic runs: it is handed an open connection, never a URL of its own."""

from __future__ import annotations

from alembic import context

from bridge.db.base import Base
from bridge.db.migrations.compare import render_item

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
