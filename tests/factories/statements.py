"""Counting what is sent to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from bridge.db import Base, Database


@contextmanager
def recorded_statements(database: Database) -> Iterator[list[str]]:
    """Collect the statements of the block, transactions' own beginnings and ends left out."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


@contextmanager
def recorded_scans(database: Database) -> Iterator[list[str]]:
    """Collect the tables that the statements of the block read from end to end, without an index.

    SQLite says so in words; with any other database nothing is collected. A statement without a
    WHERE is meant to read everything, as a test's does, and is left out.
    """
    seen: list[str] = []

    def explain(
        connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if connection.dialect.name != "sqlite" or not statement.startswith(_EXPLAINED):
            return
        if " WHERE " not in statement.replace("\n", " "):
            return
        first = parameters[0] if many else parameters
        cursor = connection.connection.cursor()
        for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", first):
            verb, table, *how = [*row[-1].split(), ""]
            if verb == "SCAN" and table in Base.metadata.tables and "INDEX" not in how:
                seen.append(table)
        cursor.close()

    event.listen(database.engine, "before_cursor_execute", explain)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", explain)


_EXPLAINED = ("SELECT", "UPDATE", "DELETE", "WITH")
