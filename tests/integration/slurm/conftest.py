"""Laboratories: a Slurm port, sessions of users, and a way to let jobs come to their ends."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from bridge.clock import SystemClock
from bridge.core.ids import new_token
from bridge.node.build import build_zipapp
from bridge.sandbox import Sandbox, check_host
from bridge.sandbox.nodes import build_user_argv
from bridge.sandbox.service import SLURM_KEY, rest_version
from bridge.sessions import Completed, SessionPool, UserSession
from bridge.sessions.openers import Opener
from bridge.sites import Slurmrestd
from bridge.slurm import JobRow, SlurmCommands, SlurmPort
from bridge.slurm.fake import FakeSlurm
from bridge.slurm.pyslurm_port import SlurmPyslurm
from bridge.slurm.rest import SlurmRest
from bridge.slurm.tokens import TokenSigner, read_key

WAIT_S = 60
PYTHON = "/usr/bin/python3"


class Lab(Protocol):
    """What the suite needs of a Slurm."""

    port: SlurmPort
    cancels_waiting: bool
    """Whether it can cancel tasks that wait, and nothing else."""

    def session(self, username: str) -> UserSession:
        """Return a session as alice, bob or carol."""
        ...

    def until(self, name: str, done: Callable[[Sequence[JobRow]], bool]) -> list[JobRow]:
        """Let the job run until `done` says so of its rows; return them."""
        ...


class Named:
    """A session of which a fake needs no more than the name."""

    def __init__(self, username: str) -> None:
        self.username = username

    def run(self, *_: object, **__: object) -> Completed:
        raise AssertionError("a fake runs no commands")


class FakeLab:
    """The fake, with its tasks run for real on this machine."""

    cancels_waiting = True

    def __init__(self) -> None:
        self.slurm = FakeSlurm(accounts={"alice": ("physics",), "bob": ("physics",)})
        self.port: SlurmPort = self.slurm

    def session(self, username: str) -> UserSession:
        return Named(username)  # type: ignore[return-value]

    def until(self, name: str, done: Callable[[Sequence[JobRow]], bool]) -> list[JobRow]:
        job = self.slurm.job_named(name)
        for task in job.tasks:
            if done(self.port.states([name])):
                break
            if task.state == "PENDING":
                self.slurm.launch(job.id, task.index)
        for task in job.tasks:
            if not done(self.port.states([name])):
                self.slurm.finish(job.id, task.index)
        rows = self.port.states([name])
        assert done(rows), rows
        return rows


class RealLab:
    """A sandbox's Slurm, over agents of its users on the login node or over slurmrestd."""

    cancels_waiting = True

    def __init__(self, sandbox: Sandbox, way: str, place: Path) -> None:
        self._sandbox = sandbox
        self._program = f"/tmp/{new_token()}.pyz"
        sandbox.put("login", self._program, build_zipapp()[0])
        self._pool = SessionPool(sandbox_opener(sandbox, self._program))
        self.port = self._make_port(way, place)

    def _make_port(self, way: str, place: Path) -> SlurmPort:
        if way == "slurmrestd":
            return make_rest(self._sandbox, place)
        if way == "commands":
            return SlurmCommands(lambda: self._pool.session("bridge"))
        self.cancels_waiting = False
        return SlurmPyslurm(lambda: self._pool.session("bridge"), PYTHON)

    def session(self, username: str) -> UserSession:
        return self._pool.session(username)

    def until(self, name: str, done: Callable[[Sequence[JobRow]], bool]) -> list[JobRow]:
        deadline = time.monotonic() + WAIT_S
        while not done(rows := self.port.states([name])):
            assert time.monotonic() < deadline, rows
            time.sleep(0.3)
        return rows

    def close(self) -> None:
        self._pool.close()
        self._sandbox.run("login", ["rm", self._program])


def make_rest(sandbox: Sandbox, place: Path) -> SlurmRest:
    """Return the port to the sandbox's slurmrestd, as the bridge would make it here."""
    key = place / "jwt_hs256.key"
    key.touch(mode=0o600)
    key.write_bytes(sandbox.get("head", SLURM_KEY))
    address = sandbox.run("head", ["hostname", "-i"]).stdout.split()[0]
    config = Slurmrestd(
        url=f"http://{address}:6820",
        version=rest_version(sandbox),
        jwt_key_file=key,
        observer="bridge",
    )
    signer = TokenSigner(config, read_key(key), lambda _: None, SystemClock())
    return SlurmRest(config, signer)


def missing_pyslurm(sandbox: Sandbox) -> str:
    """Return what the sandbox lacks for pyslurm; empty where it can be imported."""
    line = [PYTHON, "-I", "-c", "import pyslurm"]
    if sandbox.run("login", line, check=False).returncode == 0:
        return ""
    return (
        f"pyslurm 25.11 cannot be imported by {PYTHON} on the sandbox's login node: it is built "
        "against Slurm 25.11, which no Debian release has"
    )


def sandbox_opener(sandbox: Sandbox, program: str) -> Opener:
    """Return a way to agents that run on the sandbox's login node."""

    def open_there(username: str) -> socket.socket:
        words = build_user_argv([PYTHON, "-I", program, "agent"], user=username)
        line = sandbox.engine.exec_argv(sandbox._container("login"), words, stdin=True)
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(line, stdin=theirs.fileno(), stdout=theirs.fileno())
        threading.Thread(target=process.wait).start()  # it ends when the session is closed
        return ours

    return open_there


def all_final(rows: Sequence[JobRow]) -> bool:
    return bool(rows) and all(row.is_final for row in rows)


def all_running(rows: Sequence[JobRow]) -> bool:
    return bool(rows) and all(row.state == "RUNNING" for row in rows)


@pytest.fixture(scope="session")
def newer_sandbox() -> Iterator[Sandbox]:
    """A cluster with the newest Slurm that Debian has."""
    missing = check_host()
    if missing:
        pytest.skip(f"the sandbox: {'; '.join(missing)}")
    cluster = Sandbox(os.environ.get("BRIDGE_TEST_SANDBOX", "test") + "-newer")
    cluster.down()
    cluster.up(nodes=1, port=0, slurm="26.05")
    yield cluster
    cluster.down()


REAL_LABS = [
    pytest.param((sandbox, way), marks=pytest.mark.sandbox, id=f"{way}-{version}")
    for sandbox, version in (("sandbox", "24.11"), ("newer_sandbox", "26.05"))
    for way in ("commands", "slurmrestd")
]
REAL_LABS.append(pytest.param(("sandbox", "pyslurm"), marks=pytest.mark.sandbox, id="pyslurm"))


@pytest.fixture(scope="module", params=["fake", *REAL_LABS])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The fake, then the real ones."""
    if request.param == "fake":
        fake = FakeLab()
        yield fake
        fake.slurm.close()
        return
    name, way = request.param
    sandbox = request.getfixturevalue(name)
    if way == "pyslurm" and (missing := missing_pyslurm(sandbox)):
        pytest.skip(missing)
    real = RealLab(sandbox, way, tmp_path_factory.mktemp("lab"))
    yield real
    real.close()
