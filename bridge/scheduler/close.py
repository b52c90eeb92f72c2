"""Closing an array: after this nothing of it can start, and what it left is settled.

Each step may be repeated, so a crash between any two of them is mended by the next tick.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import delete, exists, select, true
from sqlalchemy.orm import Session

from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import Array, ArrayTask, Execution, Worker
from bridge.errors import SessionError, SlurmError
from bridge.harvest import end_lost, has_started, requeue
from bridge.launcher.context import job_name
from bridge.launcher.spool import chunk_number
from bridge.scheduler.acts import act_on, record
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.inbox import is_chunk, order_stop, take_back
from bridge.scheduler.journals import read_journals
from bridge.scheduler.turns import take_turns
from bridge.scheduler.usage import record_usage
from bridge.scheduler.workers import fence, note_claimers
from bridge.services.workers import find_live_tasks
from bridge.sessions import UserSession

log = logging.getLogger(__name__)

# An owner who cannot be reached for this long (account gone, filesystem lost) is not waited for.
GIVE_UP_AFTER = timedelta(hours=1)


def close_array(context: ClusterContext, token: str, reason: str, *, failed: bool = False) -> None:
    """Decide that the array is over; `finish_closing` does the rest.

    Args:
        context: the cluster.
        token: the array.
        reason: why, as an owner should read it.
        failed: what was not started ends ERROR with `reason` instead of going back to the queue.
    """
    with context.database.begin() as session:
        array = session.get_one(Array, token)
        if array.status not in (ArrayStatus.CLOSING, ArrayStatus.ENDED):
            array.status = ArrayStatus.CLOSING
            array.closing_at = context.clock.now()
            array.reason = reason
            array.failed = failed
    log.info("closing", extra={"facts": {"array": token, "reason": reason}})


def closing_tick(context: ClusterContext) -> int:
    """Bring every closing array one step nearer to its end; return how many ended."""
    with context.database.read() as session:
        arrays = session.scalars(
            select(Array).where(Array.cluster == context.name, Array.status == ArrayStatus.CLOSING)
        ).all()
    return sum(_finish_closing(context, array) for array in take_turns(arrays))


def _finish_closing(context: ClusterContext, array: Array) -> bool:
    given_up = context.clock.now() - (array.closing_at or array.planned_at) >= GIVE_UP_AFTER
    facts = {"array": array.id}
    certain = False
    try:
        owner = context.session(array)
        certain = _nothing_can_start(context, owner, array) and read_journals(context, owner, array)
    except SessionError as error:
        log.warning("closing waits: %s", error.message, extra={"facts": facts})
    if not certain and not given_up:
        return False
    try:
        _cancel(context, array)
    except (SessionError, SlurmError) as error:
        log.warning("not cancelled: %s", error.message, extra={"facts": facts})
        if not given_up:
            return False
    _end(context, array.id, certain=certain)
    _remove_spool(context, array)
    return True


def _nothing_can_start(context: ClusterContext, owner: UserSession, array: Array) -> bool:
    """Take back what nobody claimed and fence off who claimed; whether it is certain by now."""
    order_stop(owner, array)
    take_back(owner, array)
    read_journals(context, owner, array)
    note_claimers(context, owner, array)
    with context.database.read() as session:
        workers = session.scalars(
            select(Worker).where(Worker.array_id == array.id, Worker.settled.is_(False))
        ).all()
    fenced = [
        fence(context, owner, array, worker, array.reason)
        for worker in workers
        if worker.status is not WorkerStatus.SHUTTING_DOWN
    ]
    return all(fenced) and _is_all_accounted_for(context, owner, array)


def _is_all_accounted_for(context: ClusterContext, owner: UserSession, array: Array) -> bool:
    """Whether it is known of each chunk who has it.

    A network filesystem may show for a while neither that a worker took one nor who did. Of an
    array that Slurm never had nobody can have taken any.
    """
    if array.array_job_id is None:
        grace = timedelta(seconds=context.cluster.fence_grace_s)
        began = array.closing_at or array.planned_at
        if context.clock.now() - began >= grace:
            return not any(is_chunk(array, e.name) for e in owner.list(f"{array.spool}/inbox"))
    seen = {
        chunk_number(entry.name)
        for folder in ("claimed", "returned")
        for entry in owner.list(f"{array.spool}/{folder}")
    }
    # What was bound and never staged, nobody can have been given.
    last = array.chunk_count if array.staged_as else array.fed_chunks
    return seen.issuperset(range(1, last + 1))


def _cancel(context: ClusterContext, array: Array) -> None:
    """Cancel what Slurm may still run or let wait."""
    if array.array_job_id is None:
        return
    with context.database.read() as session:
        if not find_live_tasks(session, [array])[array.id]:
            return  # every worker has left, or Slurm itself says that they have ended
    context.slurm.cancel(context.session(array), array.array_job_id, job_name(array.id))
    about = f"job {array.array_job_id} on {context.name}"
    record(context, act_on(context, array, "array.cancel", about))


def _remove_spool(context: ClusterContext, array: Array) -> None:
    """Remove what the database no longer needs; it stays where the owner or a crash prevents it."""
    try:
        context.session(array).remove(array.spool)
    except SessionError as error:
        log.warning("spool stays: %s", error.message, extra={"facts": {"array": array.id}})


def _end(context: ClusterContext, token: str, *, certain: bool) -> None:
    now = context.clock.now()
    with context.database.begin() as session:
        array = session.get_one(Array, token, with_for_update=True)
        if array.status is ArrayStatus.ENDED:
            return  # another scheduler was faster, and has counted what it used
        record_usage(session, array, now)
        lost = array.reason or "Its worker ended without a word."
        its_own = Execution.array_id == token
        in_vain = array.array_job_id is not None and not has_started(session, its_own)
        in_vain = in_vain and not _was_to_leave(session, array)
        for worker in session.scalars(select(Worker).where(Worker.array_id == token)):
            # What may run still is not run again.
            whose, why = its_own & (Execution.worker_id == worker.id), worker.dead_reason or lost
            end_lost(session, whose, why, now, retries=certain and not array.failed)
            worker.settled, worker.status = True, WorkerStatus.SHUTTING_DOWN
        if array.failed or not certain:  # what may have run is not run again
            end_lost(session, its_own, lost, now)
        returned = requeue(session, array, true(), now, in_vain=in_vain)
        array.status, array.ended_at = ArrayStatus.ENDED, now
        session.execute(delete(ArrayTask).where(ArrayTask.array_id == token))
    log.info("ended", extra={"facts": {"array": token, "returned": returned}})


def _was_to_leave(session: Session, array: Array) -> bool:
    """Whether the bridge itself told its workers to leave, all or some: then it has not failed."""
    told = exists().where(ArrayTask.array_id == array.id, ArrayTask.leave_requested_at.is_not(None))
    return array.leaving_at is not None or bool(session.scalar(select(told)))
