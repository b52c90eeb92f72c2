"""What containers sent to ``/_abaco_results.sock`` (abaco_contract.md 3.7, 5.3).

Abaco's way of reading takes the next result, each once. Beyond Abaco, all can be listed without
taking any. Both see what has not expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.clock import Clock
from bridge.core.statuses import Level
from bridge.core.waits import Waits
from bridge.db import Actor, Database, Execution, Result
from bridge.errors import NotFinished
from bridge.services.executions import find_execution

# A synchronous request waits this long; gateways give up at 30 s.
SYNCHRONOUS_S = 25.0

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
    return take_next(session, execution.id, now) or b""


def take_next(session: Session, execution_id: str, now: datetime) -> bytes | None:
    """Return the next result of an execution and mark it as taken; None, where none is left."""
    row = session.execute(
        select(Result.number, Result.payload)
        .where(
            Result.execution_id == execution_id,
            Result.is_taken.is_(False),
            Result.expires_at > now,
        )
        .order_by(Result.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    session.execute(
        update(Result)
        .where(Result.execution_id == execution_id, Result.number == row.number)
        .values(is_taken=True)
        .execution_options(synchronize_session=False)
    )
    payload: bytes = row.payload
    return payload


def await_result(database: Database, execution_id: str, clock: Clock, waits: Waits) -> bytes | None:
    """Return the first result of an execution as soon as it is there, for a bounded time.

    None: the execution is final, in ERROR too, and has given no result.

    Raises:
        NotFinished: neither happened; names the execution, which goes on.
    """
    left = exists().where(Result.execution_id == Execution.id, Result.is_taken.is_(False))
    query = select(Execution.status, left).where(Execution.id == execution_id)

    def ask() -> tuple[bytes | None] | None:
        with database.read() as session:
            status, has_result = session.execute(query).one()
        if has_result:
            with database.begin() as session:
                payload = take_next(session, execution_id, clock.now())
            if payload is not None:
                return (payload,)
        return (None,) if status.is_final else None

    answer = waits.until(ask, SYNCHRONOUS_S)
    if answer is None:
        raise NotFinished(
            f"Execution {execution_id} did not finish within {SYNCHRONOUS_S:.0f} seconds and goes "
            "on; ask for it, its results and its logs later."
        )
    return answer[0]


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
