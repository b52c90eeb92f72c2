"""What slurmrestd answers. Pure: bytes in, rows out; tested on recordings.

The list of jobs holds everybody's, about 9 KB each: it is read job by job as it arrives, and only
ours are kept, so memory does not grow with the cluster.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bridge.errors import SlurmError, SlurmUnavailable, UnreadableOutput
from bridge.sessions.base import clean_text
from bridge.slurm.port import JobRow
from bridge.slurm.refusals import is_unclear

# One job, or all of an answer that is not a job.
MOST_CHARACTERS = 4 << 20
# A quote inside a string is escaped, so this is the list itself and nothing that a user wrote.
_LIST = re.compile(r'"jobs"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_DECODER = json.JSONDecoder()
# Flags of a state in the order in which squeue shows them instead of it (squeue(1), JOB STATES).
_FLAGS = (
    "COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED",
    "REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "REVOKED", "RECONFIG_FAIL", "RESV_DEL_HOLD",
    "SIGNALING",
)  # fmt: skip
_FORM = (LookupError, TypeError, ValueError, AttributeError)
# slurm_errno.h: no such job; it has ended; it has another name or state than was asked for.
_NOTHING_TO_CANCEL = frozenset({2017, 2021, 2172})


def read_jobs(
    pieces: Iterable[bytes], read_row: Callable[[Mapping[str, Any]], JobRow | None]
) -> tuple[list[JobRow], dict[str, Any]]:
    """Return the rows that `read_row` makes of the jobs, and the rest of the document.

    Raises:
        UnreadableOutput: this is no JSON object, or a job in it is too large.
    """
    reader = _Reader(pieces)
    head = reader.until(_LIST)
    if head is None:
        return [], _load(reader.rest())
    rows = [row for job in reader.items() if (row := read_row(job)) is not None]
    return rows, _load(head + "[]" + reader.rest())


def read_answer(pieces: Iterable[bytes]) -> dict[str, Any]:
    """Return an answer of one object.

    Raises:
        UnreadableOutput: it is none, or too large.
    """
    return _load(_Reader(pieces).rest())


def listed_row(names: Collection[str]) -> Callable[[Mapping[str, Any]], JobRow | None]:
    """Return the reader of slurmctld's jobs (``job_info``) of these names."""

    def read(job: Mapping[str, Any]) -> JobRow | None:
        if job.get("name") not in names:
            return None
        with_index, waiting = job["array_task_id"]["set"], str(job["array_task_string"])
        index = job["array_task_id"]["number"] if with_index else _single(waiting)
        return _row(
            name=job["name"],
            username=job["user_name"],
            job=job["array_job_id"]["number"] or job["job_id"],
            index=index,
            states=job["job_state"],
            code=job["exit_code"],
            reason=job["state_reason"],
            nodes=job["nodes"],
        )

    return _checked(read)


def accounted_row(names: Collection[str]) -> Callable[[Mapping[str, Any]], JobRow | None]:
    """Return the reader of slurmdbd's jobs (``job``) of these names."""

    def read(job: Mapping[str, Any]) -> JobRow | None:
        if job.get("name") not in names:
            return None
        task = job["array"]["task_id"]
        return _row(
            name=job["name"],
            username=job["user"],
            job=job["array"]["job_id"] or job["job_id"],
            index=task["number"] if task["set"] else None,
            states=job["state"]["current"],
            code=job["exit_code"],
            reason=job["state"]["reason"],
            nodes=job["nodes"],
        )

    return _checked(read)


def read_complaint(answer: Mapping[str, Any]) -> str:
    """Return what an answer says went wrong; empty where nothing did.

    Warnings are none: a job that is held has one.
    """
    errors = answer.get("errors")
    if not isinstance(errors, list):
        raise UnreadableOutput("slurmrestd: expected a list of errors in its answer.")
    said = []
    for error in errors:
        known = error if isinstance(error, dict) else {}
        said.append(str(known.get("error") or known.get("description") or "an unnamed error"))
    return clean_text("; ".join(said))[:500]


def check_cancelled(answer: Mapping[str, Any]) -> None:
    """Raise what a cancellation's failure means; that there is nothing to cancel is none."""
    said = [read_complaint(answer)]
    try:
        said += [
            clean_text(str(status["error"]["message"]))
            for status in answer["status"] or []
            if status["error"]["code"] not in _NOTHING_TO_CANCEL
        ]
    except _FORM as error:
        raise UnreadableOutput("slurmrestd: expected the status of each job cancelled.") from error
    complaint = "; ".join(filter(None, said))[:500]
    # The latter is what it says of itself when slurmctld is away; a user's is "permission denied".
    if is_unclear(complaint) or complaint == "Operation not permitted":
        raise SlurmUnavailable(f"slurmrestd got no clear answer: {complaint}")
    if complaint:
        raise SlurmError(f"slurmrestd could not cancel: {complaint}")


def _checked(
    read: Callable[[Mapping[str, Any]], JobRow | None],
) -> Callable[[Mapping[str, Any]], JobRow | None]:
    def checked(job: Mapping[str, Any]) -> JobRow | None:
        try:
            return read(job)
        except _FORM as error:
            raise UnreadableOutput(
                f"slurmrestd: a job of ours is not of the form expected: {error!r:.200}"
            ) from error

    return checked


def _row(
    *,
    name: str,
    username: object,
    job: object,
    index: object,
    states: Sequence[str],
    code: Mapping[str, Any],
    reason: str,
    nodes: str,
) -> JobRow:
    if not (isinstance(job, int) and isinstance(username, str) and isinstance(index, int | None)):
        raise TypeError(f"job {job!r}, task {index!r} of {username!r}")
    return JobRow(
        name=name,
        username=username,
        array_job_id=job,
        task_index=index,
        state=_word(states),
        exit_code=f"{code['return_code']['number']}:{code['signal']['id']['number']}",
        reason="" if reason == "None" else clean_text(str(reason)),
        nodes="" if nodes == "None assigned" else clean_text(str(nodes)),
    )


def _single(tasks: str) -> int | None:
    """Return the index of what waits where it is one task alone."""
    return int(tasks) if _NUMBER.match(tasks) else None


def _word(states: Sequence[str]) -> str:
    """Return the one word that squeue has for a state and its flags."""
    return next((flag for flag in _FLAGS if flag in states), str(states[0]))


def _load(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableOutput(
            f"slurmrestd: expected JSON, got {clean_text(text[:200])!r}."
        ) from error
    if not isinstance(found, dict):
        raise UnreadableOutput(f"slurmrestd: expected an object, got {type(found).__name__}.")
    return found


class _Reader:
    """Text that arrives in pieces; what has been read of it is forgotten."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._texts = codecs.iterdecode(iter(pieces), "utf-8", errors="replace")
        self._text = ""

    def until(self, pattern: re.Pattern[str]) -> str | None:
        """Return the text before `pattern` and its key, or None where it does not come."""
        while (match := pattern.search(self._text)) is None:
            if not self._more():
                return None
        before = self._text[: match.end() - 1]
        self._text = self._text[match.end() :]
        return before

    def items(self) -> Iterator[dict[str, Any]]:
        """Give the objects of a list, and leave what comes after its closing bracket."""
        while True:
            start = self._skip()
            if self._text[start] == "]":
                self._text = self._text[start + 1 :]
                return
            try:
                item, end = _DECODER.raw_decode(self._text, start)
            except (ValueError, RecursionError):
                if self._more():
                    continue
                raise UnreadableOutput("slurmrestd: the list of jobs is cut off.") from None
            self._text = self._text[end:]
            if not isinstance(item, dict):
                raise UnreadableOutput(f"slurmrestd: expected a job, got {item!r:.80}.")
            yield item

    def rest(self) -> str:
        """Return all that has not been read."""
        while self._more():
            pass
        return self._text

    def _skip(self) -> int:
        """Return where the next item or the closing bracket is."""
        while True:
            match = _BETWEEN.match(self._text)
            if match is not None and match.end() < len(self._text):
                return match.end()
            if not self._more():
                raise UnreadableOutput("slurmrestd: the list of jobs is cut off.")

    def _more(self) -> bool:
        if len(self._text) > MOST_CHARACTERS:
            raise UnreadableOutput(f"slurmrestd: over {MOST_CHARACTERS} characters in one piece.")
        text = next(self._texts, None)
        self._text += text or ""
        return text is not None
