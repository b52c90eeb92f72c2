"""Which worker this is, in Slurm's words."""

from typing import Mapping, NamedTuple


class Identity(NamedTuple):
    """A worker's name in the spool, and the job and job array it belongs to."""

    name: str
    job: int
    array_job: int

    @property
    def number(self) -> str:
        """Which worker of the array it is, however often its task was restarted."""
        return self.name.partition(".")[0]


class TaskIdentity(NamedTuple):
    """An array task: which, how often Slurm has restarted it, its job and its job array."""

    task: int
    restarts: int
    job: int
    array_job: int

    def worker(self, index: int) -> Identity:
        """Return the identity of one of the task's workers, by its index in the array."""
        return Identity("%d.%d" % (index, self.restarts), self.job, self.array_job)


def read_identity(environ: Mapping[str, str]) -> TaskIdentity:
    """Return the identity that Slurm gave this task; outside of Slurm, one to try things with.

    SLURM_RESTART_COUNT is unset in the first run and 1 after the first requeue (field.md 5.4).
    """
    job = int(environ.get("SLURM_JOB_ID", "0"))
    task = int(environ.get("SLURM_ARRAY_TASK_ID", "0"))
    restarts = int(environ.get("SLURM_RESTART_COUNT", "0"))
    return TaskIdentity(task, restarts, job, int(environ.get("SLURM_ARRAY_JOB_ID", job)))
