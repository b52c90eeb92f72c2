"""The port: what the bridge asks of Slurm, and Slurm's states as one table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bridge.sessions.base import UserSession

# squeue(1), section JOB STATE CODES: the states after which a job does not run again by itself.
FINAL_STATES = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
)
# ... and those in which a task that has run already waits to be run again.
REQUEUED_STATES = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})


@dataclass(frozen=True)
class JobRow:
    """What Slurm says of one array task, or of the not yet started ones of an array together.

    Attributes:
        name: the job's name; an id is believed only together with it.
        username: the job's owner.
        array_job_id: the id that sbatch gave.
        task_index: the array task; None for those that have not started.
        state: Slurm's word, without what may follow it (``CANCELLED by 0`` is ``CANCELLED``).
        exit_code: Slurm's ``code:signal``.
        reason: Slurm's reason, or empty.
        nodes: where it runs or ran.
    """

    name: str
    username: str
    array_job_id: int
    task_index: int | None
    state: str
    exit_code: str = ""
    reason: str = ""
    nodes: str = ""

    @property
    def is_final(self) -> bool:
        """Whether this task has ended for good."""
        return self.state in FINAL_STATES


class SlurmPort(Protocol):
    """One cluster's Slurm. One call each, however many jobs there are."""

    def check(self) -> str:
        """Ask what this Slurm is, once at the start; return it for the log.

        Raises:
            SettingsError: it cannot be asked in the way that the site file says.
            SlurmUnavailable: it cannot be reached at the moment.
        """
        ...

    def submit(self, session: UserSession, script: str) -> int:
        """Submit `script` as the session's user; return the (array) job id.

        Raises:
            PolicyLimit: a limit is reached; later it may work.
            SubmitRejected: Slurm will not take this submission.
            SlurmUnavailable: no answer or an unclear one: it may or may not have been taken.
        """
        ...

    def states(self, names: Collection[str]) -> list[JobRow]:
        """Return what slurmctld knows of the jobs of these names, ended ones included."""
        ...

    def accounting(self, names: Collection[str], since: datetime) -> list[JobRow]:
        """Return what slurmdbd knows of them."""
        ...

    def cancel(self, session: UserSession, array_job_id: int, name: str) -> None:
        """Cancel the job of this id, if it bears this name; no error when there is none."""
        ...

    def cancel_waiting(
        self, session: UserSession, array_job_id: int, name: str, tasks: Collection[int]
    ) -> None:
        """Cancel those of the job's `tasks` that have not started; nothing that runs.

        A kindness to the queue: where a Slurm cannot do exactly that, nothing happens.
        """
        ...
