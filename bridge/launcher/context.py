"""All that the batch script needs, decided before the template sees it."""

from __future__ import annotations

from dataclasses import dataclass

JOB_NAME_PREFIX = "bridge-"


def job_name(array_id: str) -> str:
    """Return the Slurm job name of an array: the token by which Slurm is asked for it."""
    return JOB_NAME_PREFIX + array_id


@dataclass(frozen=True)
class ArrayContext:
    """One job array's script. Each field is a variable of launcher_templates/array_task.sh.j2.

    Attributes:
        job_name: the token's name, ours alone.
        task_count: array tasks.
        time_limit_s: of each task.
        signal_s: how long before its end a worker is told to finish, seconds.
        nodes: nodes of each array task, or None for as few as hold it.
        ntasks: Slurm tasks of each array task (MPI).
        cpus: CPUs of each Slurm task.
        memory_mib: memory of each node's share.
        gpus: GPUs on each node.
        exclusive: whether each array task has its nodes for itself.
        partition: Slurm partition, or None for Slurm's default.
        account: Slurm account, or None for the owner's default.
        qos: QOS, or None for Slurm's default.
        constraint: node feature that is needed, or None.
        spool: the array's directory.
        program: the zipapp with the worker.
        python: Python on the nodes.
    """

    job_name: str
    task_count: int
    time_limit_s: int
    signal_s: int
    nodes: int | None
    ntasks: int
    cpus: int
    memory_mib: int
    gpus: int
    exclusive: bool
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    spool: str
    program: str
    python: str
