"""Executions: the list, one of them, its log (abaco_contract.md 3.4 to 3.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.statuses import ExecutionStatus, Level
from bridge.core.waits import Waits
from bridge.db import Actor, Database, Execution, Log
from bridge.errors import NotFinished, NotFound
from bridge.services.access import find_actor

# A synchronous request waits this long; gateways give up at 30 s.
SYNCHRONOUS_S = 25.0


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
    """An actor's executions: sums over all of them, and a part of the list."""

    actor: Actor
    total_executions: int
    total_runtime: int
    total_cpu: int
    total_io: int
    executions: Sequence[ExecutionRow]


def summarise_executions(
    session: Session,
    identity: Identity,
    actor_id: str,
    *,
    limit: int | None = None,
    skip: int = 0,
) -> Summary:
    """Return the sums, and the executions in the order in which they were created."""
    actor = find_actor(session, identity, actor_id, Level.READ)
    sums = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(Execution.runtime), 0),
            func.coalesce(func.sum(Execution.cpu), 0),
            func.coalesce(func.sum(Execution.io), 0),
        ).where(Execution.actor_id == actor.id)
    ).one()
    rows = session.execute(
        select(
            Execution.id,
            Execution.status,
            Execution.start_time,
            Execution.finish_time,
            Execution.message_received_time,
        )
        .where(Execution.actor_id == actor.id)
        .order_by(Execution.seq)
        .offset(skip)
        .limit(limit)
    )
    count, runtime, cpu, io = (int(value) for value in sums)  # PostgreSQL sums to a decimal
    return Summary(actor, count, runtime, cpu, io, [ExecutionRow(*row) for row in rows])


def find_execution(
    session: Session, identity: Identity, actor_id: str, execution_id: str
) -> tuple[Actor, Execution]:
    """Return the actor and one of its executions.

    Raises:
        NotFound: the actor has no such execution. Abaco answers 400; 404 is what every other
            lookup gives (abaco_contract.md Appendix B).
    """
    actor = find_actor(session, identity, actor_id, Level.READ)
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


def read_log(session: Session, execution_id: str, now: datetime) -> str:
    """Return the log of an execution; one that is missing or has expired is empty."""
    query = select(Log.text).where(Log.execution_id == execution_id, Log.expires_at > now)
    return session.scalars(query).one_or_none() or ""


def await_final(database: Database, execution_id: str, waits: Waits) -> None:
    """Wait until the execution is final, in ERROR too, for a bounded time.

    Raises:
        NotFinished: it is not yet; names the execution, which goes on.
    """

    def ask() -> bool | None:
        with database.read() as session:
            query = select(Execution.status).where(Execution.id == execution_id)
            return session.scalars(query).one().is_final or None

    if waits.until(ask, SYNCHRONOUS_S) is None:
        raise NotFinished(
            f"Execution {execution_id} did not finish within {SYNCHRONOUS_S:.0f} seconds and goes "
            "on; ask for it and for its logs later."
        )
