"""Bringing a database to the schema of this release, and telling whether it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from bridge.db.session import Database
from bridge.errors import DatabaseError


def upgrade(url: str) -> None:
    """Bring the database at `url` to the schema of this release; do nothing if it is there.

    Raises:
        DatabaseError: it cannot be opened.
    """
    with _connect(url, copies_tables=True) as connection:
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
def _connect(url: str, *, copies_tables: bool = False) -> Iterator[Connection]:
    database = Database(url)
    if copies_tables and database.engine.dialect.name == "sqlite":
        # A table is changed there by copying it, and dropped while others refer to it.
        event.listen(database.engine, "connect", _ignore_references)
    try:
        with database.engine.begin() as connection:
            yield connection
            if copies_tables and connection.dialect.name == "sqlite":
                _check_references(connection)
    except OperationalError as error:
        raise DatabaseError(f"The database cannot be used: {error.orig}.") from error
    finally:
        database.close()


def _ignore_references(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys=OFF")


def _check_references(connection: Connection) -> None:
    """Refuse to commit rows that refer to what is not there.

    Raises:
        DatabaseError: says which table has one.
    """
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise DatabaseError(f"A row of {broken[0]} refers to a row of {broken[2]} that is missing.")
