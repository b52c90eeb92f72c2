"""Writing many executions and messages with one statement each (see bridge.db.given)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnDefault,
    ColumnElement,
    Connection,
    Insert,
    Table,
    bindparam,
    cast,
    inspect,
)

from bridge.db import Execution, Message
from bridge.db.given import GIVEN, Given


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


_EXECUTIONS = inspect(Execution).local_table
assert isinstance(_EXECUTIONS, Table)
_COLUMNS = [c for c in _EXECUTIONS.columns if c is not _EXECUTIONS.autoincrement_column]
# What stands in the columns that are not given: SQLAlchemy would fill it in row by row.
_DEFAULTS = {
    c.name: c.default.arg if isinstance(c.default, ColumnDefault) else None
    for c in _COLUMNS
    if c.default is not None or c.nullable
}


def _statements(given: Given) -> _Statements:
    own = {name: _field(given, NewExecution, name) for name in NewExecution._fields}
    values = [own.get(c.name, bindparam(c.name, type_=c.type)) for c in _COLUMNS]
    place = NewText._fields.index
    texts = {
        **{name: _field(given, NewText, name) for name in ("execution_id", "content_type")},
        "payload": given.payload(place("payload")),
        "size": cast(_field(given, NewText, "size"), BigInteger),
        "environment": given.document(place("environment")),
    }
    return _Statements(
        given.insert(Execution)
        .from_select([c.name for c in _COLUMNS], given.select(*values), include_defaults=False)
        .on_conflict_do_nothing(index_elements=["actor_id", "idempotency_key"]),
        given.insert(Message).from_select(list(texts), given.select(*texts.values())),
    )


def _field(given: Given, kind: type[NewExecution | NewText], name: str) -> ColumnElement[Any]:
    return given.text(kind._fields.index(name))


_STATEMENTS = {name: _statements(given) for name, given in GIVEN.items()}
