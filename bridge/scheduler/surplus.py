"""Workers with nothing to do beside others of their array that are at work.

At the end of a queue a long message may keep one worker for an hour: the others would wait beside
it for nothing. When all that an array was given is running and nothing waits for it, those that
have had nothing to do for a few seconds are told to leave. One stays, for as long as one of an idle
array does; so do workers that an admin asked for. Array tasks that Slurm has not started yet need
not start then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from bridge.core.statuses import ArrayStatus, ExecutionStatus, WorkerStatus
from bridge.db import Actor, Array, Execution
from bridge.launcher.spool import patience_s
from bridge.scheduler.context import ClusterContext
from bridge.services.workers import LiveTask, find_live_tasks, request_leave

# Further messages may be on their way to a worker that has just finished one.
AFTER = timedelta(seconds=3)

_RUNS = exists().where(Execution.array_id == Array.id, Execution.status == ExecutionStatus.RUNNING)
_HAS_TO_DO = exists().where(
    Execution.array_id == Array.id, Execution.status == ExecutionStatus.SUBMITTED
)
_QUEUED = exists().where(
    Execution.actor_id == Array.actor_id,
    Execution.status == ExecutionStatus.SUBMITTED,
    Execution.array_id.is_(None),
)


def surplus_tick(context: ClusterContext) -> int:
    """Have workers leave that nothing waits for; return how many."""
    with context.database.read() as session:
        rows = session.execute(
            select(Array, Actor.hints)
            .join(Actor, Actor.id == Array.actor_id)
            .where(
                Array.cluster == context.name,
                Array.status == ArrayStatus.SUBMITTED,
                Array.task_count > 1,
                Array.leaving_at.is_(None),
                Array.is_standing.is_(False),
                Array.drain_requested.is_(False),
                _RUNS,
                ~_HAS_TO_DO,
                ~_QUEUED,
            )
        ).all()
        tasks = find_live_tasks(session, [array for array, _ in rows])
    now = context.clock.now()
    count = 0
    for array, hints in rows:
        patience = timedelta(seconds=patience_s(context.cluster, hints))
        surplus = find_surplus(tasks[array.id], now, patience)
        if surplus:
            with context.database.begin() as session:
                count += _dismiss(session, array, surplus, now)
    return count


def find_surplus(tasks: Sequence[LiveTask], now: datetime, patience: timedelta) -> list[LiveTask]:
    """Return the workers that are to leave; those of one array task all do, or none does.

    Args:
        tasks: the array's, at least one of which is at work.
        now: the time.
        patience: how long the last that is idle waits for more.
    """
    together: dict[int, list[LiveTask]] = defaultdict(list)
    for task in tasks:
        together[task.slurm_task].append(task)
    idle = {
        index: since
        for index, of_task in together.items()
        if (since := max(map(_idle_since, of_task))) <= now - AFTER
    }
    joined = [index for index in idle if any(task.worker is not None for task in together[index])]
    # The one that has been at work last is kept.
    kept = max(joined, key=lambda index: (idle[index], -index), default=None)
    return [
        task
        for index, since in idle.items()
        if index != kept or since <= now - patience
        for task in together[index]
        if not task.is_leaving
    ]


def _idle_since(task: LiveTask) -> datetime:
    """Return since when it has had nothing to do; for ever to come for one that is at work."""
    if task.worker is None:
        return task.array.submitted_at or task.array.planned_at
    if task.worker.status is not WorkerStatus.READY:
        return datetime.max.replace(tzinfo=task.worker.create_time.tzinfo)
    return task.worker.last_execution_time or task.worker.create_time


def _dismiss(session: Session, seen: Array, surplus: Sequence[LiveTask], now: datetime) -> int:
    """Note that they are to leave, unless the array was given something meanwhile."""
    array = session.get_one(Array, seen.id, with_for_update=True)
    if array.chunk_count != seen.chunk_count or array.leaving_at is not None:
        return 0
    for task in surplus:
        request_leave(session, task, now)
    return len(surplus)
