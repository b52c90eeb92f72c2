"""Executions: the list, one of them, its end, its log (abaco_contract.md 3.4 to 3.6, 5.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, Update, bindparam, case, func, select, update
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.ids import new_id
from bridge.core.statuses import ExecutionStatus, Level
from bridge.core.usage import Usage
from bridge.db import Actor, Database, Execution, Log
from bridge.errors import Conflict, NotFound
from bridge.services.access import find_actor
from bridge.services.endings import end_waiting
from bridge.services.sums import halves_of_sum, whole_sum

PAGE = 1000  # executions that are in memory at once

_OPEN = (ExecutionStatus.SUBMITTED, ExecutionStatus.RUNNING)
_TRIES = 5
_PAGE = (
    select(
        Execution.seq,
        Execution.id,
        Execution.status,
        Execution.start_time,
        Execution.finish_time,
        Execution.message_received_time,
    )
    .where(
        Execution.actor_id == bindparam("actor_id"),
        Execution.seq > bindparam("after"),
        Execution.seq <= bindparam("last"),
    )
    .order_by(Execution.seq)
)


@dataclass(frozen=True)
class ExecutionRow:
    """An execution as the list shows it."""

    id: str
    status: ExecutionStatus
    start_time: datetime | None
    finish_time: datetime | None
    message_received_time: datetime


@dataclass(frozen=True)
class Summary:
    """Sums over all of an actor's executions, up to the one numbered `last_seq`."""

    actor: Actor
    total_executions: int
    total_runtime: int
    total_cpu: int
    total_io: int
    last_seq: int


def summarise_executions(session: Session, identity: Identity, actor_id: str) -> Summary:
    """Return the sums over an actor's executions."""
    actor = find_actor(session, identity, actor_id, Level.READ)
    count, last, runtime, *parts = session.execute(
        select(
            func.count(),
            func.coalesce(func.max(Execution.seq), 0),
            func.coalesce(func.sum(Execution.runtime), 0),
            *halves_of_sum(Execution.cpu),
            *halves_of_sum(Execution.io),
        ).where(Execution.actor_id == actor.id)
    ).one()
    cpu, io = whole_sum(*parts[:2]), whole_sum(*parts[2:])
    return Summary(actor, int(count), int(runtime), cpu, io, int(last))


def execution_pages(
    database: Database, summary: Summary, *, limit: int | None = None, skip: int = 0
) -> Iterator[Sequence[ExecutionRow]]:
    """Give the executions that `summary` is of, in the order of creation, page by page.

    Memory holds one page, however long the list is, and no transaction is open between two: a
    client may read as slowly as it likes. A status may change meanwhile; the list itself does not.
    """
    left = summary.total_executions if limit is None else limit
    after = 0
    while left > 0:
        with database.read() as session:
            rows = session.execute(
                _PAGE.offset(skip).limit(min(PAGE, left)),
                {"actor_id": summary.actor.id, "after": after, "last": summary.last_seq},
            ).all()
        if not rows:
            return
        after, skip, left = rows[-1].seq, 0, left - len(rows)
        yield [ExecutionRow(*row[1:]) for row in rows]


def find_execution(
    session: Session, identity: Identity, actor_id: str, execution_id: str, wanted: Level
) -> tuple[Actor, Execution]:
    """Return the actor, on which the caller has the level `wanted`, and one of its executions.

    Raises:
        NotFound: the actor has no such execution. Abaco answers 400; 404 is what every other
            lookup gives (abaco_contract.md Appendix B).
    """
    actor = find_actor(session, identity, actor_id, wanted)
    row = None
    if execution_id.isalnum():
        query = select(Execution).where(
            Execution.id == execution_id, Execution.actor_id == actor.id
        )
        row = session.scalars(query).one_or_none()
    if row is None:
        raise NotFound(
            f"No executions found with actor id of {actor.id} and execution id of "
            f"{execution_id[:64]}."
        )
    return actor, row


def cancel_execution(
    session: Session, identity: Identity, actor_id: str, execution_id: str, now: datetime
) -> bool:
    """End an execution; return whether it is over at once, which it is while it waits.

    What a job array has taken is ended by its worker: COMPLETE with the container's own exit code
    if it ran, otherwise ERROR. The record stays.

    Raises:
        NotFound: there is no such execution.
        Conflict: it is final already; says its status in Abaco's words (3.5).
    """
    actor, execution = find_execution(session, identity, actor_id, execution_id, Level.UPDATE)
    reason = f"Cancelled by {identity.username} before it ran."
    mine = Execution.seq == execution.seq
    taken = mine & Execution.status.in_(_OPEN) & Execution.array_id.is_not(None)
    # Planning takes it, or gives it back, between two of these steps at most.
    for _ in range(_TRIES):
        if execution.status.is_final:
            break
        if execution.array_id is None:
            # No plan is made meanwhile. Only here: harvesting holds executions and wants the actor.
            find_actor(session, identity, actor.id, Level.UPDATE, share=True)
            if end_waiting(session, actor, mine, reason, now):
                return True
        else:
            why = case((Execution.start_time.is_(None), reason), else_=Execution.reason)
            asked = update(Execution).where(taken).values(cancel_requested_at=now, reason=why)
            if _changes(session, asked):
                return False
        session.refresh(execution)
    raise Conflict(
        "Cannot force quit an execution not in RUNNING status. Execution was found in status: "
        f"{execution.status}"
    )


def _changes(session: Session, statement: Update) -> bool:
    done = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(done, CursorResult)
    return bool(done.rowcount)


def record_execution(
    session: Session, identity: Identity, actor_id: str, usage: Usage, now: datetime
) -> Actor:
    """Put down an execution that ran elsewhere and has just ended; return the actor.

    What Abaco meant this request to do and never did (3.4). It has no worker, no exit code and no
    log, and counts in the sums.
    """
    actor = find_actor(session, identity, actor_id, Level.UPDATE, share=True)
    start = now - timedelta(seconds=usage.runtime)
    session.add(
        Execution(
            id=new_id(),
            tenant=actor.tenant,
            actor_id=actor.id,
            actor_revision=actor.revision,
            executor=identity.username,
            username=identity.username,
            status=ExecutionStatus.COMPLETE,
            message_received_time=start,
            start_time=start,
            finish_time=now,
            runtime=usage.runtime,
            cpu=usage.cpu,
            io=usage.io,
        )
    )
    return actor


def read_log(session: Session, execution_id: str, now: datetime) -> str:
    """Return the log of an execution; one that is missing or has expired is empty."""
    query = select(Log.text).where(Log.execution_id == execution_id, Log.expires_at > now)
    return session.scalars(query).one_or_none() or ""
