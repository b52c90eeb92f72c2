"""Writing many executions and messages with one statement each.

What differs from row to row goes to the database as one JSON text, which it takes apart itself;
what all have in common goes once. Row by row, SQLAlchemy and the driver cost several times what the
database does, on PostgreSQL most of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnDefault,
    ColumnElement,
    Connection,
    Insert,
    LargeBinary,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    inspect,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from bridge.db import Execution, Message


class NewExecution(NamedTuple):
    """What is an execution's own."""

    id: str
    idempotency_key: str | None


class NewText(NamedTuple):
    """A message whose payload is text."""

    execution_id: str
    content_type: str
    payload: str
    size: int
    environment: Mapping[str, str]


def insert_executions(
    connection: Connection, executions: Sequence[NewExecution], shared: Mapping[str, Any]
) -> None:
    """Insert executions in their order, but those whose key is there already.

    Whoever inserts the same key at this moment is waited for, by the unique index.

    Args:
        connection: in a transaction.
        executions: what is their own.
        shared: the columns that all have in common, as many as have no default.
    """
    statement = _STATEMENTS[connection.dialect.name].executions
    connection.execute(statement, {**_DEFAULTS, **shared, "rows": json.dumps(executions)})


def insert_texts(connection: Connection, messages: Sequence[NewText]) -> None:
    """Insert messages whose executions are there."""
    statement = _STATEMENTS[connection.dialect.name].texts
    connection.execute(statement, {"rows": json.dumps(messages)})


class _Statements(NamedTuple):
    executions: Insert
    texts: Insert


_EXECUTIONS, _MESSAGES = inspect(Execution).local_table, inspect(Message).local_table
assert isinstance(_EXECUTIONS, Table)
assert isinstance(_MESSAGES, Table)
_COLUMNS = [c for c in _EXECUTIONS.columns if c is not _EXECUTIONS.autoincrement_column]
# What stands in the columns that are not given: SQLAlchemy would fill it in row by row.
_DEFAULTS = {
    c.name: c.default.arg if isinstance(c.default, ColumnDefault) else None
    for c in _COLUMNS
    if c.default is not None or c.nullable
}


def _of_sqlite() -> _Statements:
    given = func.json_each(bindparam("rows", type_=Text))
    rows = given.table_valued("key", "value", name="rows")
    payload = cast(_field(rows, NewText, "payload"), LargeBinary)
    environment = _field(rows, NewText, "environment")
    return _statements(sqlite, rows, payload, environment)


def _of_postgresql() -> _Statements:
    given = func.jsonb_array_elements(cast(bindparam("rows", type_=Text), postgresql.JSONB))
    value = column("value", postgresql.JSONB)
    rows = given.table_valued(value, with_ordinality="key").render_derived(name="rows")
    payload = func.convert_to(_field(rows, NewText, "payload"), "UTF8")
    environment = cast(_field(rows, NewText, "environment"), JSON)
    return _statements(postgresql, rows, payload, environment)


def _statements(
    dialect: Any, rows: Any, payload: ColumnElement[Any], environment: ColumnElement[Any]
) -> _Statements:
    """Return the statements of a dialect.

    Args:
        dialect: SQLAlchemy's module of it.
        rows: the rows of the JSON text `rows`, in their order.
        payload: a message's payload as bytes.
        environment: a message's environment as JSON.
    """
    own = {name: _field(rows, NewExecution, name) for name in NewExecution._fields}
    values = [own.get(c.name, bindparam(c.name, type_=c.type)) for c in _COLUMNS]
    texts = {
        **{name: _field(rows, NewText, name) for name in ("execution_id", "content_type")},
        "payload": payload,
        "size": cast(_field(rows, NewText, "size"), BigInteger),
        "environment": environment,
    }
    return _Statements(
        dialect.insert(_EXECUTIONS)
        .from_select([c.name for c in _COLUMNS], _select(values, rows), include_defaults=False)
        .on_conflict_do_nothing(index_elements=["actor_id", "idempotency_key"]),
        dialect.insert(_MESSAGES).from_select(list(texts), _select(texts.values(), rows)),
    )


def _field(rows: Any, kind: type[NewExecution | NewText], name: str) -> ColumnElement[Any]:
    """Return the SQL for a field of a row: both databases understand ``->>``."""
    place: ColumnElement[int] = literal_column(str(kind._fields.index(name)))
    field: ColumnElement[Any] = rows.c.value.op("->>", return_type=Text())(place)
    return field


def _select(values: Iterable[ColumnElement[Any]], rows: Any) -> Select[Any]:
    return select(*values).select_from(rows).order_by(rows.c.key)


_STATEMENTS = {"sqlite": _of_sqlite(), "postgresql": _of_postgresql()}
