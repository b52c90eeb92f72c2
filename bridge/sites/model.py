"""The site file as models: every key has its meaning, its unit and its default here.

Pydantic checks the whole file at once, so that one reading reports every mistake.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mount(_Table):
    """One directory of the cluster that the tenant's containers see."""

    host_path: str = Field(description="Path on the compute nodes; {username} is the owner's.")
    container_path: str = Field(description="Absolute path in the container.")
    mode: Literal["ro", "rw"] = Field("ro", description="Read-only or read-write.")

    @field_validator("host_path", "container_path")
    @classmethod
    def _absolute_and_plain(cls, value: str) -> str:
        bad = [c for c in value if c in ":,\\\n\0"]
        if not value.startswith("/") or bad or ".." in value.split("/"):
            raise ValueError("expected an absolute path without '..', ':', ',' or control marks")
        return value


class BatchPolicy(_Table):
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


class Cluster(_Table):
    """One Slurm cluster and how the bridge works on it."""

    session: Literal["setuid", "local"] = Field(
        "setuid", description="How the scheduler becomes the actor's owner (design section 4)."
    )
    slurm: Literal["commands"] = Field("commands", description="How Slurm is asked.")
    spool: str = Field(
        description="Directory of the owner's on the shared filesystem; {username} is the owner's."
    )
    image_cache: Path = Field(
        description="Directory on the shared filesystem that the bridge's service user owns."
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
    node_python: str = Field("/usr/bin/python3", description="Python 3.6 or later on every node.")
    apptainer: str = Field("apptainer", description="The container runtime on the nodes.")
    batch: BatchPolicy = BatchPolicy()
    insecure_registries: tuple[str, ...] = Field(
        (), description="Registries (host:port) that are asked over plain HTTP."
    )


class Tenant(_Table):
    """One Abaco tenant: who its users are and what they may use."""

    cluster: str = Field(description="Name of the cluster that runs this tenant's actors.")
    public_keys: tuple[Path, ...] = Field(
        min_length=1, description="PEM files whose keys may sign this tenant's tokens (RS256)."
    )
    private_key: Path | None = Field(
        None, description="PEM file that `bridge token create` signs with; only for sites without "
        "an issuer of their own."
    )  # fmt: skip
    user_role: str = Field("Internal/everyone", description="Role that plain use needs.")
    admin_role: str = Field("Internal/abaco-admin", description="Role with every right.")
    privileged_role: str = Field(
        "Internal/abaco-privileged", description="Role that may set restricted actor fields."
    )
    partition: str | None = Field(None, description="Overrides the cluster's partition.")
    account: str | None = Field(None, description="Overrides the cluster's Slurm account.")
    qos: str | None = Field(None, description="Overrides the cluster's QOS.")
    mounts: tuple[Mount, ...] = Field((), description="Directories that containers see.")
    run_as_executor: bool = Field(
        False, description="Whether actors may run as the user who sent the message."
    )
    default_token: bool = Field(False, description="Abaco's `token` field where none is given.")
    webhook_key_file: Path | None = Field(
        None,
        description="File with the secret that this tenant's webhook requests are signed with, at "
        "least 16 bytes; none: they carry no signature.",
    )


class Limits(_Table):
    """Limits of the whole site."""

    max_message_bytes: int = Field(
        500_000_000, gt=0, le=2**40, description="Largest binary message, bytes."
    )
    max_text_message_bytes: int = Field(
        1_048_576, gt=0, description="Largest form or JSON body, bytes."
    )
    max_batch_messages: int = Field(10_000, gt=0, description="Most messages of one batch.")
    max_batch_bytes: int = Field(8_388_608, gt=0, description="Largest body of a batch, bytes.")
    max_log_length: int = Field(
        1_000_000, gt=0, description="Characters of an execution's log that are kept."
    )
    log_ex_s: int = Field(43_200, gt=0, description="Lifetime of a log, seconds.")
    log_ex_limit_s: int = Field(2_592_000, gt=0, description="Longest `log_ex` granted, seconds.")
    max_result_bytes: int = Field(
        67_108_864,
        gt=0,
        le=1 << 30,
        description="Results of one execution together, bytes; each counts 1 KiB at least.",
    )
    result_lifetime_s: int = Field(604_800, gt=0, description="Lifetime of a result, seconds.")


class Site(_Table):
    """The whole file."""

    name: _Name = Field(description="The site's name, shown in logs.")
    public_url: str = Field(description="Base URL under which clients reach the bridge.")
    container_url: str | None = Field(
        None, description="Base URL under which containers reach the bridge, where compute nodes "
        "cannot use the public one."
    )  # fmt: skip
    case: Literal["camel", "snake"] = Field(
        "snake", description="Case of the JSON keys under the bare prefix /actors."
    )
    queues: dict[str, str] = Field(
        {"default": "", "special": ""},
        min_length=1,
        description="Abaco queues that an actor may name, each with its partition; an empty one "
        "stands for the tenant's or the cluster's.",
    )
    accept_nonce: bool = Field(
        True, description="Whether a nonce (query parameter x-nonce) stands for a token."
    )
    encryption_key_file: Path | None = Field(
        None,
        description="File with the Fernet keys of secret configs, one a line, the first encrypts; "
        "readable by the service user alone. None: there are no secret configs.",
    )
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that webhooks may lead to although they are not public."
    )
    webhook_refused_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that webhooks may not lead to although they are public."
    )
    metrics_token_file: Path | None = Field(
        None,
        description="File with the bearer token, at least 16 bytes, that may read /metrics; none: "
        "only admins may.",
    )
    clusters: dict[_Name, Cluster] = Field(min_length=1)
    tenants: dict[_Name, Tenant] = Field(min_length=1)
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _check_references(self) -> Site:
        for name, tenant in self.tenants.items():
            if tenant.cluster not in self.clusters:
                known = ", ".join(sorted(self.clusters))
                raise ValueError(
                    f"tenants.{name}.cluster is {tenant.cluster!r}; known clusters: {known}"
                )
        folded = [name.upper() for name in self.tenants]
        if len(set(folded)) != len(folded):
            raise ValueError("two tenants have names that differ only in case")
        return self

    @property
    def callback_url(self) -> str:
        """What a container's ``_abaco_api_server`` is."""
        return self.container_url or self.public_url

    def tenant(self, name: str) -> tuple[str, Tenant] | None:
        """Return (name as configured, tenant) for `name` in any case, or None.

        Abaco's header carries the name in title case (abaco_contract.md 2.2), Tapis tokens in
        lower case.
        """
        for known, tenant in self.tenants.items():
            if known.upper() == name.upper():
                return known, tenant
        return None
