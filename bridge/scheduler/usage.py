"""Core-hours: what the workers of each user hold, by day (UTC).

A worker's life begins when the bridge first sees its journal and ends when it has left, was fenced
off, or Slurm says that its array task has ended: whatever comes first. It holds its CPUs all that
time, idle or not, as Slurm's own accounting has it, and its part of what its array task holds until
the last worker of that task has ended; what Slurm needs to start and end a task is not in it. Only
the bridge's clock counts: a journal may be forged.

Lives of arrays that have not ended are added up anew each time. They are put into the table in the
transaction that ends their array, which happens once; so a crash neither loses nor doubles any.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from bridge.core.shares import User
from bridge.core.slots import array_layout
from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import Array, ArrayTask, CoreUsage, Worker
from bridge.services.workers import parse_name

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Life:
    """A worker's: whose, how many CPUs it holds, from when to when (until now: it goes on)."""

    user: User
    cores: float
    start: datetime
    end: datetime

    def days(self) -> Iterator[tuple[str, float]]:
        """Yield (day, core-seconds) for each day that it touches."""
        begin = self.start.astimezone(UTC)
        while begin < self.end:
            until = min(self.end, _midnight(begin) + _DAY)
            yield day_of(begin), self.cores * (until - begin).total_seconds()
            begin = until


def day_of(moment: datetime) -> str:
    """Return the day as the table has it."""
    return moment.astimezone(UTC).date().isoformat()


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.date(), time(), UTC)


def used_today(session: Session, now: datetime) -> Counter[User]:
    """Return the core-seconds of the day of `now`, by user, on all clusters together."""
    today = day_of(now)
    rows = session.scalars(select(CoreUsage).where(CoreUsage.day == today))
    used: Counter[User] = Counter()
    for row in rows:
        used[row.tenant, row.username] += row.core_s  # type: ignore[assignment]  # not an int
    for life in read_lives(session, Array.status != ArrayStatus.ENDED, now):
        used[life.user] += dict(life.days()).get(today, 0.0)  # type: ignore[assignment]
    return used


def record_usage(session: Session, array: Array, now: datetime) -> None:
    """Put what the array's workers held into the table; in the transaction that ends the array."""
    sums: Counter[str] = Counter()
    for life in read_lives(session, Array.id == array.id, now):
        for day, core_s in life.days():
            sums[day] += core_s  # type: ignore[assignment]
    for day, total in sums.items():
        key = (day, array.tenant, array.username)
        row = session.get(CoreUsage, key, with_for_update=True)
        if row is None:
            row = CoreUsage(day=day, tenant=array.tenant, username=array.username, core_s=0.0)
            session.add(row)
        row.core_s += total


def read_lives(session: Session, which: ColumnElement[bool], now: datetime) -> Sequence[Life]:
    """Return the lives of the workers of some arrays."""
    # One after the other: in a join, SQLite would begin with all workers that there ever were.
    arrays = {array.id: array for array in session.scalars(select(Array).where(which))}
    ended = {
        (task.array_id, task.task_index): task.ended_at
        for task in session.scalars(
            select(ArrayTask).where(ArrayTask.array_id.in_(arrays), ArrayTask.ended_at.is_not(None))
        )
    }
    spans: dict[tuple[str, int, int], list[tuple[Worker, Array, datetime]]] = defaultdict(list)
    for worker in session.scalars(select(Worker).where(Worker.array_id.in_(arrays))):
        array = arrays[worker.array_id]
        index, restart = parse_name(worker.name)
        has_left = worker.status is WorkerStatus.SHUTTING_DOWN
        ends = (
            now,
            worker.fenced_at,
            worker.last_health_check_time if has_left else None,
            ended.get((array.id, index)),
        )
        end = min(moment for moment in ends if moment is not None)
        task = array_layout(array.task_count, array.request).task_of(index)
        spans[array.id, task, restart].append((worker, array, end))
    return [
        Life((array.tenant, array.username), core_count(array, task), worker.create_time, last)
        for (_, task, _), together in spans.items()
        for last in [max(end for _, _, end in together)]
        for worker, array, _ in together
    ]


def core_count(array: Array, task: int) -> float:
    """Return how many CPUs each worker of an array task holds."""
    layout, request = array_layout(array.task_count, array.request), array.request
    needed = int(request.get("cpus") or 1) * int(request.get("ntasks") or 1) * layout.slots
    whole = int(request.get("node_cpus") or 0) * int(request.get("nodes") or 1)
    return max(needed, whole) / max(1, len(layout.workers_of(task)))
