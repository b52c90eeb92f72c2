"""Slurm by its commands, over any session. Building and reading are pure; tested on recordings.

Sources: sbatch(1), squeue(1), sacct(1), scancel(1). Job names are ours (a prefix and hexadecimal
digits), so no field that we ask for can carry a separator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from bridge.errors import (
    CommandTimeout,
    PolicyLimit,
    SlurmError,
    SlurmUnavailable,
    SubmitRejected,
    UnreadableOutput,
)
from bridge.sessions.base import Completed, UserSession
from bridge.slurm.port import JobRow

# sbatch itself sleeps up to 120 s when the controller's queue is full (field.md 4.1).
SUBMIT_TIMEOUT_S = 150.0
ASK_TIMEOUT_S = 60.0
# What slurm_strerror(3) says when a limit, and not the request, is in the way.
_LIMIT = re.compile(
    r"limit|MaxSubmit|QOSMax|AssocMax|AssocGrp|QOSGrp|Job violates accounting/QOS policy"
    r"|temporarily",
    re.IGNORECASE,
)
# ... and when no answer came from slurmctld: it may have taken the job all the same.
_UNCLEAR = re.compile(
    r"Socket timed out|Unable to contact slurm controller|Connection (refused|reset|timed out)"
    r"|Zero Bytes were transmitted|Transport endpoint|slurm_receive_msg|communication|Slurmctld"
    r"|backup mode|in standby",
    re.IGNORECASE,
)
_SQUEUE_FORMAT = "%j|%u|%F|%K|%T|%r|%N"
_SACCT_FORMAT = "JobName,User,JobID,State,ExitCode,Reason,NodeList"
_ARRAY_ID = re.compile(r"(\d+)(?:_(\d+|\[[^\]]*\]))?\Z")


def build_submit() -> list[str]:
    """Return the argument list; the script goes to standard input."""
    return ["sbatch", "--parsable"]


def parse_submit(done: Completed) -> int:
    """Return the job id that sbatch printed, or raise what its refusal means."""
    text = done.stdout.decode(errors="replace").strip()
    match = re.match(r"(\d+)(?:;\S+)?\Z", text.splitlines()[-1] if text else "")
    if done.exit_status == 0 and match:
        return int(match[1])
    said = (done.stderr.decode(errors="replace").strip() or text)[-500:]
    if done.exit_status == 0:
        raise UnreadableOutput(f"sbatch --parsable: expected a job id, got {said!r}.")
    if _UNCLEAR.search(said):
        raise SlurmUnavailable(f"sbatch got no clear answer: {said}")
    if _LIMIT.search(said):
        raise PolicyLimit(f"Slurm refuses for now: {said}")
    raise SubmitRejected(f"Slurm refused the submission: {said}")


def build_states(names: Collection[str]) -> list[str]:
    """Return the squeue line for the jobs of these names."""
    return [
        "squeue", "--noheader", "--all", "--states=all", f"--name={','.join(sorted(names))}",
        f"--format={_SQUEUE_FORMAT}",
    ]  # fmt: skip


def parse_states(text: str) -> list[JobRow]:
    """Read squeue's lines."""
    rows = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) != 7 or not parts[2].isdigit():
            raise UnreadableOutput(f"squeue: expected {_SQUEUE_FORMAT}, got {line[:200]!r}.")
        name, username, job, index, state, reason, nodes = parts
        rows.append(
            JobRow(
                name,
                username,
                int(job),
                int(index) if index.isdigit() else None,
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
    for line in text.splitlines():
        parts = line.split("|")
        match = _ARRAY_ID.match(parts[2]) if len(parts) == 7 else None
        if match is None:
            raise UnreadableOutput(f"sacct: expected {_SACCT_FORMAT}, got {line[:200]!r}.")
        name, username, _, state, exit_code, reason, nodes = parts
        index = match[2]
        rows.append(
            JobRow(
                name,
                username,
                int(match[1]),
                int(index) if index and index.isdigit() else None,
                state.split()[0],
                exit_code,
                "" if reason == "None" else reason,
                "" if nodes == "None assigned" else nodes,
            )
        )
    return rows


def build_cancel(array_job_id: int, name: str) -> list[str]:
    """Return the scancel line: id and name must both match, or nothing happens (field.md 5.6)."""
    return ["scancel", "--quiet", f"--name={name}", str(array_job_id)]


class SlurmCommands:
    """The port over Slurm's commands.

    Args:
        observer: opens the bridge's own session, on a host with Slurm's commands.
    """

    def __init__(self, observer: Callable[[], UserSession]) -> None:
        self._observer = observer

    def submit(self, session: UserSession, script: str) -> int:
        """See `SlurmPort.submit`."""
        try:
            done = session.run(build_submit(), stdin=script.encode(), timeout_s=SUBMIT_TIMEOUT_S)
        except CommandTimeout as error:
            raise SlurmUnavailable(f"sbatch did not end in {SUBMIT_TIMEOUT_S:.0f} s.") from error
        return parse_submit(done)

    def states(self, names: Collection[str]) -> list[JobRow]:
        """See `SlurmPort.states`."""
        return parse_states(self._ask(build_states(names))) if names else []

    def accounting(self, names: Collection[str], since: datetime) -> list[JobRow]:
        """See `SlurmPort.accounting`."""
        if not names:
            return []
        return parse_accounting(self._ask(build_accounting(names, since), {"TZ": "UTC"}))

    def cancel(self, session: UserSession, array_job_id: int, name: str) -> None:
        """See `SlurmPort.cancel`."""
        done = session.run(build_cancel(array_job_id, name), timeout_s=ASK_TIMEOUT_S)
        said = done.stderr.decode(errors="replace").strip()[-500:]
        if done.exit_status != 0 and "Invalid job id" not in said:
            raise SlurmUnavailable(f"scancel of job {array_job_id} failed: {said}")

    def _ask(self, argv: list[str], env: dict[str, str] | None = None) -> str:
        plain = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **(env or {})}
        try:
            done = self._observer().run(argv, timeout_s=ASK_TIMEOUT_S, env=plain)
        except CommandTimeout as error:
            raise SlurmUnavailable(f"{argv[0]} did not end in {ASK_TIMEOUT_S:.0f} s.") from error
        if done.exit_status != 0:
            said = done.stderr.decode(errors="replace").strip()[-500:]
            if _UNCLEAR.search(said):
                raise SlurmUnavailable(f"{argv[0]} got no answer: {said}")
            raise SlurmError(f"{argv[0]} failed with {done.exit_status}: {said}")
        return done.stdout.decode(errors="replace")
