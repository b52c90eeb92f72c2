"""Writing down what journals tell: the records of many workers in one short transaction.

Whoever posts a message meanwhile waits for it, so it has so many records and no more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from bridge.db import IS_OPEN, Array, Execution, Worker
from bridge.errors import FileRefused
from bridge.harvest import Finished, Progress, Record, Report, Results, apply_reports
from bridge.harvest.records import MOST_RECORDS
from bridge.node.names import worker_id
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.workers import known_or_new
from bridge.sessions import UserSession

log = logging.getLogger(__name__)

FILE_READ_BYTES = 4 << 20


@dataclass(frozen=True)
class _Part:
    """The next records of a worker's journal, and how far it is read with them."""

    worker: str
    records: Sequence[Record]
    offset: int


class Reports:
    """Collects what the workers of one array tell, and writes it down."""

    def __init__(self, context: ClusterContext, owner: UserSession, array: Array) -> None:
        self._context = context
        self._owner = owner
        self._array = array
        self._parts: list[_Part] = []
        self._logs: dict[str, str] = {}
        self._count = 0
        self.workers: dict[str, Worker] = {}  # those that something was written of, by name

    def add(self, worker: str, records: Sequence[Record], offset: int) -> None:
        """Take the next records of a worker's journal, which is read up to `offset` with them.

        They are written at once, with what was collected before, where they have much in files.
        """
        files = _find_files(records)
        if files.any:
            logs, records = _read_files(self._context, self._owner, self._array, records, files)
            self._logs.update(logs)
        self._parts.append(_Part(worker, records, offset))
        self._count += len(records) + 1
        if files.any or self._count >= MOST_RECORDS:
            self.write()

    def write(self) -> None:
        """Write down what is collected, and how far the journals are read by now."""
        parts, self._parts = self._parts, []
        logs, self._logs = self._logs, {}
        self._count = 0
        if not parts:
            return
        limits, now = self._context.site.limits, self._context.clock.now()
        ids = [worker_id(self._array.id, part.worker) for part in parts]
        with self._context.database.begin_in_turn() as session:
            array = session.get_one(Array, self._array.id)
            # Held, so that none of them is asked for by itself.
            held = session.scalars(select(Worker).where(Worker.id.in_(ids))).all()
            reports = []
            for part in parts:
                worker = known_or_new(session, array, part.worker, now)
                worker.journal_offset = part.offset
                reports.append(Report(worker, part.records))
            apply_reports(session, array, reports, logs, limits, now)
            del held
        self.workers.update({report.worker.name: report.worker for report in reports})


@dataclass(frozen=True)
class _Files:
    """The executions of which some records have a log, or results, in a file of its own."""

    logs: set[str]
    results: set[str]

    @property
    def any(self) -> bool:
        return bool(self.logs or self.results)


def _find_files(records: Sequence[Record]) -> _Files:
    return _Files(
        {r.execution_id for r in records if isinstance(r, Finished) and r.log is None},
        {
            r.execution_id
            for r in records
            if isinstance(r, Progress | Finished) and r.results is not None and r.results.lengths
        },
    )


def _read_files(
    context: ClusterContext,
    owner: UserSession,
    array: Array,
    records: Sequence[Record],
    files: _Files,
) -> tuple[dict[str, str], list[Record]]:
    """Return the logs that lie in files, and the records with their results read."""
    known = set(_open_ones(context, array, sorted(files.logs | files.results)))
    logs = {one: _read_log(context, owner, array, one) for one in files.logs & known}
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
