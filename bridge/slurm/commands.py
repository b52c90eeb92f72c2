"""Slurm by its commands, over any session. Building and reading are pure; tested on recordings.

Sources: sbatch(1), squeue(1), sacct(1), scancel(1). Job names are ours (a prefix and hexadecimal
digits), so no field that we ask for can carry a separator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime

from bridge.errors import (
    CommandTimeout,
    ConnectFailed,
    SessionError,
    SlurmError,
    SlurmUnavailable,
    UnreadableOutput,
)
from bridge.sessions.base import Completed, UserSession
from bridge.slurm.port import JobRow
from bridge.slurm.refusals import is_unclear, submit_error

# sbatch itself sleeps up to 120 s when the controller's queue is full (field.md 4.1).
SUBMIT_TIMEOUT_S = 150.0
# squeue and sacct give up on a daemon that is away after 10 s or so (MessageTimeout).
ASK_TIMEOUT_S = 30.0
# One argument of a program has 128 KiB at most on Linux, and a name with its comma 40 bytes.
NAMES_PER_CALL = 3000
# Before 23.02 Slurm knows no --export=NIL (field.md 5.7).
_WITH_NIL = (23, 2)
# scancel of 22.05 that is told a name or a state cancels all of an array that waits where some of
# its tasks are meant (tried with every form of the id); from here on it was seen to do as told.
_WITH_TASKS = (24, 11)
# scancel fails where there is nothing to cancel; with --quiet it does so without a word.
_GONE = re.compile(r"Invalid job id|already completing or completed")
_SQUEUE_FORMAT = "%j|%u|%F|%K|%T|%r|%N"
_SACCT_FORMAT = "JobName,User,JobID,State,ExitCode,Reason,NodeList"
_VERSION = re.compile(r"slurm(?:-wlm)? ([0-9]{2})\.([0-9]{2})\.")
_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_ARRAY_ID = re.compile(r"([0-9]{1,18})(?:_([0-9]{1,18}|\[[^\]]*\]))?\Z")
_STATE = re.compile(r"[A-Z_]+(?: by [0-9]+|\+)?\Z")


def parse_version(text: str) -> tuple[int, int]:
    """Return year and month of the release in what ``sbatch --version`` prints."""
    match = _VERSION.match(text)
    if match is None:
        raise UnreadableOutput(f"sbatch --version: expected a version, got {text[:200]!r}.")
    return int(match[1]), int(match[2])


def build_submit(version: tuple[int, int]) -> list[str]:
    """Return the argument list; the script goes to standard input.

    The script says ``--export=NIL``. Before 23.02 Slurm took that for the name of a variable and
    had the user's login shell make an environment (field.md 5.7). There sbatch hands on its own
    environment, which is the session's plain one, and the word here counts for more than the line.
    """
    return ["sbatch", "--parsable", *([] if version >= _WITH_NIL else ["--export=ALL"])]


def parse_submit(done: Completed) -> int:
    """Return the job id that sbatch printed, or raise what its refusal means."""
    text = done.stdout.decode(errors="replace").strip()
    match = re.match(r"([0-9]{1,18})(?:;\S+)?\Z", text.splitlines()[-1] if text else "")
    if done.exit_status == 0 and match:
        return int(match[1])
    said = done.complaint
    if done.exit_status == 0:
        raise UnreadableOutput(f"sbatch --parsable: expected a job id, got {said!r}.")
    raise submit_error("sbatch", said)


def build_states(names: Collection[str]) -> list[str]:
    """Return the squeue line for the jobs of these names."""
    return [
        "squeue", "--noheader", "--all", "--states=all", f"--name={','.join(sorted(names))}",
        f"--format={_SQUEUE_FORMAT}",
    ]  # fmt: skip


def parse_states(text: str) -> list[JobRow]:
    """Read squeue's lines."""
    rows = []
    for line in _lines(text):
        parts = line.split("|")
        if len(parts) != 7 or not _NUMBER.match(parts[2]) or not _STATE.match(parts[4]):
            raise UnreadableOutput(f"squeue: expected {_SQUEUE_FORMAT}, got {line[:200]!r}.")
        name, username, job, index, state, reason, nodes = parts
        rows.append(
            JobRow(
                name,
                username,
                int(job),
                int(index) if _NUMBER.match(index) else None,
                state.split()[0],
                reason="" if reason == "None" else reason,
                nodes=nodes,
            )
        )
    return rows


def build_accounting(names: Collection[str], since: datetime) -> list[str]:
    """Return the sacct line for the jobs of these names, started or submitted after `since`."""
    # sacct reads local time; the agent's environment has no TZ, so ask in the host's own zone.
    start = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return [
        "sacct", "--noheader", "--parsable2", "--allusers", "--allocations", "--duplicates",
        f"--name={','.join(sorted(names))}", f"--starttime={start}", f"--format={_SACCT_FORMAT}",
    ]  # fmt: skip


def parse_accounting(text: str) -> list[JobRow]:
    """Read sacct's lines."""
    rows = []
    for line in _lines(text):
        parts = line.split("|")
        match = _ARRAY_ID.match(parts[2]) if len(parts) == 7 else None
        if match is None or not _STATE.match(parts[3]):
            raise UnreadableOutput(f"sacct: expected {_SACCT_FORMAT}, got {line[:200]!r}.")
        name, username, _, state, exit_code, reason, nodes = parts
        index = match[2]
        rows.append(
            JobRow(
                name,
                username,
                int(match[1]),
                int(index) if index and _NUMBER.match(index) else None,
                state.split()[0],
                exit_code,
                "" if reason == "None" else reason,
                "" if nodes == "None assigned" else nodes,
            )
        )
    return rows


def build_cancel(array_job_id: int, name: str) -> list[str]:
    """Return the scancel line: id and name must both match, or nothing happens (field.md 5.6)."""
    return ["scancel", f"--name={name}", str(array_job_id)]


def build_cancel_waiting(array_job_id: int, name: str, tasks: Collection[int]) -> list[str]:
    """Return the scancel line for array tasks that wait; one that has started is left alone."""
    listed = ",".join(str(index) for index in sorted(tasks))
    return ["scancel", f"--name={name}", "--state=PENDING", f"{array_job_id}_[{listed}]"]


def check_cancel(done: Completed) -> None:
    """Raise what scancel's failure means; that there is nothing to cancel is none."""
    if done.exit_status == 0 or _GONE.search(done.complaint):
        return
    if is_unclear(done.complaint):
        raise SlurmUnavailable(f"scancel got no clear answer: {done.complaint}")
    raise SlurmError(f"scancel failed with {done.exit_status}: {done.complaint}")


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


class SlurmCommands:
    """The port over Slurm's commands.

    Args:
        observer: opens the bridge's own session, on a host with Slurm's commands.
    """

    def __init__(self, observer: Callable[[], UserSession]) -> None:
        self._observer = observer
        self._version: tuple[int, int] | None = None

    def check(self) -> str:
        """See `SlurmPort.check`."""
        year, month = self._read_version()
        return f"Slurm {year}.{month:02}"

    def submit(self, session: UserSession, script: str) -> int:
        """See `SlurmPort.submit`."""
        argv = build_submit(self._version or self._read_version())
        try:
            done = session.run(argv, stdin=script.encode(), timeout_s=SUBMIT_TIMEOUT_S)
        except (CommandTimeout, ConnectFailed) as error:
            raise SlurmUnavailable(f"sbatch may or may not have run: {error.message}") from error
        return parse_submit(done)

    def states(self, names: Collection[str]) -> list[JobRow]:
        """See `SlurmPort.states`."""
        return [
            row for some in _in_calls(names) for row in parse_states(self._ask(build_states(some)))
        ]

    def accounting(self, names: Collection[str], since: datetime) -> list[JobRow]:
        """See `SlurmPort.accounting`."""
        return [
            row
            for some in _in_calls(names)
            for row in parse_accounting(self._ask(build_accounting(some, since), {"TZ": "UTC"}))
        ]

    def cancel(self, session: UserSession, array_job_id: int, name: str) -> None:
        """See `SlurmPort.cancel`."""
        check_cancel(session.run(build_cancel(array_job_id, name), timeout_s=ASK_TIMEOUT_S))

    def cancel_waiting(
        self, session: UserSession, array_job_id: int, name: str, tasks: Collection[int]
    ) -> None:
        """See `SlurmPort.cancel_waiting`."""
        if (self._version or self._read_version()) < _WITH_TASKS:
            return  # they start, find in the spool that they are to leave, and do so
        argv = build_cancel_waiting(array_job_id, name, tasks)
        check_cancel(session.run(argv, timeout_s=ASK_TIMEOUT_S))

    def _read_version(self) -> tuple[int, int]:
        self._version = parse_version(self._ask(["sbatch", "--version"]))
        return self._version

    def _ask(self, argv: list[str], env: dict[str, str] | None = None) -> str:
        plain = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **(env or {})}
        try:
            done = self._observer().run(argv, timeout_s=ASK_TIMEOUT_S, env=plain)
        except SessionError as error:
            raise SlurmUnavailable(f"{argv[0]} could not be run: {error.message}") from error
        if done.exit_status != 0:
            if is_unclear(done.complaint):
                raise SlurmUnavailable(f"{argv[0]} got no answer: {done.complaint}")
            raise SlurmError(f"{argv[0]} failed with {done.exit_status}: {done.complaint}")
        if done.cut:  # what is missing would be taken for jobs that Slurm does not know
            raise UnreadableOutput(f"{argv[0]}: over {len(done.stdout)} bytes, cut by the agent.")
        return done.stdout.decode(errors="replace")


def _in_calls(names: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(names)
    for first in range(0, len(ordered), NAMES_PER_CALL):
        yield ordered[first : first + NAMES_PER_CALL]
