"""Figures for those who watch the service, cheap beside a history of millions of executions.

What is final is never counted, only what is open, by the partial indexes that hold exactly that;
what became of the latest ones stands for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from bridge.core.shares import WAITS
from bridge.core.statuses import (
    ActorStatus,
    ArrayStatus,
    ExecutionStatus,
    ImageStatus,
    WorkerStatus,
)
from bridge.db import IS_OPEN, Actor, Array, Event, Execution, Image, Lease, Worker, is_queued

LATEST = 10_000
# A schedule is looked at every ten seconds; one that is this late is not being looked at.
OVERDUE = timedelta(minutes=2)

_IN_ARRAYS = Execution.array_id.is_not(None) & IS_OPEN
# Named one by one, since SQLite would read the index of all arrays for those that are not ENDED.
_LIVE = Array.status.in_([status for status in ArrayStatus if status is not ArrayStatus.ENDED])


@dataclass(frozen=True)
class Queue:
    """Things that wait: how many, and how long the oldest has, in seconds; 0 without one."""

    count: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True)
class Metrics:
    """The figures of one moment.

    Attributes:
        queued: executions that wait for a plan, by the status of their actor.
        in_arrays: executions that job arrays have taken and not ended.
        posted: the number of the last execution; numbers given and rolled back count too.
        latest: what has become of the last `LATEST` executions.
        arrays: job arrays that have not ended.
        workers: workers of those.
        images: images.
        actors: actors that are not deleted.
        held_actors: those whose messages wait because a limit is reached.
        events: outstanding ones, by "link" and "webhook".
        events_given_up: those that were given up in the last days.
        overdue_schedules: schedules that should have run.
        lease_s: for how many seconds a scheduler holds its lease still; negative when it has run
            out; None when no one does.
    """

    queued: Mapping[ActorStatus, Queue]
    in_arrays: Mapping[ExecutionStatus, int]
    posted: int
    latest: Mapping[ExecutionStatus, int]
    arrays: Mapping[ArrayStatus, int]
    workers: Mapping[WorkerStatus, int]
    images: Mapping[ImageStatus, int]
    actors: Mapping[ActorStatus, int]
    held_actors: int
    events: Mapping[str, Queue]
    events_given_up: int
    overdue_schedules: int
    lease_s: float | None


def measure(session: Session, now: datetime) -> Metrics:
    """Return the figures of this moment, over all tenants."""
    last = session.scalars(select(func.max(Execution.seq))).one() or 0
    overdue = (Actor.cron_next_at < now - OVERDUE) & Actor.deleted_at.is_(None)
    expires_at = session.scalars(
        select(Lease.expires_at).where(Lease.name == "scheduler")
    ).one_or_none()
    return Metrics(
        queued=_queued(session, now),
        in_arrays=_by_status(session, Execution.status, _IN_ARRAYS),
        posted=last,
        latest=_by_status(session, Execution.status, Execution.seq > last - LATEST),
        arrays=_by_status(session, Array.status, _LIVE),
        workers=_by_status(
            session, Worker.status, Worker.array_id.in_(select(Array.id).where(_LIVE))
        ),
        images=_by_status(session, Image.status),
        actors=_by_status(session, Actor.status, Actor.deleted_at.is_(None)),
        held_actors=_count(
            session, Actor.status_message.startswith(WAITS) & Actor.deleted_at.is_(None)
        ),
        events=_events(session, now),
        events_given_up=_count(session, Event.given_up_at.is_not(None)),
        overdue_schedules=_count(session, overdue),
        lease_s=None if expires_at is None else (expires_at - now).total_seconds(),
    )


def _by_status(
    session: Session, status: InstrumentedAttribute[Any], *which: ColumnElement[bool]
) -> dict[Any, int]:
    query = select(status, func.count()).where(*which).group_by(status)
    return dict(session.execute(query).all())


def _count(session: Session, which: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count()).where(which)).one()


def _queued(session: Session, now: datetime) -> dict[ActorStatus, Queue]:
    by_actor = (
        select(
            Execution.actor_id,
            func.count().label("waiting"),
            func.min(Execution.seq).label("first"),
        )
        .where(is_queued())
        .group_by(Execution.actor_id)
        .subquery()
    )
    rows = session.execute(
        select(Actor.status, func.sum(by_actor.c.waiting), func.min(by_actor.c.first))
        .join(by_actor, by_actor.c.actor_id == Actor.id)
        .group_by(Actor.status)
    ).all()
    firsts = select(Execution.seq, Execution.message_received_time).where(
        Execution.seq.in_([first for _, _, first in rows])
    )
    times = dict(session.execute(firsts).all())
    return {status: Queue(int(count), _age_s(times[first], now)) for status, count, first in rows}


def _events(session: Session, now: datetime) -> dict[str, Queue]:
    rows = session.execute(
        select(Event.is_webhook, func.count(), func.min(Event.create_time))
        .where(Event.given_up_at.is_(None))
        .group_by(Event.is_webhook)
    )
    return {
        "webhook" if is_webhook else "link": Queue(count, _age_s(oldest, now))
        for is_webhook, count, oldest in rows
    }


def _age_s(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())
