"""`bridge db`: the database's schema."""

from __future__ import annotations

import click

from bridge.db.upgrade import upgrade as upgrade_schema
from bridge.settings import read_settings


@click.group()
def db() -> None:
    """Look after the database that BRIDGE_DATABASE names."""


@db.command()
def upgrade() -> None:
    """Bring the schema to that of this release; nothing happens if it is there."""
    upgrade_schema(read_settings().database_url)
