"""Reading the journals of an array: what has grown since the last time, and no more."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import select

from bridge.clock import monotonic_s
from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import IS_OPEN, Array, Execution, Worker
from bridge.errors import FileRefused, SessionError
from bridge.harvest import (
    FellBack,
    Finished,
    Progress,
    Record,
    Results,
    apply_records,
    parse_records,
)
from bridge.node.journal import MAX_LINE_BYTES
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.turns import SHARE_S, shuffled, take_turns
from bridge.scheduler.workers import known_or_new, may_be_worker, settle_worker
from bridge.sessions import UserSession

log = logging.getLogger(__name__)

_JOURNAL = re.compile(r"([0-9]{1,7}\.[0-9]{1,4})\.(?:jsonl|fenced)\Z")
READ_BYTES = 2 * MAX_LINE_BYTES
_MOST_BYTES = 1 << 62  # of a journal, as its directory says: what the database can count
# What of one piece is in memory: large logs and runs of results, each log as long as the site's
# limit, and results, where one run may be as long as bridge.harvest.records allows.
FILES = 16
RESULT_BYTES = 16 << 20
FILE_READ_BYTES = 4 << 20


def harvest_tick(
    context: ClusterContext, *, with_idle: bool = True, only: Collection[str] | None = None
) -> None:
    """Read the journals of every running array.

    Args:
        context: the cluster.
        with_idle: also those of arrays that have nothing to do.
        only: these arrays' alone.
    """
    with context.database.read() as session:
        query = select(Array).where(
            Array.cluster == context.name, Array.status == ArrayStatus.SUBMITTED
        )
        if not with_idle:
            query = query.where(Array.idle_since.is_(None))
        if only is not None:
            query = query.where(Array.id.in_(only))
        arrays = session.scalars(query).all()
    for array in take_turns(arrays):
        try:
            read_journals(context, context.session(array), array)
        except SessionError as error:
            log.warning("no harvest: %s", error.message, extra={"facts": {"array": array.id}})


def read_journals(context: ClusterContext, owner: UserSession, array: Array) -> bool:
    """Read what is new in every journal of the array; whether each is read to its end.

    Where that takes too long, the rest is left for the next time. A worker has a journal before it
    claims anything: one whose journal is not there was robbed of it, and nobody knows what it
    started.
    """
    folder = f"{array.spool}/journal"
    with context.database.read() as session:
        workers = {
            worker.name: worker
            for worker in session.scalars(select(Worker).where(Worker.array_id == array.id))
        }
    names = set(workers)
    whole = True
    until, late = monotonic_s() + SHARE_S, False
    missing = {worker.name for worker in workers.values() if not worker.settled}
    for entry in shuffled(owner.list(folder)):
        match = _JOURNAL.match(entry.name)
        if match is None or not may_be_worker(array, match[1], names):
            continue
        names.add(match[1])
        missing.discard(match[1])
        worker = workers.get(match[1])
        if worker is not None and (worker.settled or worker.journal_offset >= entry.size):
            continue
        if late:
            return False
        offset = worker.journal_offset if worker else 0
        path = f"{folder}/{entry.name}"
        while True:
            taken, at_end = _read_piece(context, owner, array, match[1], path, offset, entry.size)
            offset += taken
            late = monotonic_s() >= until
            if taken == 0 or at_end or late:
                break
        whole = whole and at_end
    return whole and not missing


def _read_piece(
    context: ClusterContext,
    owner: UserSession,
    array: Array,
    name: str,
    path: str,
    offset: int,
    size: int,
) -> tuple[int, bool]:
    """Write down one piece of a journal; return how many bytes are done with, and if it was all.

    Each transaction is short: whoever posts meanwhile waits for it.

    Of a file that has something else than lines, a hole of terabytes for one, the end is looked at
    next: `size` is how long it was said to be.
    """
    try:
        data = owner.read(path, offset, READ_BYTES)
    except FileRefused as error:
        log.warning("journal refused: %s", error.message, extra={"facts": {"array": array.id}})
        return 0, False
    done = 0
    worker: Worker | None = None
    if b"\n" not in data and len(data) == READ_BYTES:
        # No line of ours is that long: forged, and passed over.
        done = max(len(data), min(size, _MOST_BYTES) - READ_BYTES - offset)
        worker = _write_down(context, owner, array, name, (), offset + done)
    while done < len(data):
        records, taken, bad = parse_records(data[done:], FILES, RESULT_BYTES)
        if taken == 0:
            break
        if bad:
            facts = {"array": array.id, "worker": name, "lines": bad}
            log.warning("journal lines not of the form agreed", extra={"facts": facts})
        for fell in [one for one in records if isinstance(one, FellBack)][:1]:
            facts = {"array": array.id, "worker": name, "reuse": fell.to, "why": fell.why}
            log.warning("a worker starts containers in a slower way", extra={"facts": facts})
        done += taken
        worker = _write_down(context, owner, array, name, records, offset + done)
    if worker is not None and worker.status is WorkerStatus.SHUTTING_DOWN:
        settle_worker(context, owner, array, worker, worker.dead_reason or "The worker left.")
    return done, len(data) < READ_BYTES and b"\n" not in data[done:]


def _write_down(
    context: ClusterContext,
    owner: UserSession,
    array: Array,
    name: str,
    records: Sequence[Record],
    offset: int,
) -> Worker:
    """Write down some records and how far the journal is read by now, in one transaction."""
    logs, records = _read_files(context, owner, array, records)
    now = context.clock.now()
    with context.database.begin() as session:
        worker = known_or_new(session, array, name, now)
        mine = session.get_one(Array, array.id)
        apply_records(session, mine, worker, records, logs, context.site.limits, now)
        worker.journal_offset = offset
    return worker


def _read_files(
    context: ClusterContext, owner: UserSession, array: Array, records: Sequence[Record]
) -> tuple[dict[str, str], list[Record]]:
    """Return the logs that lie in files, and the records with their results read."""
    with_log = {r.execution_id for r in records if isinstance(r, Finished) and r.log is None}
    with_results = {
        r.execution_id
        for r in records
        if isinstance(r, Progress | Finished) and r.results is not None and r.results.lengths
    }
    known = set(_open_ones(context, array, sorted(with_log | with_results)))
    logs = {one: _read_log(context, owner, array, one) for one in with_log & known}
    whole: list[Record] = []
    for record in records:
        if (
            isinstance(record, Progress | Finished)
            and record.execution_id in known
            and record.results is not None
            and record.results.lengths
        ):
            results = _read_results(owner, array, record.execution_id, record.results)
            whole.append(replace(record, results=results))
        else:
            whole.append(record)
    return logs, whole


def _read_results(owner: UserSession, array: Array, execution: str, results: Results) -> Results:
    """Return `results` with their data; what the file does not have is left out."""
    left, offset = sum(results.lengths), results.offset
    pieces = []
    try:
        while left > 0:
            path = f"{array.spool}/results/{execution}"
            piece = owner.read(path, offset, min(left, FILE_READ_BYTES))
            if not piece:
                break
            pieces.append(piece)
            left, offset = left - len(piece), offset + len(piece)
    except FileRefused as error:
        log.warning("results refused: %s", error.message, extra={"facts": {"array": array.id}})
    if left:
        facts = {"array": array.id, "execution": execution, "missing_bytes": left}
        log.warning("results are not there", extra={"facts": facts})
    view, data, end = memoryview(b"".join(pieces)), [], 0
    for length in results.lengths:
        end += length
        if end <= len(view):
            data.append(bytes(view[end - length : end]))
    return Results(results.first, data=tuple(data))


def _open_ones(context: ClusterContext, array: Array, ids: Sequence[str]) -> Sequence[str]:
    """Return those that the array has and that are not final: of others no log is read."""
    if not ids:
        return ()
    with context.database.read() as session:
        return session.scalars(
            select(Execution.id).where(
                Execution.array_id == array.id,
                Execution.id.in_(ids),
                IS_OPEN,
            )
        ).all()


def _read_log(context: ClusterContext, owner: UserSession, array: Array, execution: str) -> str:
    limit = context.site.limits.max_log_length
    try:
        # UTF-8 takes up to four bytes a character; the text is cut to its limit afterwards.
        data = owner.read(f"{array.spool}/logs/{execution}", 0, 4 * limit)
    except FileRefused as error:
        return f"(the log could not be read: {error.message})"
    return data.decode(errors="replace").replace("\0", "\ufffd")
