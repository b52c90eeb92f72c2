"""Many rows for one statement.

What differs from row to row goes to the database as one JSON text, the statement's parameter
`rows`: an array of arrays, which it takes apart itself. Row by row, SQLAlchemy and the driver cost
several times what the database does, on PostgreSQL most of all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    LargeBinary,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from bridge.db.base import Base


class Given(ABC):
    """The rows of the parameter `rows`, as a statement of one dialect sees them.

    Attributes:
        rows: what stands in a FROM.
    """

    rows: Any

    def text(self, place: int) -> ColumnElement[Any]:
        """Return the SQL for a field of a row, as text: both databases understand ``->>``."""
        index: ColumnElement[int] = literal_column(str(place))
        field: ColumnElement[Any] = self.rows.c.value.op("->>", return_type=Text())(index)
        return field

    def select(self, *values: ColumnElement[Any]) -> Select[Any]:
        """Return a query for `values` of the rows, in their order."""
        return select(*values).select_from(self.rows).order_by(self.rows.c.key)

    def names(self) -> Select[Any]:
        """Return a query for the first field of each row."""
        return select(self.text(0)).select_from(self.rows)

    @abstractmethod
    def insert(self, kind: type[Base]) -> Any:
        """Return the dialect's INSERT, which has ON CONFLICT."""

    @abstractmethod
    def payload(self, place: int) -> ColumnElement[Any]:
        """Return the SQL for a text field as bytes."""

    @abstractmethod
    def document(self, place: int) -> ColumnElement[Any]:
        """Return the SQL for a field as JSON."""


class _OfSqlite(Given):
    def __init__(self) -> None:
        given = func.json_each(bindparam("rows", type_=Text))
        self.rows = given.table_valued("key", "value", name="rows")

    def insert(self, kind: type[Base]) -> Any:
        return sqlite.insert(_table(kind))

    def payload(self, place: int) -> ColumnElement[Any]:
        return cast(self.text(place), LargeBinary)

    def document(self, place: int) -> ColumnElement[Any]:
        return self.text(place)


class _OfPostgresql(Given):
    def __init__(self) -> None:
        given = func.jsonb_array_elements(cast(bindparam("rows", type_=Text), postgresql.JSONB))
        value = column("value", postgresql.JSONB)
        self.rows = given.table_valued(value, with_ordinality="key").render_derived(name="rows")

    def insert(self, kind: type[Base]) -> Any:
        return postgresql.insert(_table(kind))

    def payload(self, place: int) -> ColumnElement[Any]:
        return func.convert_to(self.text(place), "UTF8")

    def document(self, place: int) -> ColumnElement[Any]:
        return cast(self.text(place), JSON)


def _table(kind: type[Base]) -> Any:
    return kind.__table__


GIVEN: dict[str, Given] = {"sqlite": _OfSqlite(), "postgresql": _OfPostgresql()}  # by dialect
