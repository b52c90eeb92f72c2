"""How model types are written in migrations: as SQLAlchemy's own, so that old ones need no code."""

from __future__ import annotations

from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext

from bridge.db.base import Moment


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write a moment as the column it is; leave everything else to Alembic."""
    if kind == "type" and isinstance(item, Moment):
        return "sa.DateTime(timezone=True)"
    return False
