"""Bringing a database to the schema of this release, and telling whether it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from bridge.db.session import Database
from bridge.errors import DatabaseError


def upgrade(url: str) -> None:
    """Bring the database at `url` to the schema of this release; do nothing if it is there.

    Raises:
        DatabaseError: it cannot be opened.
    """
    with _connect(url) as connection:
        command.upgrade(alembic_config(connection), "head")


def check(url: str) -> None:
    """Say nothing if the database at `url` has the schema of this release.

    Raises:
        DatabaseError: it has another, or none, or cannot be opened.
    """
    with _connect(url) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        head = ScriptDirectory.from_config(alembic_config(connection)).get_current_head()
    if found != head:
        raise DatabaseError(
            f"The database is at schema {found or 'none'}, this release needs {head}: "
            "stop the bridge and run `bridge db upgrade`."
        )


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's settings for working over `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connect(url: str) -> Iterator[Connection]:
    database = Database(url)
    try:
        with database.engine.begin() as connection:
            yield connection
    except OperationalError as error:
        raise DatabaseError(f"The database cannot be used: {error.orig}.") from error
    finally:
        database.close()
