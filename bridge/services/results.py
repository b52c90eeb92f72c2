"""What containers sent to ``/_abaco_results.sock`` (abaco_contract.md 3.7, 5.3).

Abaco's way of reading takes the next result, each once. Beyond Abaco, all can be listed without
taking any. Both see what has not expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.statuses import Level
from bridge.db import Actor, Result
from bridge.services.executions import find_execution

# What one listing gives at most, however much is asked for. One result is always given whole.
MAX_LISTED = 1000
MAX_LISTED_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class ListedResult:
    """One result, as a listing has it."""

    number: int
    is_taken: bool
    payload: bytes


@dataclass(frozen=True)
class ResultList:
    """A part of an execution's results, and how many there are in all.

    `next_skip` is where the next part begins, None after the last.
    """

    actor: Actor
    execution_id: str
    total: int
    next_skip: int | None
    results: Sequence[ListedResult]


def take_result(
    session: Session, identity: Identity, actor_id: str, execution_id: str, now: datetime
) -> bytes:
    """Return the next result and mark it as taken; nothing, where none is left.

    Of requests at the same moment each gets another one: the row is locked, and what others have
    locked is passed over (on SQLite the transaction has the only lock).

    Raises:
        NotFound: there is no such actor or execution. Abaco answers an unknown execution with an
            empty 200, which its clients read as "no more": a mistyped id would look like a
            container that sent nothing.
    """
    _, execution = find_execution(session, identity, actor_id, execution_id, Level.READ)
    row = session.execute(
        select(Result.number, Result.payload)
        .where(
            Result.execution_id == execution.id,
            Result.is_taken.is_(False),
            Result.expires_at > now,
        )
        .order_by(Result.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return b""
    session.execute(
        update(Result)
        .where(Result.execution_id == execution.id, Result.number == row.number)
        .values(is_taken=True)
        .execution_options(synchronize_session=False)
    )
    payload: bytes = row.payload
    return payload


def list_results(
    session: Session,
    identity: Identity,
    actor_id: str,
    execution_id: str,
    now: datetime,
    *,
    limit: int | None = None,
    skip: int = 0,
) -> ResultList:
    """Return results in their order, taken ones too, as many as fit into one answer."""
    actor, execution = find_execution(session, identity, actor_id, execution_id, Level.READ)
    alive = (Result.execution_id == execution.id) & (Result.expires_at > now)
    total = session.scalars(select(func.count()).where(alive)).one()
    sizes = session.execute(
        select(Result.number, func.length(Result.payload))
        .where(alive)
        .order_by(Result.number)
        .offset(skip)
        .limit(min(MAX_LISTED if limit is None else limit, MAX_LISTED))
    ).all()
    chosen = _fitting([(int(number), int(size)) for number, size in sizes])
    rows = session.execute(
        select(Result.number, Result.is_taken, Result.payload)
        .where(alive, Result.number.in_(chosen))
        .order_by(Result.number)
    )
    end = skip + len(chosen)
    return ResultList(
        actor,
        execution.id,
        total,
        end if end < total else None,
        [ListedResult(*row) for row in rows],
    )


def _fitting(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the numbers of the first results that fit into one answer, one at least."""
    numbers: list[int] = []
    left = MAX_LISTED_BYTES
    for number, size in sizes:
        left -= size
        if left < 0 and numbers:
            break
        numbers.append(number)
    return numbers
