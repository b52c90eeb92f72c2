"""What a sandbox looks like from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CORE = ("head", "login", "registry")
# A node that answers Slurm; that somebody drained it on purpose is no fault of the sandbox.
ANSWERS = frozenset(("idle", "mix", "alloc", "comp", "plnd", "resv", "maint", "drain", "drng"))


@dataclass(frozen=True)
class Status:
    """The state of one sandbox: containers by node, Slurm's nodes, where the bridge answers.

    `containers` maps node names to the engine's words (running, exited...); `slurm_nodes` maps
    compute nodes to Slurm's (idle, mix, down*...), empty while Slurm does not answer. `problems`
    says what keeps the sandbox from being whole; empty when nothing does.
    """

    name: str
    containers: dict[str, str] = field(default_factory=dict)
    slurm_nodes: dict[str, str] = field(default_factory=dict)
    url: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether there is any container of this sandbox."""
        return bool(self.containers)

    @property
    def is_healthy(self) -> bool:
        """Whether all containers run and all compute nodes answer Slurm."""
        return self.exists and not self.problems


def parse_sinfo(text: str) -> dict[str, str]:
    """Return the state of each node in the output of ``sinfo -h -N -o '%N %t'``.

    A node is listed once for each partition, with the same state each time.
    """
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line.strip())


def find_problems(containers: Mapping[str, str], slurm_nodes: Mapping[str, str]) -> tuple[str, ...]:
    """Return one line for each container that does not run and each node that Slurm misses."""
    problems = [f"{node} is missing" for node in CORE if node not in containers]
    problems += [f"{node} is {state}" for node, state in containers.items() if state != "running"]
    for node in containers:
        state = slurm_nodes.get(node, "unknown to Slurm")
        if is_compute(node) and state not in ANSWERS:
            problems.append(f"{node} is {state}")
    return tuple(problems)


def is_compute(node: str) -> bool:
    """Tell whether `node` is a compute node: c1, c2..."""
    return node[:1] == "c" and node[1:].isdigit()
