"""Command lines of the container engine, and what is read from its output."""

from pathlib import Path

import pytest

from bridge.errors import SandboxError
from bridge.sandbox.engine import Engine, Found, parse_inspected, shorten, tail
from bridge.sandbox.plan import ContainerPlan, Mount, Publish

PODMAN = Engine("podman", "runc", (("nofile", 100), ("nproc", 50)), Path("/ca.crt"))
DOCKER = Engine("docker", "runc", (("nofile", 100),), Path("/ca.crt"))
PLAN = ContainerPlan(
    node="c1",
    container="abaco-bridge-t-c1",
    network="abaco-bridge-t",
    image="localhost/abaco-bridge/node:1",
    labels=(("abaco-bridge.sandbox", "t"),),
    env=(("SANDBOX_NODES", "c1 c2"),),
    mounts=(Mount("v-work", "/work"), Mount("v-corral", "/corral", read_only=True)),
    publish=Publish(0, 8080),
)


def test_podman_run_has_runtime_limits_and_the_whole_plan() -> None:
    assert PODMAN.run_argv(PLAN) == [
        *("podman", "--runtime", "runc", "run", "--detach"),
        *("--name=abaco-bridge-t-c1", "--hostname=c1"),
        *("--network=abaco-bridge-t", "--network-alias=c1"),
        *("--privileged", "--pids-limit=-1", "--stop-timeout=2"),
        *("--ulimit=nofile=100:100", "--ulimit=nproc=50:50", "--http-proxy=false"),
        *("--label=abaco-bridge.sandbox=t", "--env=SANDBOX_NODES=c1 c2"),
        *("--volume=v-work:/work", "--volume=v-corral:/corral:ro"),
        *("--publish=127.0.0.1::8080", "localhost/abaco-bridge/node:1"),
    ]


def test_docker_is_spared_what_only_podman_knows() -> None:
    words = " ".join(DOCKER.run_argv(PLAN) + DOCKER.remove_argv(["x"]))
    for word in ("--runtime", "--http-proxy", "--time"):
        assert word not in words


def test_build_brings_the_hosts_certificates() -> None:
    argv = PODMAN.build_argv("tag:1", Path("/f"), Path("/context"), {"BASE": "b:1"})
    assert "--volume=/ca.crt:/run/host-ca.crt:ro" in argv
    assert "--build-arg=BASE=b:1" in argv
    assert argv[-1] == "/context"


def test_exec_asks_for_a_terminal_only_when_told() -> None:
    assert PODMAN.exec_argv("x", ["id"])[3:] == ["exec", "x", "id"]
    assert PODMAN.exec_argv("x", ["id"], stdin=True)[3:] == ["exec", "--interactive", "x", "id"]
    terminal = PODMAN.exec_argv("x", ["id"], tty=True)
    assert terminal[3:] == ["exec", "--interactive", "--tty", "x", "id"]


def test_push_names_the_image_as_each_engine_wants_it() -> None:
    target = "127.0.0.1:5000/echo:latest"
    assert PODMAN.push_argv("tag:1", target)[-2:] == ["tag:1", f"docker://{target}"]
    assert DOCKER.push_argv("tag:1", target)[-1] == target


def test_containers_are_read_in_both_engines_spelling() -> None:
    assert parse_inspected("a-head running 12ab\n/a-c1 exited 34cd\n") == [
        Found("a-head", "running", "12ab"),
        Found("a-c1", "exited", "34cd"),
    ]


def test_a_failed_command_says_what_failed_and_why() -> None:
    with pytest.raises(SandboxError, match=r"sh -c .* exit code 3: no such thing") as caught:
        PODMAN.call(["sh", "-c", "echo no such thing >&2; exit 3"])
    assert caught.value.facts["exit_status"] == 3


def test_a_command_that_hangs_is_an_error() -> None:
    with pytest.raises(SandboxError, match="did not end within"):
        PODMAN.call(["sleep", "5"], timeout_s=0.05)


def test_long_commands_and_outputs_are_cut() -> None:
    assert shorten(["a" * 200]) == "a" * 117 + "..."
    assert tail(b"1\n2\n3\n", lines=2) == "2\n3"
