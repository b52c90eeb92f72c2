"""The ways of acting as a user, each with a user and a folder of that user's."""

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

from bridge.sessions import SessionPool, UserSession
from bridge.sessions.pool import AgentProgram, Opener, local_opener, setuid_opener

PYTHON = "/usr/bin/python3"  # an agent's user need not be able to read where this suite's lives
SOURCE = Path(__file__).parents[3]
SPAWNER = """\
import os, socket, sys
from bridge.sessions.spawner import serve
os.umask(0)
os.chdir(sys.argv[2])
os.set_inheritable(os.open(sys.argv[3], os.O_RDONLY), True)
serve(socket.socket(fileno=int(sys.argv[1])), 1000, sys.argv[4:])
"""


@dataclass
class Way:
    """One way of becoming a user.

    Attributes:
        name: the way.
        user: who that is.
        pool: sessions by it.
        folder: a directory of the user's own, in one that is not.
        secret: a file that the daemon has open, and nobody else may read.
    """

    name: str
    user: pwd.struct_passwd
    pool: SessionPool
    folder: Path
    secret: Path

    def session(self) -> UserSession:
        return self.pool.session(self.user.pw_name)

    def path(self, *names: str) -> str:
        return str(self.folder.joinpath(*names))

    def give(self, path: Path) -> Path:
        """Make `path` the user's own."""
        os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        return path

    @property
    def groups(self) -> set[int]:
        """The groups that the password database gives the user."""
        return set(os.getgrouplist(self.user.pw_name, self.user.pw_gid))


@pytest.fixture(scope="module")
def program() -> Iterator[AgentProgram]:
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not installed")
    program = AgentProgram()
    yield program
    program.remove()


@pytest.fixture(scope="module", params=["local", "setuid"])
def way(request: pytest.FixtureRequest, program: AgentProgram) -> Iterator[Way]:
    """Each way in turn."""
    argv = program.argv(PYTHON)
    outer = Path(tempfile.mkdtemp(prefix="bridge-sessions-"))
    outer.chmod(0o755)
    secret = outer / "secret"
    secret.write_text("hush")
    secret.chmod(0o600)
    try:
        if request.param == "local":
            yield from _way("local", pwd.getpwuid(os.geteuid()), local_opener(argv), outer)
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
            yield from _way("setuid", pwd.getpwnam("nobody"), setuid_opener(ours), outer)
        assert spawner.wait(10) == 0
    finally:
        shutil.rmtree(outer)


def _way(name: str, user: pwd.struct_passwd, opener: Opener, outer: Path) -> Iterator[Way]:
    pool = SessionPool(opener)
    yield Way(name, user, pool, outer, outer / "secret")
    pool.close()


@pytest.fixture
def mine(way: Way) -> Iterator[Way]:
    """The way, in an empty folder of the user's."""
    outer = way.folder
    way.folder = outer / "mine"
    way.folder.mkdir()
    way.give(way.folder)
    yield way
    shutil.rmtree(way.folder, ignore_errors=True)
    way.folder = outer
