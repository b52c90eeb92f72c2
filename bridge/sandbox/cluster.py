"""`Sandbox`: one cluster in containers, for people, demonstrations and tests."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from collections.abc import Mapping, Sequence

from bridge.errors import SandboxError
from bridge.sandbox import nodes as command
from bridge.sandbox import samples
from bridge.sandbox.engine import Engine, detect_engine, tail
from bridge.sandbox.host import port_is_free, read_memory_mib
from bridge.sandbox.images import CHECKOUT, PACKAGE, SLURM, ImageBuilder, Say, remove_images
from bridge.sandbox.lifecycle import Lifecycle, locked
from bridge.sandbox.plan import (
    REGISTRY_PORT,
    Mount,
    SandboxPlan,
    check_name,
    compute_nodes,
    container_name,
    plan_machine,
    plan_sandbox,
)
from bridge.sandbox.status import Status, is_compute

STARTS_LOG = "/var/log/apptainer-starts.log"
KILLED_BY_TIMEOUT = (124, 137)


def say_nothing(_line: str) -> None:
    """Take a line of progress and drop it."""


class Sandbox:
    """The sandbox `name`. Making the object does nothing; `up` makes the cluster.

    All methods raise `SandboxError`, which says what was tried and what came of it.
    """

    def __init__(self, name: str = "demo") -> None:
        self.name = check_name(name)

    @functools.cached_property
    def engine(self) -> Engine:
        """The container engine of this machine."""
        return detect_engine()

    # --- the whole of it ---

    def up(
        self, nodes: int = 2, port: int = 8080, say: Say = say_nothing, slurm: str = SLURM
    ) -> None:
        """Make the cluster, or see that it is whole; return when all its nodes take jobs.

        A healthy sandbox of the same plan is left alone. One with dead daemons has them started
        again. One of another plan, or with stopped or missing containers, is removed with all its
        data and made anew.

        Args:
            nodes: how many compute nodes.
            port: where 127.0.0.1 reaches port 8080 of the login node; 0 takes any free one.
            say: gets a line for each step that took time.
            slurm: the version of Slurm, 24.11 or 26.05.
        """
        compute_nodes(nodes)
        lifecycle = Lifecycle(self.engine, self.name, say)
        with locked(self.name):
            plan = self._plan(nodes, port, say, slurm)
            if lifecycle.is_current(plan) and self._port_fits(port) and lifecycle.mend():
                say(f"Sandbox {self.name} is up at {self.url}")
                return
            if lifecycle.remove():
                say(f"  removed what was left of another sandbox {self.name}")
            if port and not port_is_free(port):
                raise SandboxError(
                    f"Port {port} of 127.0.0.1 is taken: stop what listens there, or give another"
                    " with --port (0 takes any free one)."
                )
            lifecycle.create(plan)
            say(f"Sandbox {self.name} is up at {self.url}")

    def down(self, images: bool = False, say: Say = say_nothing) -> None:
        """Remove this sandbox's containers, network and volumes with all data, and nothing else.

        With `images` the images go too, save those that another sandbox runs.
        """
        with locked(self.name):
            removed = Lifecycle(self.engine, self.name, say).remove()
        if images:
            removed += remove_images(self.engine)
        say(f"Sandbox {self.name}: {removed} objects removed" if removed else "Nothing to remove")

    def status(self) -> Status:
        """Return the state of containers and Slurm's nodes."""
        return Lifecycle(self.engine, self.name, say_nothing).status()

    @property
    def url(self) -> str:
        """Where the host reaches port 8080 of the login node, `http://127.0.0.1:PORT`."""
        return f"http://{self.engine.published(self._container('login'), 8080)}"

    @property
    def nodes(self) -> list[str]:
        """The names of the compute nodes, in order."""
        return sorted(filter(is_compute, self._names()), key=lambda node: int(node[1:]))

    # --- work on a node ---

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        user: str = "root",
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` on `node` as `user`, in the user's home, with nothing inherited.

        Raises:
            SandboxError: it took longer than `timeout_s`, or `check` and it failed.
        """
        begun = time.monotonic()
        words = command.build_user_argv(argv, user=user, env=env)
        limited = command.build_limited_argv(words, timeout_s)
        done = self._exec(node, limited, stdin=stdin, timeout_s=timeout_s + 30)
        shown = f"{' '.join(argv)!r} on {node} as {user}"
        if done.returncode in KILLED_BY_TIMEOUT and time.monotonic() - begun >= timeout_s:
            raise SandboxError(f"{shown} did not end within {timeout_s:g} s.", argv=list(argv))
        if check and done.returncode != 0:
            raise SandboxError(
                f"{shown} failed with exit code {done.returncode}: "
                + tail(done.stderr or done.stdout),
                argv=list(argv),
                exit_status=done.returncode,
            )
        return subprocess.CompletedProcess(
            list(argv),
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def start(
        self,
        node: str,
        argv: Sequence[str],
        *,
        user: str,
        env: Mapping[str, str] | None = None,
        log_path: str,
    ) -> int:
        """Start `argv` on `node` in the background; return its process number on that node.

        Its output is appended to `log_path`, which `user` must be able to write. It lives until it
        ends or the sandbox does.
        """
        words = command.build_start_argv(argv, user=user, env=env, log_path=log_path)
        return int(self._exec(node, words, check=True).stdout)

    def start_daemon(self, node: str, daemon: str) -> None:
        """Start a daemon of `node` that was killed: slurmctld, slurmd, slurmdbd, sshd...

        Returns when it takes connections; does nothing when it runs.
        """
        self._exec(node, ["sandbox-node", "start", daemon], check=True)

    def put(
        self, node: str, path: str, data: bytes, *, owner: str = "root", mode: int = 0o644
    ) -> None:
        """Write `data` to `path` on `node`, complete or not at all; its directory must exist."""
        self._exec(node, command.build_put_argv(path, owner, mode), stdin=data, check=True)

    def get(self, node: str, path: str) -> bytes:
        """Return the content of the file `path` on `node`."""
        return self._exec(node, ["cat", "--", path], check=True).stdout

    def logs(self, node: str, lines: int = 200) -> str:
        """Return the last lines of each daemon's log on `node`, after what it said at its start."""
        container = self._container(node)
        said = self.engine.call(self.engine.argv("logs", container), check=False)
        find = ["find", "/var/log/slurm", "/var/log/munge", "-name", "*.log", "-size", "+0"]
        tails = [*find, "-exec", "tail", "-v", "-n", str(lines), "{}", "+"]
        kept = self._exec(node, tails, check=True)
        return (said.stdout + said.stderr + kept.stdout).decode(errors="replace")

    def shell(self, node: str, argv: Sequence[str] = (), *, user: str = "root") -> int:
        """Give the terminal to a shell, or to `argv`, on `node`; return its exit code."""
        words = command.build_user_argv(
            list(argv) or ["bash", "-l"], user=user, env={"TERM": os.environ.get("TERM", "dumb")}
        )
        tty = os.isatty(0) and os.isatty(1)
        line = self.engine.exec_argv(self._container(node), words, stdin=True, tty=tty)
        return subprocess.run(line, check=False).returncode

    # --- what tests need ---

    def ensure_image(self, name: str, say: Say = say_nothing) -> str:
        """Build and push the sample image `name` where needed; return the nodes' reference to it.

        The reference reads ``registry:5000/NAME:latest``; the registry speaks plain HTTP.
        """
        registry = self.engine.published(self._container("registry"), REGISTRY_PORT)
        return samples.ensure_pushed(self.engine, registry, name, say)

    def digits(self, dest: str = "/work/alice/digits") -> list[tuple[str, str]]:
        """Return (path, label) of each held-out image of digits, unpacked below `dest` for alice.

        Images are 8 by 8 grey PNG files; labels are "0" to "9".
        """
        labels = f"{dest}/labels.csv"
        if self.run("login", ["test", "-e", labels], user="alice", check=False).returncode:
            tag = ImageBuilder(self.engine, say_nothing).ensure_sample("digits-classifier")
            words = ["run", "--rm", "--network=none", *self.engine.limit_options()]
            words += ["--entrypoint=tar", tag, "-C", samples.HELD_OUT, "-c", "."]
            packed = self.engine.call(self.engine.argv(*words)).stdout
            # labels.csv is the last to appear, so that half an unpacking is not taken for a whole
            unpack = 'mkdir -p "$1" && cd "$1" && tar -x --exclude=./labels.csv'
            self.run("login", ["sh", "-c", unpack, "-", dest], user="alice", stdin=packed)
            self.run("login", ["tar", "-x", "-C", dest, "./labels.csv"], user="alice", stdin=packed)
        listed = self.run("login", ["cat", "--", labels], user="alice").stdout
        return samples.parse_labels(listed, dest)

    def container_starts(self) -> list[str]:
        """Return one line for each container that started on any compute node.

        Each is the time and the execution's id (``-`` without one), noted by a wrapper that stands
        before Apptainer, or by Python itself where a worker makes the container. Neither needs
        anything of the bridge.
        """
        logs = [self.get(node, STARTS_LOG).decode() for node in self.nodes]
        return sorted(line for log in logs for line in log.splitlines())

    def reset_container_starts(self) -> None:
        """Forget the containers started so far."""
        for node in self.nodes:
            self._exec(node, ["truncate", "--size=0", STARTS_LOG], check=True)

    # --- inside ---

    def _plan(self, nodes: int, port: int, say: Say, slurm: str) -> SandboxPlan:
        images = ImageBuilder(self.engine, say, slurm).ensure_all()
        return plan_sandbox(
            self.name,
            nodes=nodes,
            port=port,
            machine=plan_machine(os.cpu_count() or 1, read_memory_mib(), nodes),
            node_image=images.node,
            login_image=images.login,
            source=source_mounts(),
            ca_bundle=self.engine.ca_bundle,
        )

    def _port_fits(self, port: int) -> bool:
        return port == 0 or self.url.endswith(f":{port}")

    def _container(self, node: str) -> str:
        return container_name(self.name, node)

    def _names(self) -> list[str]:
        found = self.engine.containers(self.name)
        return [one.container.removeprefix(self._container("")) for one in found]

    def _exec(
        self,
        node: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_s: float = 60,
        check: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `argv` on `node` as the container's root."""
        line = self.engine.exec_argv(self._container(node), argv, stdin=stdin is not None)
        return self.engine.call(line, stdin=stdin, timeout_s=timeout_s, check=check)


def source_mounts() -> tuple[Mount, ...]:
    """Return what the login node sees of the bridge's own files, read-only."""
    templates = [CHECKOUT / "launcher_templates", PACKAGE / "launcher" / "_templates"]
    found = next((path for path in templates if path.is_dir()), None)
    mounts = [Mount(str(PACKAGE), "/opt/bridge/src/bridge", read_only=True)]
    if found:
        mounts.append(Mount(str(found), "/opt/bridge/src/launcher_templates", read_only=True))
    return tuple(mounts)
