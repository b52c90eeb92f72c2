"""Bringing a sandbox up and taking it down.

Everything a sandbox makes carries its label, and only what carries it is ever removed. Whatever a
killed `up` left behind is found by that label and removed before a new beginning; two at the same
time wait for each other.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import SandboxError
from bridge.sandbox.engine import Engine
from bridge.sandbox.images import Say, timed
from bridge.sandbox.plan import (
    API_PORT,
    LABEL,
    ContainerPlan,
    SandboxPlan,
    container_name,
)
from bridge.sandbox.status import Status, find_problems, parse_sinfo

LOCKS = Path("/run/abaco-bridge")
READY_TIMEOUT_S = 90
REPAIR_TIMEOUT_S = 20
POLL_S = 0.2
AT_ONCE = 4  # containers started at the same time: more only wait for the engine's own locks


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep others from building or removing the sandbox `name`; the kernel ends it with us."""
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    with (LOCKS / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Lifecycle:
    """Makes, mends and removes the containers, the network and the volumes of one sandbox."""

    def __init__(self, engine: Engine, name: str, say: Say) -> None:
        self._engine = engine
        self._name = name
        self._say = say

    def status(self) -> Status:
        """Return the state of the sandbox as the engine and Slurm see it."""
        prefix = container_name(self._name, "")
        states = {
            found.container.removeprefix(prefix): found.state
            for found in self._engine.containers(self._name)
        }
        slurm = self._slurm_nodes() if states.get("login") == "running" else {}
        url = self._url() if states.get("login") == "running" else None
        return Status(self._name, states, slurm, url, find_problems(states, slurm))

    def is_current(self, plan: SandboxPlan) -> bool:
        """Tell whether exactly the containers of `plan` exist and run."""
        found = {one.container: one for one in self._engine.containers(self._name)}
        return found.keys() == {one.container for one in plan.containers} and all(
            one.state == "running" and one.digest == plan.digest for one in found.values()
        )

    def mend(self) -> bool:
        """Start the daemons that died; tell whether the sandbox is whole then."""
        containers = [one.container for one in self._engine.containers(self._name)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for container, said in zip(
                containers, pool.map(self._start_daemons, containers), strict=True
            ):
                for line in said.splitlines():
                    self._say(f"  {container}: {line}")
        return not self._wait_until_ready(REPAIR_TIMEOUT_S)

    def create(self, plan: SandboxPlan) -> None:
        """Make what `plan` says; nothing of this sandbox exists yet.

        Raises:
            SandboxError: a container could not be started or the cluster did not come up.
        """
        label = f"--label={LABEL}={plan.name}"
        with timed(self._say, f"network and {len(plan.volumes)} volumes"):
            self._engine.command("network", "create", label, plan.network)
            for volume in plan.volumes:
                self._engine.command("volume", "create", label, volume)
        what = f"{len(plan.containers)} containers"
        with timed(self._say, what), ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._start, plan.containers))
        with timed(self._say, "cluster"):
            problems = self._wait_until_ready(READY_TIMEOUT_S)
        if problems:
            raise SandboxError(
                f"The cluster of sandbox {plan.name} was not up after {READY_TIMEOUT_S} s:"
                f" {', '.join(problems)}. See `bridge sandbox logs NODE --name {plan.name}`."
            )

    def remove(self) -> int:
        """Remove all that carries this sandbox's label; return how many objects that were."""
        engine, label = self._engine, f"--filter=label={LABEL}={self._name}"
        containers = [found.container for found in self._engine.containers(self._name)]
        if containers:
            engine.call(engine.remove_argv(containers))
        networks = engine.command("network", "ls", "--quiet", label).split()
        volumes = engine.command("volume", "ls", "--quiet", label).split()
        if networks:
            engine.command("network", "rm", *networks)
        if volumes:
            engine.command("volume", "rm", *volumes)
        return len(containers) + len(networks) + len(volumes)

    def _start(self, plan: ContainerPlan) -> None:
        self._engine.call(self._engine.run_argv(plan))

    def _start_daemons(self, container: str) -> str:
        argv = self._engine.exec_argv(container, ["sandbox-node", "start"])
        return self._engine.call(argv, check=False).stdout.decode(errors="replace")

    def _wait_until_ready(self, timeout_s: float) -> tuple[str, ...]:
        """Return what is still wrong when all is well or the time is over."""
        deadline = time.monotonic() + timeout_s
        while (status := self.status()).problems and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return status.problems

    def _slurm_nodes(self) -> dict[str, str]:
        sinfo = (
            "test -e /run/sandbox.ready && exec timeout 5 sinfo --noheader --Node --format='%N %t'"
        )
        argv = self._engine.exec_argv(container_name(self._name, "login"), ["sh", "-c", sinfo])
        done = self._engine.call(argv, check=False)
        return parse_sinfo(done.stdout.decode()) if done.returncode == 0 else {}

    def _url(self) -> str:
        return f"http://{self._engine.published(container_name(self._name, 'login'), API_PORT)}"
