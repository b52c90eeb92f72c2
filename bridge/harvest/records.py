"""Journal records (the form is bridge.node's), read without trust."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# What reading a line of another form may meet; OSError is a moment that gmtime(3) cannot hold.
_OTHER_FORM = (ValueError, LookupError, TypeError, OverflowError, OSError, RecursionError)
_MAX_COUNT = 2**62  # what a signed 64-bit column holds, with room


@dataclass(frozen=True)
class Joined:
    """The worker began."""

    at: datetime
    host: str
    job_id: int


@dataclass(frozen=True)
class Started:
    """A container is about to start: from here on the message never runs again."""

    at: datetime
    execution_id: str


@dataclass(frozen=True)
class Finished:
    """A container ended, or could not be started (`runtime_error`).

    `log` is None when the log lies in a file of its own. Counts are ns, KiB and bytes.
    """

    at: datetime
    execution_id: str
    started_at: datetime
    exit_code: int
    runtime_error: str | None
    ended_by: str | None
    cpu_ns: int
    max_rss_kib: int
    io_bytes: int
    log: str | None
    log_truncated: bool


@dataclass(frozen=True)
class Left:
    """The worker ended by itself and starts nothing more."""

    at: datetime
    why: str


Record = Joined | Started | Finished | Left


def parse_records(data: bytes, most_files: int = 1 << 30) -> tuple[list[Record], int, int]:
    """Read the whole lines of `data`.

    Args:
        data: a piece of a journal that begins with a line.
        most_files: stop after so many executions whose log lies in a file of its own.

    Returns:
        The records, how many bytes they took (an unfinished last line is left for the next time),
        and how many lines were not of the form agreed.
    """
    records: list[Record] = []
    taken = bad = files = 0
    while files < most_files and (end := data.find(b"\n", taken) + 1):
        line, taken = data[taken:end], end
        try:
            document = json.loads(line)
            record = _READERS[document["t"]](document)
        except _OTHER_FORM:
            bad += 1
            continue
        if record is not None:
            records.append(record)
            files += isinstance(record, Finished) and record.log is None
    return records, taken, bad


def _joined(document: dict[str, Any]) -> Joined:
    return Joined(_moment(document["at"]), _text(document["host"])[:255], _count(document["job"]))


def _started(document: dict[str, Any]) -> Started:
    return Started(_moment(document["at"]), _text(document["id"]))


def _finished(document: dict[str, Any]) -> Finished:
    log, error, ended_by = document["log"], document["runtime_error"], document["ended_by"]
    return Finished(
        at=_moment(document["at"]),
        execution_id=_text(document["id"]),
        started_at=_moment(document["started_at"]),
        exit_code=min(_count(document["exit_code"]), 255),
        runtime_error=None if error is None else _text(error)[:2000],
        ended_by=None if ended_by is None else _text(ended_by)[:32],
        cpu_ns=_count(document["cpu_ns"]),
        max_rss_kib=_count(document["max_rss_kib"]),
        io_bytes=_count(document["io_bytes"]),
        log=None if log is None else _text(log),
        log_truncated=document["log_truncated"] is True,
    )


def _left(document: dict[str, Any]) -> Left:
    return Left(_moment(document["at"]), _text(document["why"])[:32])


def _other(document: dict[str, Any]) -> None:
    """A record of a kind that only people read."""


_READERS: dict[str, Callable[[dict[str, Any]], Record | None]] = {
    "joined": _joined,
    "started": _started,
    "finished": _finished,
    "left": _left,
    "bad_line": _other,
}


def _moment(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a moment")
    return datetime.fromtimestamp(value, UTC)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    # Neither NUL nor half of a surrogate pair can be stored in a text column everywhere.
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise TypeError("not a count")
    return value
