"""A Slurm cluster: how it is reached, and how the bridge works on it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bridge.core.accounts import AccountPolicy
from bridge.sites.table import Table
from bridge.sites.ways import Slurmrestd, Ssh, Sudo


class BatchPolicy(Table):
    """What an actor's `batch` object may ask of the cluster; by default close to nothing."""

    max_time_limit_s: int = Field(86_400, gt=59, description="Longest array task, seconds.")
    max_cpus: int = Field(1, gt=0, description="CPUs of a worker at most.")
    max_memory_mib: int = Field(4096, gt=0, description="Memory of a worker at most, MiB.")
    max_gpus: int = Field(0, ge=0, description="GPUs of a worker at most.")
    max_nodes: int = Field(1, gt=0, description="Nodes of one message at most (MPI).")
    max_ntasks: int = Field(1, gt=0, description="Slurm tasks of one message at most (MPI).")
    max_retries: int = Field(
        0, ge=0, description="How often a message that the cluster lost may be run again at most."
    )
    partitions: tuple[str, ...] = Field((), description="Partitions that may be named.")
    accounts: tuple[str, ...] = Field((), description="Slurm accounts that may be named.")
    qos: tuple[str, ...] = Field((), description="QOS that may be named.")
    constraints: tuple[str, ...] = Field((), description="Node features that may be asked for.")
    reuse: tuple[Literal["none"], ...] = Field(
        ("none",), description="How containers may be started (design section 5)."
    )


class Cluster(Table):
    """One Slurm cluster and how the bridge works on it."""

    session: Literal["setuid", "sudo", "ssh", "local"] = Field(
        "setuid", description="How the scheduler becomes the actor's owner (design section 4)."
    )
    sudo: Sudo = Sudo()
    ssh: Ssh | None = Field(None, description='Required by `session = "ssh"`.')
    slurm: Literal["commands", "slurmrestd", "pyslurm"] = Field(
        "commands", description="How Slurm is asked."
    )
    slurmrestd: Slurmrestd | None = Field(None, description='Required by `slurm = "slurmrestd"`.')
    spool: str = Field(
        description="Directory of the owner's on the shared filesystem; {login} is the account "
        "that the owner has on the cluster, {username} the same."
    )
    image_cache: Path = Field(
        description="Directory on the shared filesystem that the bridge's service user owns."
    )
    image_cache_max_bytes: int | None = Field(
        None, gt=0, description="Size of the cache at most; the longest unused go first, bytes."
    )
    image_cache_max_age_s: int | None = Field(
        None, gt=0, description="An image that nobody used for so long is removed, seconds."
    )
    partition: str | None = Field(None, description="Slurm partition; none: Slurm's default.")
    account: str | None = Field(None, description="Slurm account; none: the owner's default.")
    qos: str | None = Field(None, description="Slurm QOS; none: Slurm's default.")
    time_limit_s: int = Field(3600, gt=59, description="Time limit of an array task, seconds.")
    cpus_per_task: int = Field(1, gt=0, description="CPUs of one worker.")
    memory_mib: int = Field(1024, gt=0, description="Memory of one worker, MiB.")
    max_tasks_per_array: int = Field(
        100, gt=0, le=4_000_000, description="Workers of one array at most; under MaxArraySize."
    )
    max_workers_per_actor: int = Field(6, gt=0, description="Where an actor names no number.")
    target_task_s: int = Field(600, gt=0, description="Estimated work of one worker, seconds.")
    max_messages_per_array: int = Field(
        10_000, gt=0, le=10_000, description="Bound of one array's spool."
    )
    idle_timeout_s: float = Field(
        30.0, ge=0, description="How long one worker of an actor waits for further messages, "
        "seconds; 0: none does, and nothing is fed to arrays that run."
    )  # fmt: skip
    standing_timeout_s: float = Field(
        600.0, ge=0, description="The same for the workers that an admin asked for."
    )
    linger_s: float = Field(1.0, ge=0, description="Waiting for a burst to arrive whole, seconds.")
    lost_after_s: float = Field(
        30.0, gt=0, description="A submission that Slurm does not know after this is lost, seconds."
    )
    fence_grace_s: float = Field(
        5.0, ge=0, description="Attribute cache time of the shared filesystem, seconds."
    )
    max_run_time_s: int = Field(0, ge=0, description="Time limit of one execution; 0: the task's.")
    kill_grace_s: float = Field(10.0, ge=0, description="From SIGTERM to SIGKILL, seconds.")
    access_token_lifetime_s: int = Field(
        14_400, gt=0, description="Lifetime of `_abaco_access_token`; an array task's time limit "
        "is added, seconds."
    )  # fmt: skip
    min_uid: int = Field(1000, gt=0, description="Nothing runs under a lower uid.")
    forbidden_users: tuple[str, ...] = Field(
        (), description="Accounts under which nothing runs, whatever their uid."
    )
    forbidden_groups: tuple[str, ...] = Field(
        (), description="Groups (names or numbers) whose members run nothing."
    )
    node_python: str = Field("/usr/bin/python3", description="Python 3.6 or later on every node.")
    apptainer: str = Field("apptainer", description="The container runtime on the nodes.")
    batch: BatchPolicy = BatchPolicy()
    insecure_registries: tuple[str, ...] = Field(
        (), description="Registries (host:port) that are asked over plain HTTP."
    )

    @property
    def account_policy(self) -> AccountPolicy:
        """Under which accounts nothing runs here."""
        return AccountPolicy(self.min_uid, self.forbidden_users, self.forbidden_groups)
