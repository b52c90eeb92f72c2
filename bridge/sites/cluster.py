"""A Slurm cluster: how it is reached, and how the bridge works on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from bridge.core.accounts import AccountPolicy
from bridge.sites.kinds import AbsolutePath, Registry, SlurmWord, check_path_template
from bridge.sites.mistakes import Mistake, check
from bridge.sites.table import Table
from bridge.sites.ways import Slurmrestd, Ssh, Sudo

if TYPE_CHECKING:
    from bridge.sites.model import Site


def _of_user(value: str) -> str:
    return check_path_template(value, "login", "username", "cluster")


def _absolute(value: str) -> str:
    return check_path_template(value)


def _program(value: str) -> str:
    if "/" in value:
        return check_path_template(value)
    if not value or value.startswith("-") or any(c.isspace() for c in value):
        raise ValueError("expected a program's name or absolute path")
    return value


UserPath = Annotated[str, AfterValidator(_of_user)]
NodePath = Annotated[str, AfterValidator(_absolute)]
NodeProgram = Annotated[str, AfterValidator(_program)]


Reuse = Literal["none", "image", "process"]


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
    partitions: tuple[SlurmWord, ...] = Field((), description="Partitions that may be named.")
    accounts: tuple[SlurmWord, ...] = Field((), description="Slurm accounts that may be named.")
    qos: tuple[SlurmWord, ...] = Field((), description="QOS that may be named.")
    constraints: tuple[SlurmWord, ...] = Field(
        (), description="Node features that may be asked for."
    )
    reuse: tuple[Reuse, ...] = Field(
        ("none", "image", "process"),
        description="How an actor may have its containers started (design section 5).",
    )


class WholeNode(Table):
    """The nodes of a cluster that gives its nodes as a whole: several workers share one."""

    cpus: int = Field(gt=0, description="CPUs of the smallest node on which workers run.")
    memory_mib: int = Field(gt=0, description="Its memory that jobs may have, MiB.")
    gpus: int = Field(0, ge=0, description="Its GPUs.")
    exclusive: bool = Field(
        True, description="Whether a job has its node for itself: it is asked for as a whole "
        "(`--exclusive`), and all of its CPUs count as its owner's; else what the workers need."
    )  # fmt: skip


class Cluster(Table):
    """One Slurm cluster and how the bridge works on it."""

    fixed: ClassVar[tuple[str, ...]] = (
        "session", "sudo", "ssh", "slurm", "slurmrestd", "pyslurm_python", "node_python",
        "min_uid", "forbidden_users", "forbidden_groups",
    )  # fmt: skip
    """Keys that a scheduler reads only when it starts."""

    session: Literal["setuid", "sudo", "ssh", "local"] = Field(
        "setuid", description="How the scheduler becomes the actor's owner (design section 4)."
    )
    sudo: Sudo = Sudo()
    ssh: Ssh | None = Field(None, description='Required by `session = "ssh"`.')
    slurm: Literal["commands", "slurmrestd", "pyslurm"] = Field(
        "commands", description="How Slurm is asked."
    )
    slurmrestd: Slurmrestd | None = Field(None, description='Required by `slurm = "slurmrestd"`.')
    pyslurm_python: NodePath = Field(
        "/usr/bin/python3", description='Python of the submit host that can import pyslurm 25.11, '
        'for `slurm = "pyslurm"`.'
    )  # fmt: skip
    spool: UserPath = Field(
        description="Directory of the owner's on the shared filesystem; {login} is the account "
        "that the owner has on the cluster, {username} the same."
    )
    image_cache: AbsolutePath = Field(
        description="Directory on the shared filesystem that the bridge's service user owns, for "
        "this bridge alone: what it does not know in there is removed."
    )
    image_cache_max_bytes: int | None = Field(
        None, gt=0, description="Size of the cache at most; the longest unused go first, bytes."
    )
    image_cache_max_age_s: int | None = Field(
        None, gt=0, description="An image that nobody used for so long is removed, seconds."
    )
    image_check: Literal["digest", "stat"] = Field(
        "digest", description="What a worker compares before it starts containers of an image: "
        "the file's digest, once a worker, or its owner, mode and length alone."
    )  # fmt: skip
    partition: SlurmWord | None = Field(None, description="Slurm partition; none: Slurm's default.")
    account: SlurmWord | None = Field(None, description="Slurm account; none: the owner's default.")
    qos: SlurmWord | None = Field(None, description="Slurm QOS; none: Slurm's default.")
    time_limit_s: int = Field(3600, gt=59, description="Time limit of an array task, seconds.")
    cpus_per_task: int = Field(1, gt=0, description="CPUs of one worker.")
    memory_mib: int = Field(1024, gt=0, description="Memory of one worker, MiB.")
    whole_node: WholeNode | None = Field(
        None, description="Puts as many workers into an array task as fit on a node, each pinned "
        "to CPUs of its own, with its part of memory and GPUs; none: an array task is one worker."
    )  # fmt: skip
    max_tasks_per_array: int = Field(
        100, gt=0, le=4_000_000, description="Workers of one array at most; under MaxArraySize."
    )
    max_workers: int | None = Field(
        None, gt=0, description="Workers of all tenants at once, which these share "
        "by weight; none: Slurm alone says how many."
    )  # fmt: skip
    max_workers_per_actor: int = Field(6, gt=0, description="Where an actor names no number.")
    target_task_s: int = Field(600, gt=0, description="Estimated work of one worker, seconds.")
    max_messages_per_array: int = Field(
        100_000, gt=0, le=1_000_000, description="Messages of one array at most, over its life."
    )
    idle_timeout_s: float = Field(
        30.0, ge=0, description="How long one worker of an actor waits for further messages, "
        "seconds; 0: none does, and nothing is fed to arrays that run."
    )  # fmt: skip
    standing_timeout_s: float = Field(
        600.0, ge=0, description="The same for the workers that an admin asked for."
    )
    sync_idle_timeout_s: float = Field(
        600.0, ge=0, description="The same as `idle_timeout_s` for actors with the hint `sync`, "
        "whose users wait for answers; the longer of the two counts."
    )  # fmt: skip
    linger_s: float = Field(
        0.2, ge=0, description="Messages for an actor without workers wait until none has come for "
        "so long, or for ten times that, so that a burst begins as one array, seconds."
    )  # fmt: skip
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
    node_python: NodePath = Field(
        "/usr/bin/python3", description="Python 3.6 or later on every node; 3.8 for fast starts."
    )
    apptainer: NodeProgram = Field("apptainer", description="The container runtime on the nodes.")
    reuse: Literal["none", "image"] = Field(
        "image",
        description="How containers are started where the actor does not say: `none`, the runtime "
        "for each message; `image`, once for each worker, which then makes a fresh container for "
        "each message itself, and goes on as with `none` on a node that cannot.",
    )
    batch: BatchPolicy = BatchPolicy()
    insecure_registries: tuple[Registry, ...] = Field(
        (), description="Registries (host:port) that are asked over plain HTTP."
    )

    @property
    def account_policy(self) -> AccountPolicy:
        """Under which accounts nothing runs here."""
        return AccountPolicy(self.min_uid, self.forbidden_users, self.forbidden_groups)

    def uses(self, key: str) -> bool:
        """Whether the cluster is reached by what the table under `key` is about."""
        return key not in ("sudo", "ssh", "slurmrestd") or key in (self.session, self.slurm)

    def account_of(self, login: str) -> str:
        """Return the account under which an owner's processes run: theirs, or one for all."""
        if self.session == "ssh" and self.ssh is not None:
            return self.ssh.login.replace("{login}", login)
        return login

    @check("session", "ssh")
    def _check_session(self, _site: Site) -> Iterator[Mistake]:
        if self.session == "ssh" and self.ssh is None:
            yield Mistake(("ssh",), 'missing, expected a table, as session is "ssh"')
        for way in ("ssh", "sudo"):
            if way in self.model_fields_set and self.session != way:
                text = f'has no effect, as session is "{self.session}"'
                yield Mistake((way,), text, is_warning=True)

    @check("session")
    def _check_sudo(self, site: Site) -> Iterator[Mistake]:
        """What `bridge.sessions.ways` would refuse when the scheduler starts."""
        others = (getattr(one, "session", None) for one in site.clusters.values())
        if self.session == "sudo" and "setuid" in others:
            text = (
                'found "sudo", which a scheduler cannot use that another cluster\'s "setuid" has '
                "made give up root; expected one of the two ways in a site"
            )
            yield Mistake(("session",), text)

    @check("slurm", "slurmrestd", "pyslurm_python")
    def _check_slurm(self, _site: Site) -> Iterator[Mistake]:
        if self.slurm == "slurmrestd" and self.slurmrestd is None:
            yield Mistake(("slurmrestd",), 'missing, expected a table, as slurm is "slurmrestd"')
        if self.slurm != "slurmrestd" and self.slurmrestd is not None:
            text = f'has no effect, as slurm is "{self.slurm}"'
            yield Mistake(("slurmrestd",), text, is_warning=True)
        if self.slurm != "pyslurm" and "pyslurm_python" in self.model_fields_set:
            text = f'has no effect, as slurm is "{self.slurm}"'
            yield Mistake(("pyslurm_python",), text, is_warning=True)

    @check("whole_node", "cpus_per_task", "memory_mib")
    def _check_node(self, _site: Site) -> Iterator[Mistake]:
        for key, of_node in (("cpus_per_task", "cpus"), ("memory_mib", "memory_mib")):
            found, most = getattr(self, key), getattr(self.whole_node, of_node, None)
            if most is not None and found > most:
                text = f"found {found}, expected at most {most}, which a whole_node has"
                yield Mistake((key,), text)

    @check("session", "ssh", "spool")
    def _check_spool(self, _site: Site) -> Iterator[Mistake]:
        """Owners who are accounts of their own each need a directory each."""
        is_shared = self.session == "local" or (
            self.session == "ssh" and "{login}" not in getattr(self.ssh, "login", "")
        )
        if not is_shared and "{login}" not in self.spool and "{username}" not in self.spool:
            text = f'found "{self.spool}", expected {{login}} in it: each owner has one'
            yield Mistake(("spool",), text)
