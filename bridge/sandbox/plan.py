"""What a sandbox is made of, as data: nothing here runs anything."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.errors import SandboxError

LABEL = "abaco-bridge.sandbox"
IMAGE_LABEL = "abaco-bridge.image"  # of its own: containers inherit their image's labels
PLAN_LABEL = "abaco-bridge.plan"
API_PORT = 8080
REGISTRY_PORT = 5000
MOST_NODES = 64
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # where Debian looks for it
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Mount:
    """A volume of the sandbox, or a path of the host, and where a container sees it."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Publish:
    """A container's port on 127.0.0.1 of the host; host port 0 means any free one."""

    host_port: int
    container_port: int


@dataclass(frozen=True)
class ContainerPlan:
    """One container: a node of the cluster, or the registry beside it."""

    node: str
    container: str
    network: str
    image: str
    labels: tuple[tuple[str, str], ...]
    env: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    publish: Publish | None = None


@dataclass(frozen=True)
class Machine:
    """What the sandbox may use of the host: cores and memory of each compute node."""

    cpus: int
    memory_mib: int


@dataclass(frozen=True)
class SandboxPlan:
    """Everything that one sandbox consists of; `digest` changes when any of it does."""

    name: str
    network: str
    volumes: tuple[str, ...]
    containers: tuple[ContainerPlan, ...]
    digest: str


def check_name(name: str) -> str:
    """Return `name` when it can name containers and networks.

    Raises:
        SandboxError: it has other than small letters, digits and dashes, or is too long.
    """
    if not NAME.fullmatch(name):
        raise SandboxError(
            f"Sandbox name {name!r} cannot name containers: use up to 31 small letters, digits"
            " and dashes, beginning with a letter or digit."
        )
    return name


def container_name(name: str, node: str) -> str:
    """Return the name of the container that is `node` of the sandbox `name`."""
    return f"abaco-bridge-{name}-{node}"


def compute_nodes(count: int) -> tuple[str, ...]:
    """Return the names of the compute nodes, c1 to c`count`.

    Raises:
        SandboxError: `count` is not from 1 to 64.
    """
    if not 1 <= count <= MOST_NODES:
        raise SandboxError(f"A sandbox has 1 to {MOST_NODES} compute nodes, not {count}.")
    return tuple(f"c{number}" for number in range(1, count + 1))


def plan_machine(host_cpus: int, host_memory_mib: int, nodes: int) -> Machine:
    """Return the size that each compute node tells Slurm.

    Cores are shared, not divided: a busy sandbox is slow, never short of cores. Memory is divided,
    with a half left to the host, so that jobs within their limits cannot exhaust the machine.
    """
    memory = max(1024, min(8192, host_memory_mib // 2 // nodes))
    return Machine(cpus=min(host_cpus, 4), memory_mib=memory)


def plan_sandbox(
    name: str,
    *,
    nodes: int,
    port: int,
    machine: Machine,
    node_image: str,
    login_image: str,
    source: tuple[Mount, ...],
    ca_bundle: Path | None,
) -> SandboxPlan:
    """Return the plan of the sandbox `name`.

    `source` is what the login node sees of the bridge itself. `port` is not part of the digest.
    """
    compute = compute_nodes(nodes)
    network = f"abaco-bridge-{check_name(name)}"
    volumes = {what: f"{network}-{what}" for what in ("cluster", "scratch", "work", "corral")}
    env = {
        "SANDBOX_NODES": " ".join(compute),
        "SANDBOX_CPUS": str(machine.cpus),
        "SANDBOX_MEMORY_MIB": str(machine.memory_mib),
    }
    trust = (
        (Mount(str(ca_bundle), "/etc/ssl/certs/ca-certificates.crt", True),) if ca_bundle else ()
    )

    def plan_node(node: str, role: str, image: str = node_image) -> ContainerPlan:
        shared = (
            Mount(volumes["cluster"], "/sandbox", read_only=role != "head"),
            Mount(volumes["scratch"], "/scratch"),
            Mount(volumes["work"], "/work"),
            Mount(volumes["corral"], "/corral", read_only=role == "compute"),
        )
        return ContainerPlan(
            node=node,
            container=container_name(name, node),
            network=network,
            image=image,
            labels=(),
            env=tuple({"SANDBOX_ROLE": role, **env}.items()),
            mounts=() if role == "registry" else shared + trust,
        )

    containers = [
        plan_node("head", "head"),
        replace(login := plan_node("login", "login", login_image), mounts=login.mounts + source),
        *(plan_node(node, "compute") for node in compute),
        replace(plan_node("registry", "registry"), publish=Publish(0, REGISTRY_PORT)),
    ]
    digest = hashlib.sha256(repr((containers, volumes)).encode()).hexdigest()[:16]
    labels = ((LABEL, name), (PLAN_LABEL, digest))
    return SandboxPlan(
        name=name,
        network=network,
        volumes=tuple(volumes.values()),
        containers=tuple(
            replace(
                container,
                labels=labels,
                publish=Publish(port, API_PORT) if container.node == "login" else container.publish,
            )
            for container in containers
        ),
        digest=digest,
    )
