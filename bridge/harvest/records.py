"""Journal records (the form is bridge.node's), read without trust."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.node.results import BATCH
from bridge.node.state import parse_state

# What reading a line of another form may meet; OSError is a moment that gmtime(3) cannot hold.
_OTHER_FORM = (ValueError, LookupError, TypeError, OverflowError, OSError, RecursionError)
_MAX_COUNT = 2**62  # what a signed 64-bit column holds, with room
_MAX_NUMBER = 2**30  # of a result; they count 1 KiB each towards a limit of 1 GiB at most
_MAX_RUN_BYTES = 64 << 20  # results of one record; a datagram is far smaller on any kernel
# Of one call: a forged journal costs its reader so much and no more. A worker's own lines are
# never bad but for one that a full disk cut off.
MOST_BAD, MOST_RECORDS = 1000, 200


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
class Results:
    """Results of one execution that follow each other, the first of them with number `first`.

    They are `data`, or lie in the execution's file from `offset` on, each as long as `lengths` say.
    """

    first: int
    data: tuple[bytes, ...] = ()
    offset: int = 0
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class State:
    """What an actor left as its state, any JSON value."""

    value: Any


@dataclass(frozen=True)
class Progress:
    """What a running execution has told since the last time."""

    at: datetime
    execution_id: str
    log: str
    results: Results | None


@dataclass(frozen=True)
class Finished:
    """A container ended, or could not be started (`runtime_error`).

    `log` is None when the log lies in a file of its own; `notes` are the worker's own words, for
    the end of it. Counts are ns, KiB and bytes.
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
    oom_killed: bool = False
    notes: str = ""
    results: Results | None = None
    state: State | None = None


@dataclass(frozen=True)
class Left:
    """The worker ended by itself and starts nothing more."""

    at: datetime
    why: str


@dataclass(frozen=True)
class FellBack:
    """The worker starts containers in another way than it was asked to: `to`, and why."""

    at: datetime
    to: str
    why: str


Record = Joined | Started | Progress | Finished | Left | FellBack


def parse_records(
    data: bytes, most_files: int = 1 << 30, most_bytes: int = 1 << 60
) -> tuple[list[Record], int, int]:
    """Read the whole lines of `data`.

    Args:
        data: a piece of a journal that begins with a line.
        most_files: stop after so many logs and runs of results that lie in files of their own.
        most_bytes: stop after so many bytes of such results; one record may exceed it.

    Returns:
        The records, how many bytes they took (an unfinished last line is left for the next time),
        and how many lines were not of the form agreed. After MOST_BAD of these the rest of `data`
        is passed over unread; after MOST_RECORDS it is left for the next time.
    """
    records: list[Record] = []
    taken = bad = files = size = 0
    while files < most_files and size < most_bytes and (end := data.find(b"\n", taken) + 1):
        line, taken = data[taken:end], end
        try:
            document = json.loads(line)
            record = _READERS[document["t"]](document)
        except _OTHER_FORM:
            bad += 1
            if bad == MOST_BAD:
                return records, data.rfind(b"\n") + 1, bad
            continue
        if record is not None:
            records.append(record)
            if len(records) == MOST_RECORDS:
                break
            files += isinstance(record, Finished) and record.log is None
            if isinstance(record, Progress | Finished) and record.results is not None:
                files += bool(record.results.lengths)
                size += sum(record.results.lengths)
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
        oom_killed=document["oom_killed"] is True,
        notes=_text(document["notes"])[:2000],
        results=_results(document["results"]),
        state=_state(document["state"]),
    )


def _progress(document: dict[str, Any]) -> Progress:
    return Progress(
        _moment(document["at"]),
        _text(document["id"]),
        _text(document["log"]),
        _results(document["results"]),
    )


def _results(value: object) -> Results | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError("not results")
    first = _count(value["first"])
    if first > _MAX_NUMBER:
        raise ValueError("a number that no result has")
    if "data" in value:
        data = tuple(base64.b64decode(one, validate=True) for one in _list(value["data"]))
        return Results(first, data=data)
    lengths = tuple(_count(one) for one in _list(value["lengths"]))
    if sum(lengths) > _MAX_RUN_BYTES:
        raise ValueError("more than a worker ever puts into one record")
    return Results(first, offset=_count(value["offset"]), lengths=lengths)


def _state(value: object) -> State | None:
    """Return a state; what is none, or too large, is left out as the worker would have."""
    if value is None:
        return None
    try:
        return State(json.loads(parse_state(_text(value).encode())))
    except ValueError:
        return None


def _left(document: dict[str, Any]) -> Left:
    return Left(_moment(document["at"]), _text(document["why"])[:32])


def _fell_back(document: dict[str, Any]) -> FellBack:
    return FellBack(
        _moment(document["at"]), _text(document["to"])[:32], _text(document["why"])[:500]
    )


def _other(document: dict[str, Any]) -> None:
    """A record of a kind that only people read."""


_READERS: dict[str, Callable[[dict[str, Any]], Record | None]] = {
    "joined": _joined,
    "started": _started,
    "progress": _progress,
    "finished": _finished,
    "left": _left,
    "fell_back": _fell_back,
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


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > BATCH:
        raise TypeError("not a list, or longer than one of ours")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise TypeError("not a count")
    return value
