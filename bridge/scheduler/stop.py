"""Ending what somebody wants ended: single executions, and the arrays of deleted actors."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import select, update

from bridge.audit import tell, write
from bridge.core.statuses import ArrayStatus, ExecutionStatus
from bridge.db import Array, Execution
from bridge.errors import BridgeError, SessionError
from bridge.launcher.context import job_name
from bridge.scheduler.acts import act_on
from bridge.scheduler.context import ClusterContext

log = logging.getLogger(__name__)

DELETED = "The actor was deleted."
# Orders to one array in one tick, each a file that is flushed: a purge must not hold up the rest.
ORDERS = 50


def cancel_tick(context: ClusterContext) -> int:
    """Tell workers which executions to end; return how many orders were given.

    An order lies in the spool before the database says so: one that a crash cuts off is given
    again, which does no harm. What an array has not started when it closes needs no order.
    """
    wanted = (
        Execution.cancel_requested_at.is_not(None)
        & Execution.cancel_sent_at.is_(None)
        & Execution.finish_time.is_(None)
    )
    with context.database.read() as session:
        arrays = session.scalars(
            select(Array).where(
                Array.cluster == context.name,
                Array.status == ArrayStatus.SUBMITTED,
                Array.id.in_(select(Execution.array_id).where(wanted)),
            )
        ).all()
    given = 0
    for array in arrays:
        with context.database.read() as session:
            ids = session.scalars(
                select(Execution.id)
                .where(wanted, Execution.array_id == array.id)
                # Those that run first: somebody waits for them.
                .order_by(Execution.status != ExecutionStatus.RUNNING, Execution.seq)
                .limit(ORDERS)
            ).all()
        given += _give_orders(context, array, ids)
    return given


def _give_orders(context: ClusterContext, array: Array, ids: Sequence[str]) -> int:
    try:
        owner = context.session(array)
        for execution_id in ids:
            owner.put(f"{array.spool}/cancel/{execution_id}", b"")
    except SessionError as error:
        log.warning("not cancelled: %s", error.message, extra={"facts": {"array": array.id}})
        return 0
    with context.database.begin() as session:
        session.execute(
            update(Execution)
            .where(Execution.id.in_(ids), Execution.array_id == array.id)
            .values(cancel_sent_at=context.clock.now())
        )
    return len(ids)


def stop_tick(context: ClusterContext) -> int:
    """Tell the workers of deleted actors to stop, and Slurm to end them; return how many arrays.

    Slurm's SIGTERM makes a worker end its container and write that down; the watch then finds the
    job ended and closes the array. The array's reason says that it was done: Slurm is asked once.
    """
    with context.database.read() as session:
        arrays = session.scalars(
            select(Array).where(
                Array.cluster == context.name,
                Array.status == ArrayStatus.SUBMITTED,
                Array.stop_requested.is_(True),
                Array.reason != DELETED,
            )
        ).all()
    for array in arrays:
        try:
            owner = context.session(array)
            owner.put(f"{array.spool}/stop", b"")
            if array.array_job_id is not None:
                context.slurm.cancel(owner, array.array_job_id, job_name(array.id))
        except BridgeError as error:
            log.warning("not stopped: %s", error.message, extra={"facts": {"array": array.id}})
            continue
        entry = act_on(context, array, "array.cancel", f"job {array.array_job_id}: {DELETED}")
        with context.database.begin() as session:
            session.get_one(Array, array.id).reason = DELETED
            write(session, entry)
        tell(entry)
    return len(arrays)
