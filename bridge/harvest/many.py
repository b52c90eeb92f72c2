"""Reading and removing rows of many executions by their ids, with one statement for all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session, load_only

from bridge.db import Array, Execution, Message
from bridge.db.given import GIVEN

# What is read of an execution to conclude it; the rest is only written.
_TO_CONCLUDE = load_only(
    Execution.id,
    Execution.actor_id,
    Execution.array_id,
    Execution.attempt,
    Execution.cancel_requested_at,
    Execution.exit_code,
    Execution.hops,
    Execution.message_received_time,
    Execution.reason,
    Execution.result_bytes,
    Execution.result_count,
    Execution.start_time,
    Execution.status,
    Execution.username,
)
_FIND = {
    name: select(Execution)
    .where(Execution.array_id == bindparam("array_id"), Execution.id.in_(given.names()))
    .options(_TO_CONCLUDE)
    for name, given in GIVEN.items()
}
_DELETE = {
    name: delete(Message)
    .where(Message.execution_id.in_(given.names()))
    .execution_options(synchronize_session=False)
    for name, given in GIVEN.items()
}


def find_executions(session: Session, array: Array, ids: Iterable[str]) -> Sequence[Execution]:
    """Return those of the executions that were given to the array."""
    values = {"rows": _rows(ids), "array_id": array.id}
    return session.scalars(_FIND[session.get_bind().dialect.name], values).all()


def delete_messages(session: Session, ids: Iterable[str]) -> None:
    """Remove what was posted for executions that are final now."""
    session.execute(_DELETE[session.get_bind().dialect.name], {"rows": _rows(ids)})


def _rows(ids: Iterable[str]) -> str:
    return json.dumps([[one] for one in ids])
