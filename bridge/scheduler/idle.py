"""What becomes of arrays that have nothing to do, and of workers that are to leave.

An allocation that waits costs its owner something, and a message that finds a worker waiting starts
at once. So when an array has nothing to do, one of its workers stays for `idle_timeout_s`, with the
others of its array task, which hold nothing more, and the rest are told to leave; those that an
admin asked for all stay for `standing_timeout_s`. It is the bridge that decides, under a lock on
the array's row: so no worker leaves while it is being fed.

An array whose actor has another image takes nothing more at once: what runs concludes, and what no
worker has claimed goes back to the queue.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session

from bridge.core.slots import array_layout
from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import IS_OPEN, Actor, Array, ArrayTask, Execution, Worker
from bridge.errors import SessionError, SlurmError
from bridge.harvest import has_open, requeue
from bridge.launcher.context import job_name
from bridge.launcher.spool import patience_s
from bridge.scheduler.close import close_array
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.inbox import bound_chunks, order_stop, take_back
from bridge.services.workers import LiveTask, find_live_tasks, request_leave

log = logging.getLogger(__name__)

# A worker looks for orders once a second, or every four while another of its array task does; its
# last words take a moment to be seen.
LEAVE_S = 10.0
# An array that has no worker after this waits for room. Then its owner's idle workers make some
# when they have had nothing to do for so long.
CRAMPED_AFTER = timedelta(seconds=3)
CRAMPED_IDLE_S = 2.0


def idle_tick(context: ClusterContext) -> None:
    """Look at every array that has nothing to do, or is to get nothing more."""
    of_cluster = and_(Array.cluster == context.name, Array.status == ArrayStatus.SUBMITTED)
    with context.database.read() as session:
        busy = set(session.scalars(select(Array.id).where(of_cluster, _HAS_OPEN)))
        arrays = [
            array
            for array in session.scalars(select(Array).where(of_cluster))
            if array.id not in busy or array.leaving_at or array.drain_requested
        ]
        tasks = find_live_tasks(session, arrays)
        cramped = _read_cramped(session, context) if arrays else set()
        of_arrays = Actor.id.in_({array.actor_id for array in arrays})
        rows = session.execute(select(Actor.id, Actor.hints).where(of_arrays))
        hints = {row.id: row.hints for row in rows}
    for array in arrays:
        try:
            if array.leaving_at is None:
                waits_s = _waits_s(context, array, hints[array.actor_id])
                if array.login in cramped and not array.is_standing:
                    waits_s = min(waits_s, CRAMPED_IDLE_S)
                is_over = array.drain_requested or _is_over(
                    context, array, tasks[array.id], waits_s
                )
                if not is_over or not start_leaving(
                    context, array.id, with_open=array.drain_requested
                ):
                    continue
            _lead_out(context, array.id, tasks[array.id])
        except SessionError as error:
            log.warning("not led out: %s", error.message, extra={"facts": {"array": array.id}})


_HAS_OPEN = exists().where(Execution.array_id == Array.id, IS_OPEN)


def _read_cramped(session: Session, context: ClusterContext) -> set[str]:
    """Return the accounts that have an array which waits for room: Slurm's limits are theirs."""
    now = context.clock.now()
    has_worker = exists().where(
        Worker.array_id == Array.id, Worker.status != WorkerStatus.SHUTTING_DOWN
    )
    query = select(Array.login).where(
        Array.cluster == context.name,
        or_(
            and_(Array.status == ArrayStatus.PLANNED, Array.retry_at > now),
            and_(
                Array.status == ArrayStatus.SUBMITTED,
                Array.submitted_at <= now - CRAMPED_AFTER,
                _HAS_OPEN,
                ~has_worker,
            ),
        ),
    )
    return set(session.scalars(query))


def _waits_s(context: ClusterContext, array: Array, hints: Sequence[str]) -> float:
    """Return how long a worker of the array is kept with nothing to do."""
    if array.is_standing:
        return context.cluster.standing_timeout_s
    return patience_s(context.cluster, hints)


def _is_over(
    context: ClusterContext, array: Array, tasks: Sequence[LiveTask], waits_s: float
) -> bool:
    """Whether the array has had nothing to do for long enough; meanwhile one worker waits."""
    now = context.clock.now()
    joined = [task for task in tasks if task.worker is not None and not task.is_leaving]
    if not joined and not array.is_standing:
        waits_s = 0.0
    if array.idle_since is None:
        with context.database.begin() as session:
            row = session.get_one(Array, array.id, with_for_update=True)
            if has_open(session, row):
                return False
            row.idle_since = now
            if not row.is_standing:
                for task in tasks:
                    if not joined or task.slurm_task != joined[0].slurm_task:
                        request_leave(session, task, now)
    return now - (array.idle_since or now) >= timedelta(seconds=waits_s)


def start_leaving(context: ClusterContext, array_id: str, *, with_open: bool = False) -> bool:
    """Decide that the array gets nothing more, unless something of it is open; whether it is so."""
    with context.database.begin() as session:
        array = session.get_one(Array, array_id, with_for_update=True)
        if array.status is not ArrayStatus.SUBMITTED:
            return False
        if array.leaving_at is None and (with_open or not has_open(session, array)):
            array.leaving_at = context.clock.now()
        return array.leaving_at is not None


def _lead_out(context: ClusterContext, array_id: str, tasks: Sequence[LiveTask]) -> None:
    """Bring a leaving array one step nearer to its end.

    It is read anew: what was staged before it was to leave may come to light here, nothing later.
    """
    now = context.clock.now()
    with context.database.read() as session:
        array = session.get_one(Array, array_id)
        is_busy = has_open(session, array)
    owner = context.session(array)
    if array.stop_ordered_at is None:
        order_stop(owner, array)
        with context.database.begin() as session:
            session.get_one(Array, array.id).stop_ordered_at = now
    if is_busy:
        chunks = take_back(owner, array)
        if not array.staged_as:
            chunks |= set(bound_chunks(array))  # nobody has written them, and nobody may any more
        with context.database.begin() as session:
            # The actor's row first, as everywhere.
            session.get_one(Actor, array.actor_id, with_for_update={"key_share": True})
            row = session.get_one(Array, array.id, with_for_update=True)
            requeue(session, row, Execution.chunk.in_(chunks), now, in_vain=False)
        return
    patience = timedelta(seconds=LEAVE_S + context.cluster.fence_grace_s)
    is_empty = all(task.worker is None for task in tasks)
    if is_empty or now - (array.leaving_at or now) >= patience:
        close_array(context, array.id, "Its workers were told to leave.")


def leave_tick(context: ClusterContext) -> int:
    """Tell single workers to leave; return how many."""
    with context.database.read() as session:
        rows = session.execute(
            select(Array, ArrayTask.task_index)
            .join(ArrayTask, ArrayTask.array_id == Array.id)
            .where(
                Array.cluster == context.name,
                Array.status == ArrayStatus.SUBMITTED,
                Array.leaving_at.is_(None),
                ArrayTask.leave_requested_at.is_not(None),
                ArrayTask.leave_ordered_at.is_(None),
            )
            .order_by(Array.id, ArrayTask.task_index)
        ).all()
    wanted: dict[str, list[int]] = defaultdict(list)
    arrays = {}
    for array, index in rows:
        arrays[array.id] = array
        wanted[array.id].append(index)
    for array_id, indices in wanted.items():
        try:
            _order_leave(context, arrays[array_id], indices)
        except (SessionError, SlurmError) as error:
            log.warning(
                "not told to leave: %s", error.message, extra={"facts": {"array": array_id}}
            )
    return len(rows)


def _order_leave(context: ClusterContext, array: Array, indices: Sequence[int]) -> None:
    """Write the orders; a task that still waits in Slurm's queue need not start for them.

    One with several workers may have to for others.
    """
    layout = array_layout(array.task_count, array.request)
    with context.database.read() as session:
        query = select(ArrayTask.task_index).where(
            ArrayTask.array_id == array.id, ArrayTask.leave_requested_at.is_not(None)
        )
        told = set(session.scalars(query))
    tasks = sorted({layout.task_of(index) for index in indices})
    needless = [task for task in tasks if told.issuperset(layout.workers_of(task))]
    owner = context.session(array)
    for index in indices:
        owner.put(f"{array.spool}/leave/{index}", b"")
    assert array.array_job_id is not None  # a constraint: it is SUBMITTED
    if needless:
        context.slurm.cancel_waiting(owner, array.array_job_id, job_name(array.id), needless)
    with context.database.begin() as session:
        for index in indices:
            row = session.get_one(ArrayTask, (array.id, index))
            row.leave_ordered_at = context.clock.now()
