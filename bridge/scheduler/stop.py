"""Ending the arrays of deleted actors."""

from __future__ import annotations

import logging

from sqlalchemy import select

from bridge.core.statuses import ArrayStatus
from bridge.db import Array
from bridge.errors import BridgeError
from bridge.launcher.context import job_name
from bridge.scheduler.context import ClusterContext

log = logging.getLogger(__name__)

DELETED = "The actor was deleted."


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
        with context.database.begin() as session:
            session.get_one(Array, array.id).reason = DELETED
    return len(arrays)
