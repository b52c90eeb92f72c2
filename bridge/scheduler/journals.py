"""Reading the journals of an array: what has grown since the last time, and no more."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from bridge.clock import monotonic_s
from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import Array, Worker
from bridge.errors import FileRefused, SessionError
from bridge.harvest import FellBack, Record, parse_records
from bridge.node.journal import MAX_LINE_BYTES
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.reports import Reports
from bridge.scheduler.turns import SHARE_S, shuffled, take_turns
from bridge.scheduler.workers import may_be_worker, settle_worker
from bridge.sessions import UserSession

log = logging.getLogger(__name__)

_JOURNAL = re.compile(r"([0-9]{1,7}\.[0-9]{1,4})\.(?:jsonl|fenced)\Z")
HARVEST_S = 0.2  # for the journals of all arrays, in one round
READ_BYTES = 2 * MAX_LINE_BYTES
SLACK_BYTES = 1 << 16
AT_ONCE, AT_ONCE_BYTES = 256, 8 << 20  # journals that one call reads, and how much of them
_MOST_BYTES = 1 << 62  # of a journal, as its directory says: what the database can count
# What of one piece is in memory: large logs and runs of results, each log as long as the site's
# limit, and results, where one run may be as long as bridge.harvest.records allows.
FILES = 16
RESULT_BYTES = 16 << 20


def harvest_tick(
    context: ClusterContext, *, with_idle: bool = True, only: Collection[str] | None = None
) -> None:
    """Read the journals of every running array, as many as there is time for.

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
    served = context.harvested if only is None else None
    for array in take_turns(arrays, step_s=HARVEST_S, served=served):
        try:
            read_journals(context, context.session(array), array)
        except SessionError as error:
            log.warning("no harvest: %s", error.message, extra={"facts": {"array": array.id}})


@dataclass
class _Journal:
    """A journal that has grown: read up to `offset`, and `size` long, as its directory says."""

    worker: str
    path: str
    offset: int
    size: int

    @property
    def limit(self) -> int:
        """How much of it to ask for: the directory may be behind the file."""
        return min(READ_BYTES, max(0, self.size - self.offset) + SLACK_BYTES)


def read_journals(context: ClusterContext, owner: UserSession, array: Array) -> bool:
    """Read what is new in every journal of the array; whether each is read to its end.

    Where that takes too long, the rest is left for the next time. A worker has a journal before it
    claims anything: one whose journal is not there was robbed of it, and nobody knows what it
    started.
    """
    until = monotonic_s() + SHARE_S
    grown, whole = _find_grown(context, owner, array)
    reports = Reports(context, owner, array)
    ended: set[str] = set()  # read to their ends
    late = False
    while grown and not late:
        some = _take_some(grown)
        asked = [(journal.path, journal.offset, journal.limit) for journal in some]
        for journal, data in zip(some, owner.read_each(asked), strict=True):
            if late:
                whole = False
                break
            if isinstance(data, FileRefused):
                facts = {"array": array.id}
                log.warning("journal refused: %s", data.message, extra={"facts": facts})
                whole = False
                continue
            limit = journal.limit
            done = _take_piece(reports, array, journal, data, until)
            if len(data) < limit and b"\n" not in data[done:]:
                ended.add(journal.worker)
            elif done:
                grown.append(journal)
            else:
                whole = False
            late = monotonic_s() >= until
    whole = whole and not grown
    reports.write()
    for name in ended & set(reports.workers):
        worker = reports.workers[name]
        if worker.status is WorkerStatus.SHUTTING_DOWN:
            settle_worker(context, owner, array, worker, worker.dead_reason or "The worker left.")
    return whole


def _find_grown(
    context: ClusterContext, owner: UserSession, array: Array
) -> tuple[list[_Journal], bool]:
    """Return the journals that have grown, in no order, and whether no worker lacks its own."""
    folder = f"{array.spool}/journal"
    with context.database.read() as session:
        workers = {
            worker.name: worker
            for worker in session.scalars(select(Worker).where(Worker.array_id == array.id))
        }
    names = set(workers)
    missing = {worker.name for worker in workers.values() if not worker.settled}
    grown = []
    for entry in shuffled(owner.list(folder)):
        match = _JOURNAL.match(entry.name)
        if match is None or not may_be_worker(array, match[1], names):
            continue
        names.add(match[1])
        missing.discard(match[1])
        worker = workers.get(match[1])
        if worker is not None and (worker.settled or worker.journal_offset >= entry.size):
            continue
        offset = worker.journal_offset if worker else 0
        grown.append(_Journal(match[1], f"{folder}/{entry.name}", offset, entry.size))
    return grown, not missing


def _take_some(grown: list[_Journal]) -> list[_Journal]:
    """Take off as many journals as are read at once."""
    some = [grown.pop(0)]
    left = AT_ONCE_BYTES - some[0].limit
    while grown and len(some) < AT_ONCE and grown[0].limit <= left:
        left -= grown[0].limit
        some.append(grown.pop(0))
    return some


def _take_piece(
    reports: Reports, array: Array, journal: _Journal, data: bytes, until: float
) -> int:
    """Report one piece of a journal, go on in it, and return how many bytes are done with.

    Of a file that has something else than lines, a hole of terabytes for one, the end is looked at
    next: its directory says how long it is.
    """
    done = 0
    if b"\n" not in data and len(data) == READ_BYTES:
        # No line of ours is that long: forged, and passed over.
        done = max(len(data), min(journal.size, _MOST_BYTES) - READ_BYTES - journal.offset)
        reports.add(journal.worker, (), journal.offset + done)
    while done < len(data):
        records, taken, bad = parse_records(data[done:], FILES, RESULT_BYTES)
        if taken == 0 or (done and monotonic_s() >= until):
            break
        _warn(array, journal.worker, records, bad)
        done += taken
        reports.add(journal.worker, records, journal.offset + done)
    journal.offset += done
    return done


def _warn(array: Array, worker: str, records: Sequence[Record], bad: int) -> None:
    """Say what an admin should know of a piece of a journal."""
    facts: dict[str, object] = {"array": array.id, "worker": worker}
    if bad:
        said = "journal lines not of the form agreed"
        log.warning(said, extra={"facts": {**facts, "lines": bad}})
    for fell in [one for one in records if isinstance(one, FellBack)][:1]:
        facts.update(reuse=fell.to, why=fell.why)
        log.warning("a worker starts containers in a slower way", extra={"facts": facts})
