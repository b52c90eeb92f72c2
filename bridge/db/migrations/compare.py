"""How model types are written in migrations: as SQLAlchemy's own, so that old ones need no code."""

from __future__ import annotations

from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext

from bridge.db.base import Document, Moment


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write a moment and a document as the columns they are; leave the rest to Alembic."""
    if kind == "type" and isinstance(item, Moment):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, Document):
        return "sa.Text()"
    return False
