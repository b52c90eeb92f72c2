"""Which worker this is, in Slurm's words."""

from typing import Mapping, NamedTuple


class Identity(NamedTuple):
    """A worker's name in the spool, and the job and job array it belongs to."""

    name: str
    job: int
    array_job: int

    @property
    def task(self) -> str:
        """The index of the array task, which a restart does not change."""
        return self.name.partition(".")[0]


def read_identity(environ: Mapping[str, str]) -> Identity:
    """Return the identity that Slurm gave this task; outside of Slurm, one to try things with.

    SLURM_RESTART_COUNT is unset in the first run and 1 after the first requeue (field.md 5.4).
    """
    job = int(environ.get("SLURM_JOB_ID", "0"))
    task = int(environ.get("SLURM_ARRAY_TASK_ID", "0"))
    restarts = int(environ.get("SLURM_RESTART_COUNT", "0"))
    return Identity("%d.%d" % (task, restarts), job, int(environ.get("SLURM_ARRAY_JOB_ID", job)))
