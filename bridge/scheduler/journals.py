"""Reading the journals of an array: what has grown since the last time, and no more."""

from __future__ import annotations

import logging
import re
from datetime import datetime

from sqlalchemy import select

from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import Array, Worker
from bridge.errors import FileRefused, SessionError
from bridge.harvest import Finished, apply_records, has_open, parse_records
from bridge.launcher.spool import INLINE_BYTES
from bridge.node.names import worker_id
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.workers import settle_worker
from bridge.sessions import UserSession

log = logging.getLogger(__name__)

_JOURNAL = re.compile(r"(\d{1,7}\.\d{1,4})\.(?:jsonl|fenced)\Z")
# One line holds an inline log, in JSON at most six times as long.
READ_BYTES = 2 * 6 * INLINE_BYTES
ROUNDS = 64  # reads of one journal in one tick, so that one flood does not starve the others


def harvest_tick(context: ClusterContext) -> list[str]:
    """Read the journals of every running array; return those that have nothing open any more."""
    with context.database.read() as session:
        arrays = session.scalars(
            select(Array).where(
                Array.cluster == context.name, Array.status == ArrayStatus.SUBMITTED
            )
        ).all()
    done = []
    for array in arrays:
        try:
            read_journals(context, context.session(array), array)
        except SessionError as error:
            log.warning("no harvest: %s", error.message, extra={"facts": {"array": array.id}})
            continue
        with context.database.read() as session:
            if not has_open(session, array):
                done.append(array.id)
    return done


def read_journals(context: ClusterContext, owner: UserSession, array: Array) -> None:
    """Read what is new in every journal of the array and write it down."""
    folder = f"{array.spool}/journal"
    with context.database.read() as session:
        workers = {
            worker.name: worker
            for worker in session.scalars(select(Worker).where(Worker.array_id == array.id))
        }
    for entry in owner.list(folder):
        match = _JOURNAL.match(entry.name)
        if match is None:
            continue
        worker = workers.get(match[1])
        if worker is not None and (worker.settled or worker.journal_offset >= entry.size):
            continue
        offset = worker.journal_offset if worker else 0
        for _ in range(ROUNDS):
            taken = _read_piece(context, owner, array, match[1], f"{folder}/{entry.name}", offset)
            offset += taken
            if taken == 0 or offset >= entry.size:
                break


def _read_piece(
    context: ClusterContext, owner: UserSession, array: Array, name: str, path: str, offset: int
) -> int:
    """Write down one piece of a journal; return how many bytes of it are done with."""
    try:
        data = owner.read(path, offset, READ_BYTES)
    except FileRefused as error:
        log.warning("journal refused: %s", error.message, extra={"facts": {"array": array.id}})
        return 0
    records, taken, bad = parse_records(data)
    if taken == 0 and len(data) == READ_BYTES:
        taken = len(data)  # no line of ours is that long: forged, and passed over
    if bad:
        facts = {"array": array.id, "worker": name, "lines": bad}
        log.warning("journal lines not of the form agreed", extra={"facts": facts})
    logs = {
        record.execution_id: _read_log(context, owner, array, record.execution_id)
        for record in records
        if isinstance(record, Finished) and record.log is None
    }
    now = context.clock.now()
    limits = context.site.limits
    with context.database.begin() as session:
        worker = _worker(session.get(Worker, worker_id(array.id, name)), array, name, now)
        session.add(worker)
        apply_records(session, session.get_one(Array, array.id), worker, records, logs, limits, now)
        worker.journal_offset = offset + taken
    if worker.status is WorkerStatus.SHUTTING_DOWN:
        settle_worker(context, owner, array, worker, worker.dead_reason or "The worker left.")
    return taken


def _worker(known: Worker | None, array: Array, name: str, now: datetime) -> Worker:
    return known or Worker(
        id=worker_id(array.id, name),
        array_id=array.id,
        actor_id=array.actor_id,
        name=name,
        status=WorkerStatus.READY,
        journal_offset=0,
        settled=False,
        create_time=now,
    )


def _read_log(context: ClusterContext, owner: UserSession, array: Array, execution: str) -> str:
    if not execution.isalnum():
        return ""
    limit = context.site.limits.max_log_length
    try:
        # UTF-8 takes up to four bytes a character; the text is cut to its limit afterwards.
        data = owner.read(f"{array.spool}/logs/{execution}", 0, 4 * limit)
    except FileRefused as error:
        return f"(the log could not be read: {error.message})"
    return data.decode(errors="replace").replace("\0", "\ufffd")
