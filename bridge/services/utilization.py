"""What the whole instance is doing, over all tenants (abaco_contract.md 3.15)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import Actor, Array, Worker


@dataclass(frozen=True)
class Utilization:
    """Counts over all tenants.

    Attributes:
        current_actors: actors that there are.
        total_actors: actors that there ever were.
        workers: array tasks that have started and not left.
        command_queue: job arrays that wait to be submitted to Slurm, the bridge's own commands.
    """

    current_actors: int
    total_actors: int
    workers: int
    command_queue: int


def measure_utilization(session: Session) -> Utilization:
    """Return the counts, each from an index or a small table."""
    return Utilization(
        current_actors=_count(session, Actor.id, Actor.deleted_at.is_(None)),
        total_actors=_count(session, Actor.id),
        workers=_count(
            session,
            Worker.id,
            Worker.array_id.in_(select(Array.id).where(Array.status != ArrayStatus.ENDED)),
            Worker.status != WorkerStatus.SHUTTING_DOWN,
        ),
        command_queue=_count(session, Array.id, Array.status == ArrayStatus.PLANNED),
    )


def _count(session: Session, what: InstrumentedAttribute[str], *which: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count(what)).where(*which)).one()
