"""Slurm by pyslurm: the port over `bridge.slurm.pyslurm_program`, run through sessions.

pyslurm itself is never loaded here. Known limits, all of pyslurm 25.11's: it cannot cancel only
what waits, so workers that are not needed start, find that in the spool, and leave; what runs of an
array is cancelled task by task (in one process); of a job that was requeued the accounting gives
the last run alone; each look reads the jobs of the whole cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from bridge.errors import (
    CommandTimeout,
    ConnectFailed,
    FileRefused,
    PolicyLimit,
    SessionError,
    SettingsError,
    SlurmError,
    SlurmUnavailable,
    SubmitRejected,
    UnreadableOutput,
)
from bridge.sessions.base import Completed, UserSession, clean_text
from bridge.slurm.port import FINAL_STATES, JobRow
from bridge.slurm.pyslurm_body import build_description
from bridge.slurm.refusals import is_unclear, submit_error

# As long as sbatch's own patience, and as long as squeue's (bridge.slurm.commands).
SUBMIT_TIMEOUT_S = 150.0
ASK_TIMEOUT_S = 30.0
# The release whose interface the program is written for.
RELEASE = "25.11"
_NEEDS = 'slurm = "pyslurm" needs'
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_RELEASE = re.compile(r"[0-9]{2}\.[0-9]{2}(?=\.|\Z)")
# A row of the program's answer, in the order of JobRow.
_ROW = (str, str, int, int | None, str, str, str, str)


class SlurmPyslurm:
    """The port over pyslurm on the submit host.

    Args:
        observer: opens the bridge's own session.
        python: a Python there that can import pyslurm.
    """

    def __init__(self, observer: Callable[[], UserSession], python: str) -> None:
        self._observer = observer
        self._python = python

    def check(self) -> str:
        """See `SlurmPort.check`."""
        try:
            done = self._run(self._observer(), {"do": "version"}, ASK_TIMEOUT_S)
        except FileRefused as error:
            raise SettingsError(f"{_NEEDS} {self._python} there: {error.message}") from error
        except SessionError as error:
            raise SlurmUnavailable(f"pyslurm could not be asked: {error.message}") from error
        answer = _read_answer(done)
        refused = answer.get("refused")
        if refused is not None and refused["kind"] == "import":
            raise SettingsError(self._not_there(refused["said"]))
        _raise_refusal(refused)
        library, cluster = str(answer.get("pyslurm")), str(answer.get("slurm"))
        if _release(library) != RELEASE:
            raise SettingsError(f"{_NEEDS} pyslurm {RELEASE}; {self._python} has {library:.40}.")
        if _release(cluster) != RELEASE:
            raise SettingsError(f"{_NEEDS} Slurm {RELEASE}; the cluster's is {cluster:.40}.")
        return f"pyslurm {library:.40} of Slurm {cluster:.40}"

    def submit(self, session: UserSession, script: str) -> int:
        """See `SlurmPort.submit`."""
        request = {"do": "submit", "job": build_description(script)}
        try:
            done = self._run(session, request, SUBMIT_TIMEOUT_S)
        except (CommandTimeout, ConnectFailed) as error:
            raise SlurmUnavailable(f"pyslurm may or may not have run: {error.message}") from error
        answer = _read_answer(done)
        if (refused := answer.get("refused")) is not None:
            self._raise_submit_refusal(refused)
        job = answer.get("job_id")
        if type(job) is not int or job < 1:
            raise UnreadableOutput(f"pyslurm: expected a job_id, got {job!r:.80}.")
        return job

    def states(self, names: Collection[str]) -> list[JobRow]:
        """See `SlurmPort.states`."""
        return self._ask_rows({"do": "states", "names": sorted(names)})

    def accounting(self, names: Collection[str], since: datetime) -> list[JobRow]:
        """See `SlurmPort.accounting`."""
        request = {"do": "accounting", "names": sorted(names), "since": int(since.timestamp())}
        return self._ask_rows(request)

    def cancel(self, session: UserSession, array_job_id: int, name: str) -> None:
        """See `SlurmPort.cancel`."""
        request = {
            "do": "cancel",
            "job_id": array_job_id,
            "name": name,
            "ended": sorted({*FINAL_STATES, "COMPLETING"}),
        }
        _raise_refusal(_read_answer(self._run(session, request, ASK_TIMEOUT_S)).get("refused"))

    def cancel_waiting(
        self, session: UserSession, array_job_id: int, name: str, tasks: Collection[int]
    ) -> None:
        """Do nothing: pyslurm's cancelling does not look at a state, and would end what runs."""

    def _ask_rows(self, request: dict[str, Any]) -> list[JobRow]:
        if not request["names"]:
            return []
        try:
            done = self._run(self._observer(), request, ASK_TIMEOUT_S)
        except SessionError as error:
            raise SlurmUnavailable(f"pyslurm could not be asked: {error.message}") from error
        if done.cut:  # what is missing would be taken for jobs that Slurm does not know
            raise UnreadableOutput(f"pyslurm: over {len(done.stdout)} bytes, cut by the agent.")
        answer = _read_answer(done)
        _raise_refusal(answer.get("refused"))
        rows = answer.get("rows")
        if not isinstance(rows, list):
            raise UnreadableOutput(f"pyslurm: expected rows, got {rows!r:.80}.")
        return [_read_row(row) for row in rows]

    def _run(self, session: UserSession, request: dict[str, Any], timeout_s: float) -> Completed:
        return session.run(
            [self._python, "-I", "-c", _program()],
            stdin=json.dumps(request).encode(),
            timeout_s=timeout_s,
            env=_ENVIRONMENT,
        )

    def _raise_submit_refusal(self, refused: dict[str, Any]) -> NoReturn:
        said = refused["said"]
        if refused["kind"] == "import":  # the site's mistake, not the request's
            raise PolicyLimit(self._not_there(said))
        if refused["kind"] == "description":
            raise SubmitRejected(f"pyslurm refused the submission: {said}")
        if _is_unclear(refused):
            raise SlurmUnavailable(f"pyslurm got no clear answer: {said}")
        raise submit_error("pyslurm", said)

    def _not_there(self, said: str) -> str:
        return (
            f"{_NEEDS} a Python on the submit host that can import pyslurm {RELEASE} "
            f"(clusters.NAME.pyslurm_python); {self._python} said: {said}"
        )


@cache
def _program() -> str:
    return Path(__file__).with_name("pyslurm_program.py").read_text(encoding="utf-8")


def _release(version: str) -> str:
    match = _RELEASE.match(version)
    return match[0] if match else ""


def _read_answer(done: Completed) -> dict[str, Any]:
    """Return what the program answered; that counts even if the library fell over afterwards."""
    if not done.stdout:
        raise SlurmUnavailable(
            f"pyslurm ended with {done.exit_status} before it answered: {done.complaint}"
        )
    try:
        answer = json.loads(done.stdout)
    except (ValueError, RecursionError) as error:
        raise UnreadableOutput(f"pyslurm: expected JSON, got {done.complaint[:200]!r}.") from error
    if not isinstance(answer, dict):
        raise UnreadableOutput(f"pyslurm: expected an object, got {done.complaint[:200]!r}.")
    if "refused" in answer:
        answer["refused"] = _read_refusal(answer["refused"])
    return answer


def _read_refusal(refused: Any) -> dict[str, Any]:
    try:
        return {
            "kind": str(refused["kind"]),
            "errno": int(refused["errno"]),
            "said": clean_text(str(refused["said"]))[:500],
        }
    except (LookupError, TypeError, ValueError) as error:
        raise UnreadableOutput(f"pyslurm: expected a refusal, got {refused!r:.200}.") from error


def _raise_refusal(refused: dict[str, Any] | None) -> None:
    if refused is None:
        return
    if refused["kind"] == "slurm" and _is_unclear(refused):
        raise SlurmUnavailable(f"pyslurm got no answer: {refused['said']}")
    raise SlurmError(f"pyslurm: {refused['said']}")


def _is_unclear(refused: dict[str, Any]) -> bool:
    """Whether nothing came from Slurm itself.

    In slurm_errno.h what is below 1900 is about the way to a daemon or the system's own, what is
    from 5000 on about sockets, credentials and the database; between are refusals. -1 is what
    pyslurm has where Slurm gave no reason.
    """
    errno = refused["errno"]
    return errno < 1900 or 5000 <= errno < 8000 or is_unclear(refused["said"])


def _read_row(row: Any) -> JobRow:
    if (
        not isinstance(row, list)
        or len(row) != len(_ROW)
        or not all(isinstance(value, kind) for value, kind in zip(row, _ROW, strict=True))
    ):
        raise UnreadableOutput(f"pyslurm: expected a row of a job, got {row!r:.200}.")
    name, username, job, index, state, exit_code, reason, nodes = row
    return JobRow(
        name=name,
        username=username,
        array_job_id=job,
        task_index=index,
        state=state,
        exit_code=exit_code,
        reason="" if reason == "None" else clean_text(reason),
        nodes="" if nodes == "None assigned" else clean_text(nodes),
    )
