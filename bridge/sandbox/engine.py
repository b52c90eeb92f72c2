"""The container engine: its command lines, built without running anything, and one way to run them.

podman is what this is tried with. docker takes the same words nearly everywhere, the differences
are the lines below that ask for `is_podman`; that path is untried.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import SandboxError
from bridge.sandbox.host import check_host, find_ca_bundle, has_hybrid_cgroups, read_limits
from bridge.sandbox.plan import IMAGE_LABEL, LABEL, PLAN_LABEL, ContainerPlan

BUILD_CA = "/run/host-ca.crt"  # where a build finds the host's trusted certificates


@dataclass(frozen=True)
class Found:
    """A container that exists: its name, the engine's word for its state, its plan's digest."""

    container: str
    state: str
    digest: str


@dataclass(frozen=True)
class Engine:
    """podman or docker with what this host makes it need."""

    program: str
    runtime: str | None = None
    limits: tuple[tuple[str, int], ...] = ()
    ca_bundle: Path | None = None

    @property
    def is_podman(self) -> bool:
        """Whether the engine is podman."""
        return self.program == "podman"

    def argv(self, *words: str) -> list[str]:
        """Return the command line of the engine's command `words`."""
        runtime = ["--runtime", self.runtime] if self.runtime and self.is_podman else []
        return [self.program, *runtime, *words]

    def limit_options(self) -> list[str]:
        """Return the options that keep a container's limits under the host's."""
        return [f"--ulimit={name}={value}:{value}" for name, value in self.limits]

    def run_argv(self, plan: ContainerPlan) -> list[str]:
        """Return the command that creates and starts the container of `plan`."""
        words = ["run", "--detach", f"--name={plan.container}", f"--hostname={plan.node}"]
        words += [f"--network={plan.network}", f"--network-alias={plan.node}"]
        words += ["--privileged", "--pids-limit=-1", "--stop-timeout=2", *self.limit_options()]
        if self.is_podman:
            words.append("--http-proxy=false")
        words += [f"--label={name}={value}" for name, value in plan.labels]
        words += [f"--env={name}={value}" for name, value in plan.env]
        for mount in plan.mounts:
            mode = ":ro" if mount.read_only else ""
            words.append(f"--volume={mount.source}:{mount.target}{mode}")
        if plan.publish:
            host_port = plan.publish.host_port or ""
            words.append(f"--publish=127.0.0.1:{host_port}:{plan.publish.container_port}")
        return self.argv(*words, plan.image)

    def exec_argv(
        self, container: str, argv: Sequence[str], *, stdin: bool = False, tty: bool = False
    ) -> list[str]:
        """Return the command that runs `argv` in a running container, as root."""
        options = ["--interactive"] * (stdin or tty) + ["--tty"] * tty
        return self.argv("exec", *options, container, *argv)

    def build_argv(
        self, tag: str, containerfile: Path, context: Path, args: Mapping[str, str]
    ) -> list[str]:
        """Return the command that builds the image `tag`.

        The build shares the host's network: it needs the archives that the host reaches.
        """
        words = ["build", "--quiet", "--network=host", f"--tag={tag}", f"--file={containerfile}"]
        words.append(f"--label={IMAGE_LABEL}=yes")
        words += self.limit_options()
        words += [f"--build-arg={name}={value}" for name, value in args.items()]
        if self.is_podman and self.ca_bundle:
            words.append(f"--volume={self.ca_bundle}:{BUILD_CA}:ro")
            words.append(f"--build-arg=PIP_CERT={BUILD_CA}")
        return self.argv(*words, str(context))

    def push_argv(self, tag: str, target: str) -> list[str]:
        """Return the command that pushes the image `target` is another name of, by plain HTTP."""
        if self.is_podman:
            return self.argv("push", "--quiet", "--tls-verify=false", tag, f"docker://{target}")
        return self.argv("push", "--quiet", target)

    def containers(self, name: str) -> list[Found]:
        """Return all containers of the sandbox `name`, running or not.

        By `inspect`, whose words are the same in docker and all of podman; those of `ps` differ.
        """
        listed = self.command("ps", "--all", "--quiet", f"--filter=label={LABEL}={name}").split()
        if not listed:
            return []
        shown = f'{{{{.Name}}}} {{{{.State.Status}}}} {{{{index .Config.Labels "{PLAN_LABEL}"}}}}'
        return parse_inspected(self.command("inspect", f"--format={shown}", *listed))

    def remove_argv(self, containers: Sequence[str]) -> list[str]:
        """Return the command that kills and removes containers with their unnamed volumes."""
        at_once = ["--time=0"] if self.is_podman else []
        return self.argv("rm", "--force", "--volumes", *at_once, *containers)

    def published(self, container: str, port: int) -> str:
        """Return the host's address and port that `port` of a running container is found at."""
        return self.command("port", container, f"{port}/tcp").splitlines()[0]

    def call(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_s: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `argv`; return its output and exit code.

        Raises:
            SandboxError: it did not end in time, or `check` and it failed.
        """
        try:
            done = subprocess.run(
                list(argv),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxError(
                f"{shorten(argv)} did not end within {timeout_s:.0f} s.", argv=list(argv)
            ) from error
        if check and done.returncode != 0:
            raise SandboxError(
                f"{shorten(argv)} failed with exit code {done.returncode}: "
                + tail(done.stderr or done.stdout),
                argv=list(argv),
                exit_status=done.returncode,
            )
        return done

    def command(self, *words: str, timeout_s: float = 60, check: bool = True) -> str:
        """Run one of the engine's commands; return what it printed, without the last newline."""
        done = self.call(self.argv(*words), timeout_s=timeout_s, check=check)
        return done.stdout.decode(errors="replace").rstrip("\n")

    def has_image(self, tag: str) -> bool:
        """Tell whether the image `tag` is on this machine."""
        return self.call(self.argv("image", "inspect", tag), check=False).returncode == 0


def parse_inspected(text: str) -> list[Found]:
    """Return the containers in lines of name, state and plan's digest."""
    found = []
    for line in text.splitlines():
        container, state, digest = line.split()
        found.append(Found(container.removeprefix("/"), state, digest))
    return found


def shorten(argv: Sequence[str], most: int = 120) -> str:
    """Return `argv` as one line, cut to `most` characters."""
    line = " ".join(argv)
    return line if len(line) <= most else line[: most - 3] + "..."


def tail(output: bytes, lines: int = 12) -> str:
    """Return the last lines of a command's output, which hold its reason."""
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-lines:])


def detect_engine() -> Engine:
    """Return the engine of this machine; podman where both are there.

    Raises:
        SandboxError: the machine lacks something that a sandbox needs; the message lists it all.
    """
    missing = check_host()
    if missing:
        raise SandboxError("\n".join(missing))
    return Engine(
        program="podman" if shutil.which("podman") else "docker",
        runtime="runc" if has_hybrid_cgroups() else None,
        limits=tuple(read_limits().items()),
        ca_bundle=find_ca_bundle(),
    )
