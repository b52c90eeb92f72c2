"""Watching Slurm: one squeue for all arrays, one sacct for those that squeue no longer lists.

A job id is believed only together with its name and its owner. What Slurm says is about array
tasks; what became of a message is in its worker's journal.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import select

from bridge.core.slots import Layout, array_layout
from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import Array, ArrayTask, Worker
from bridge.errors import SessionError, SlurmError
from bridge.launcher.context import job_name
from bridge.scheduler.close import close_array
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.journals import read_journals
from bridge.scheduler.submit import adopt
from bridge.scheduler.turns import take_turns
from bridge.scheduler.workers import fence, settle_worker
from bridge.sessions import UserSession
from bridge.slurm import JobRow
from bridge.slurm.port import REQUEUED_STATES

log = logging.getLogger(__name__)


def watch_tick(context: ClusterContext) -> int:
    """Ask Slurm about every array that it may know; return how many that were.

    Raises:
        SlurmError: Slurm did not answer; nothing was concluded from that.
    """
    with context.database.read() as session:
        arrays = session.scalars(
            select(Array).where(
                Array.cluster == context.name,
                Array.status.in_((ArrayStatus.PLANNED, ArrayStatus.SUBMITTED)),
                Array.retry_at.is_(None),
                Array.id.not_in(list(context.submitting)),
            )
        ).all()
    if not arrays:
        return 0
    listed = _by_array(arrays, context.slurm.states([job_name(a.id) for a in arrays]))
    missing = [array for array in arrays if not listed[array.id]]
    patience = timedelta(seconds=context.cluster.lost_after_s)
    if missing:
        since = min(array.planned_at for array in missing) - timedelta(minutes=1)
        names = [job_name(array.id) for array in missing]
        try:
            accounted = _by_array(missing, context.slurm.accounting(names, since))
        except SlurmError as error:  # slurmctld's word alone counts too, but only after a while
            log.warning("no accounting: %s", error.message)
            accounted = {}
            patience *= 10
        for token, rows in accounted.items():
            # slurmdbd may show as running what slurmctld has forgotten: only ends are believed.
            listed[token] = [row for row in rows if row.is_final]
    for array in take_turns(arrays):
        if listed[array.id]:
            _judge(context, array, listed[array.id])
        else:
            _unseen(context, array, patience)
    return len(arrays)


def _by_array(arrays: Sequence[Array], rows: Iterable[JobRow]) -> dict[str, list[JobRow]]:
    by_name: dict[str, list[JobRow]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    return {
        array.id: [
            row
            for row in by_name[job_name(array.id)]
            if row.username == array.login and array.array_job_id in (None, row.array_job_id)
        ]
        for array in arrays
    }


def _judge(context: ClusterContext, array: Array, rows: Sequence[JobRow]) -> None:
    if array.status is ArrayStatus.PLANNED:
        adopt(context, array.id, min(row.array_job_id for row in rows))
    if array.unseen_since is not None:
        _mark_unseen(context, array, seen=True)
    _note_ended(context, array, rows)
    try:
        quiet = _settle_dead(context, context.session(array), array, rows)
    except SessionError as error:
        log.warning("not settled: %s", error.message, extra={"facts": {"array": array.id}})
        quiet = True  # closing waits for the owner, and not for ever
    if quiet and all(row.is_final for row in rows):
        close_array(context, array.id, _why(rows))


def _note_ended(context: ClusterContext, array: Array, rows: Sequence[JobRow]) -> None:
    """Write down whose tasks run no more, once for each worker."""
    layout = array_layout(array.task_count, array.request)
    states: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        if row.task_index is not None:
            states[row.task_index].append(row.is_final)
    tasks = {index for index, final in states.items() if all(final)}
    together = [row.is_final for row in rows if row.task_index is None]
    if together and all(together):  # those that never started, and none of them may any more
        tasks |= set(range(layout.tasks)) - set(states)
    ended = {index for task in tasks for index in layout.workers_of(task)}
    if not ended:
        return
    with context.database.begin() as session:
        # Whoever else writes these rows holds the array's.
        session.get_one(Array, array.id, with_for_update=True)
        known = {
            task.task_index: task
            for task in session.scalars(select(ArrayTask).where(ArrayTask.array_id == array.id))
        }
        for index in ended:
            task = known.get(index)
            if task is None:
                task = ArrayTask(array_id=array.id, task_index=index)
                session.add(task)
            task.ended_at = task.ended_at or context.clock.now()


def _unseen(context: ClusterContext, array: Array, patience: timedelta) -> None:
    now = context.clock.now()
    if array.unseen_since is None:
        _mark_unseen(context, array, seen=False)
    elif now - array.unseen_since >= patience:
        known = array.array_job_id
        what = f"Slurm no longer knows job {known}." if known else "Slurm never took the job."
        close_array(context, array.id, what)


def _mark_unseen(context: ClusterContext, array: Array, *, seen: bool) -> None:
    with context.database.begin() as session:
        row = session.get_one(Array, array.id)
        row.unseen_since = None if seen else context.clock.now()


def _settle_dead(
    context: ClusterContext, owner: UserSession, array: Array, rows: Sequence[JobRow]
) -> bool:
    """Fence and settle the workers whose task has ended or was restarted; whether all are done."""
    workers, reasons = _read_dead(context, array, rows)
    if any(worker.id in reasons for worker in workers if worker.fenced_at is None):
        # Its last words may have come since: then it has left, and needs no fence.
        read_journals(context, owner, array)
        workers, reasons = _read_dead(context, array, rows)
    quiet = True
    for worker in workers:
        if worker.id not in reasons:
            continue
        if worker.status is not WorkerStatus.SHUTTING_DOWN:
            if not fence(context, owner, array, worker, reasons[worker.id]):
                quiet = False
                continue
            if not read_journals(context, owner, array):
                continue  # what it did is not known yet; closing waits for it
        settle_worker(context, owner, array, worker, reasons[worker.id])
    return quiet


def _read_dead(
    context: ClusterContext, array: Array, rows: Sequence[JobRow]
) -> tuple[Sequence[Worker], dict[str, str]]:
    """Return the array's workers, and why each of them that is gone and not settled is so."""
    layout = array_layout(array.task_count, array.request)
    with context.database.read() as session:
        workers = session.scalars(select(Worker).where(Worker.array_id == array.id)).all()
    return workers, {
        worker.id: reason
        for worker in workers
        if not worker.settled and (reason := _death(worker, workers, rows, layout)) is not None
    }


def _death(
    worker: Worker, workers: Sequence[Worker], rows: Sequence[JobRow], layout: Layout
) -> str | None:
    """Return why this worker is gone, None while it may live."""
    if worker.dead_reason is not None:
        return worker.dead_reason
    index, restart = (int(part) for part in worker.name.split("."))
    for other in workers:
        other_index, other_restart = (int(part) for part in other.name.split("."))
        if other_index == index and other_restart > restart:
            return "Slurm requeued the array task while this ran."
    mine = [row for row in rows if row.task_index == layout.task_of(index)]
    waiting = next((row for row in mine if row.state in REQUEUED_STATES), None)
    if waiting is not None:  # it had joined before Slurm was asked: so it was thrown out since
        return f"Slurm put the array task back into its queue ({waiting.reason}) while this ran."
    if not mine or not all(row.is_final for row in mine):
        return None
    return _sentence(mine[-1])


def _sentence(row: JobRow) -> str:
    details = [part for part in (row.reason, row.exit_code and f"exit {row.exit_code}") if part]
    return (
        f"Slurm ended the worker ({row.state}{', ' if details else ''}{', '.join(details)}) "
        f"on {row.nodes or 'an unknown node'} while this ran."
    )


def _why(rows: Sequence[JobRow]) -> str:
    counts: Mapping[str, int] = {
        state: sum(row.state == state for row in rows) for state in {row.state for row in rows}
    }
    return "Slurm ended the job: " + ", ".join(f"{n} {s}" for s, n in sorted(counts.items()))
