"""Workers that are gone: fencing them off and settling what they had claimed."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.core.statuses import WorkerStatus
from bridge.db import Array, Execution, Worker
from bridge.errors import FileRefused
from bridge.harvest import end_lost, has_started, left_reason, requeue
from bridge.launcher.spool import chunk_number, chunk_owner
from bridge.node.names import worker_id
from bridge.scheduler.context import ClusterContext
from bridge.sessions import UserSession

log = logging.getLogger(__name__)


TOLD = (left_reason("leave"), left_reason("stop"))
NAME = re.compile(r"[0-9]{1,7}\.[0-9]{1,4}\Z")
# Workers that one array may have beside those it was planned with: far more restarts than Slurm
# makes of them together. More names than these are an owner's invention.
MOST_RESTARTS = 1000


def note_claimers(context: ClusterContext, owner: UserSession, array: Array) -> None:
    """Write down the workers that have claimed a chunk and whose journal has not been seen yet.

    A network filesystem may show the one before the other, and who claimed may start.
    """
    names = {chunk_owner(entry.name) for entry in owner.list(f"{array.spool}/claimed")}
    with context.database.begin() as session:
        known = set(session.scalars(select(Worker.name).where(Worker.array_id == array.id)))
        for name in sorted(filter(NAME.match, names)):
            if may_be_worker(array, name, known):
                known_or_new(session, array, name, context.clock.now())
                known.add(name)


def may_be_worker(array: Array, name: str, known: Collection[str]) -> bool:
    """Whether `name`, in the form of `NAME`, may be of a worker of the array beside those `known`.

    Each name costs the bridge a row and a look in each round, and whoever owns the spool may put
    any number there. The first of each index always may be.
    """
    index, _, restart = name.partition(".")
    is_task = int(index) < array.task_count
    may_come = restart == "0" or len(known) < array.task_count + MOST_RESTARTS
    return name in known or (is_task and may_come)


def known_or_new(session: Session, array: Array, name: str, now: datetime) -> Worker:
    """Return the row of the array's worker of this name."""
    worker = session.get(Worker, worker_id(array.id, name))
    if worker is None:
        worker = Worker(
            id=worker_id(array.id, name),
            array_id=array.id,
            actor_id=array.actor_id,
            name=name,
            status=WorkerStatus.READY,
            journal_offset=0,
            settled=False,
            create_time=now,
        )
        session.add(worker)
    return worker


def fence(
    context: ClusterContext, owner: UserSession, array: Array, worker: Worker, reason: str
) -> bool:
    """Make sure that `worker` starts nothing more; whether that is certain by now.

    The rename comes first; what the worker wrote before it is read after a grace as long as the
    shared filesystem may show old names.
    """
    now = context.clock.now()
    if worker.fenced_at is None:
        journal = f"{array.spool}/journal/{worker.name}"
        try:
            owner.rename(f"{journal}.jsonl", f"{journal}.fenced")
        except FileRefused as error:
            if error.facts.get("kind") != "missing":
                raise
        with context.database.begin() as session:
            row = session.get_one(Worker, worker.id)
            row.fenced_at, row.dead_reason = now, reason
        worker.fenced_at = now
        facts = {"array": array.id, "worker": worker.name, "reason": reason}
        log.info("fenced", extra={"facts": facts})
    return now - worker.fenced_at >= timedelta(seconds=context.cluster.fence_grace_s)


def settle_worker(
    context: ClusterContext, owner: UserSession, array: Array, worker: Worker, reason: str
) -> None:
    """Settle what a worker that starts nothing more had claimed.

    What it started and did not finish ends ERROR with `reason`; what it did not start goes back to
    the queue. Its journal has been read to the end by now.
    """
    chunks = [
        number
        for entry in owner.list(f"{array.spool}/claimed")
        if chunk_owner(entry.name) == worker.name
        and (number := chunk_number(entry.name)) is not None
    ]
    now = context.clock.now()
    with context.database.begin() as session:
        row = session.get_one(Worker, worker.id)
        if row.settled:
            return
        row.settled = True
        # With the array, whose executions an index has.
        its_own = (Execution.array_id == array.id) & (Execution.worker_id == worker.id)
        # One that was told to leave has not failed.
        in_vain = row.dead_reason not in TOLD and not has_started(session, its_own)
        lost = end_lost(session, its_own, reason, now, retries=True)
        claimed = Execution.chunk.in_(chunks)
        back = requeue(session, session.get_one(Array, array.id), claimed, now, in_vain=in_vain)
    if lost or back:
        facts = {"array": array.id, "worker": worker.name, "lost": lost, "returned": back}
        log.info("settled", extra={"facts": facts})
