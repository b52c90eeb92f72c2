"""The ways of acting as a user, each with a user and a folder of that user's.

`local` and `setuid` are tried on this machine. `sudo` and `ssh` need a host that is set up for it:
the sandbox's login node, where the bridge's own code opens them as the service user (`away.py`),
and this suite speaks to the agent that came of it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.core.accounts import AccountPolicy
from bridge.sandbox import Sandbox
from bridge.sessions import SessionPool, UserSession
from bridge.sessions.greeting import check_host, check_own
from bridge.sessions.openers import local_opener
from bridge.sessions.program import AgentProgram
from bridge.sessions.setuid import SpawnerClient
from tests.integration.sessions.login_node import SESSIONS, LoginNode

PYTHON = "/usr/bin/python3"  # an agent's user need not be able to read where this suite's lives
SOURCE = Path(__file__).parents[3]
SPAWNER = """\
import os, socket, sys
from bridge.core.accounts import AccountPolicy
from bridge.sessions.spawner import ClusterAgents, serve
os.umask(0)
os.chdir(sys.argv[2])
os.set_inheritable(os.open(sys.argv[3], os.O_RDONLY), True)
agents = {"alpha": ClusterAgents(AccountPolicy(), sys.argv[4:])}
serve(socket.socket(fileno=int(sys.argv[1])), agents)
"""


@dataclass
class Way:
    """One way of becoming a user.

    Attributes:
        name: the way.
        login: who that is.
        uid: the number of that account.
        gid: its primary group.
        groups: all its groups.
        pool: sessions by it.
        folder: a directory of the user's own, in one that is not, as this machine has it.
        remote: the same as the agent has it.
    """

    name: str
    login: str
    uid: int
    gid: int
    groups: set[int]
    pool: SessionPool
    folder: Path
    remote: Path

    def session(self) -> UserSession:
        return self.pool.session(self.login)

    @property
    def kind(self) -> str:
        """The way without its variant."""
        return self.name.partition("-")[0]

    def path(self, *names: str) -> str:
        """Return a path in the folder as the agent has it."""
        return str(self.remote.joinpath(*names))

    def here(self, *names: str) -> Path:
        """Return the same path as this process has it."""
        return self.folder.joinpath(*names)

    def give(self, path: Path) -> Path:
        """Make `path` the user's own."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return path


@pytest.fixture(scope="module")
def program() -> Iterator[AgentProgram]:
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not installed")
    program = AgentProgram()
    yield program
    program.remove()


@pytest.fixture(scope="session")
def login_node(sandbox: Sandbox) -> Iterator[LoginNode]:
    node = LoginNode(sandbox)
    yield node
    node.close()


@pytest.fixture(
    scope="module",
    params=[
        "local",
        "setuid",
        *(pytest.param(name, marks=pytest.mark.sandbox) for name in SESSIONS),
    ],
)
def way(request: pytest.FixtureRequest, program: AgentProgram) -> Iterator[Way]:
    """Each way in turn."""
    name = request.param
    if name in SESSIONS:
        node: LoginNode = request.getfixturevalue("login_node")
        yield from _there(name, node)
        return
    argv = program.argv(PYTHON)
    outer = Path(tempfile.mkdtemp(prefix="bridge-sessions-"))
    outer.chmod(0o755)
    secret = outer / "secret"
    secret.write_text("hush")
    secret.chmod(0o600)
    try:
        if name == "local":
            own = SessionPool(local_opener(argv), check_own)
            yield from _here("local", pwd.getpwuid(os.geteuid()), own, outer)
            return
        if os.geteuid() != 0:
            pytest.skip("the setuid way needs root")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                words = [str(theirs.fileno()), str(outer), str(secret), *argv]
                spawner = subprocess.Popen(
                    [sys.executable, "-c", SPAWNER, *words],
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "BRIDGE_SECRET": "hush", "PYTHONPATH": str(SOURCE)},
                )
            pool = SessionPool(SpawnerClient(ours).opener("alpha"), check_host(AccountPolicy()))
            yield from _here("setuid", pwd.getpwnam("nobody"), pool, outer)
        assert spawner.wait(10) == 0
    finally:
        shutil.rmtree(outer)


def _here(name: str, user: pwd.struct_passwd, pool: SessionPool, outer: Path) -> Iterator[Way]:
    groups = set(os.getgrouplist(user.pw_name, user.pw_gid))
    yield Way(name, user.pw_name, user.pw_uid, user.pw_gid, groups, pool, outer, outer)
    pool.close()


def _there(name: str, node: LoginNode) -> Iterator[Way]:
    account = node.account(SESSIONS[name].login)
    pool = node.pool(name)
    here, there = node.folder()
    secret = here / "secret"
    secret.write_text("hush")
    secret.chmod(0o600)
    try:
        yield Way(name, SESSIONS[name].owner, *account, pool, here, there)
    finally:
        pool.close()
        shutil.rmtree(here)


@pytest.fixture
def mine(way: Way) -> Iterator[Way]:
    """The way, in an empty folder of the user's."""
    outer = way.folder, way.remote
    way.folder, way.remote = (path / "mine" for path in outer)
    way.folder.mkdir()
    way.give(way.folder)
    yield way
    shutil.rmtree(way.folder, ignore_errors=True)
    way.folder, way.remote = outer
