"""Open sessions, one a user, closed when idle."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Protocol

from bridge.clock import monotonic_s
from bridge.errors import ConnectFailed, SessionError
from bridge.node.build import build_zipapp
from bridge.sessions.agent import AgentSession
from bridge.sessions.base import UserSession
from bridge.sessions.spawner import MAX_NAME_BYTES, agent_environment

IDLE_S = 300.0


class Opener(Protocol):
    """One way of becoming a user: gives the stream to an agent that runs as `username`."""

    def __call__(self, username: str) -> socket.socket:
        """Return a connected stream, or raise `ConnectFailed`."""
        ...


class AgentProgram:
    """The zipapp on this host, where agents of any user can read it but none can write."""

    def __init__(self) -> None:
        self.data, self.digest = build_zipapp()
        self._folder = Path(tempfile.mkdtemp(prefix="bridge-node-"))
        self._folder.chmod(0o755)
        self.path = self._folder / f"node-{self.digest[:16]}.pyz"
        self.path.write_bytes(self.data)
        self.path.chmod(0o644)

    def argv(self, python: str) -> list[str]:
        """Return how an agent is started."""
        return [python, "-I", str(self.path), "agent"]

    def remove(self) -> None:
        """Take the file away again."""
        shutil.rmtree(self._folder, ignore_errors=True)


def local_opener(argv: list[str]) -> Opener:
    """Return the `local` way: every agent runs as the bridge's own user."""

    def open_local(username: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=agent_environment(pwd.getpwuid(os.geteuid())),
                    cwd="/",
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        threading.Thread(target=process.wait, daemon=True).start()  # reaps it when it ends
        return ours

    return open_local


def setuid_opener(spawner: socket.socket) -> Opener:
    """Return the `setuid` way: asks the spawner (bridge.sessions.spawner)."""
    lock = threading.Lock()

    def open_setuid(username: str) -> socket.socket:
        name = username.encode()
        if not 0 < len(name) <= MAX_NAME_BYTES:  # an empty request would tell the spawner to end
            raise ConnectFailed(f"No session as {username[:40]!r}: not a user name.")
        try:
            with lock:
                spawner.send(name)
                answer, descriptors, _, _ = socket.recv_fds(spawner, 4096, 1)
        except OSError as error:
            raise ConnectFailed(f"The spawner cannot be asked: {error.strerror}.") from error
        if not answer:
            raise ConnectFailed("The spawner has ended; restart the scheduler.")
        found = json.loads(answer)
        if not found["ok"]:
            raise ConnectFailed(f"No session as {username}: {found['message']}.")
        if not descriptors:  # the kernel drops them when this process may open no more
            raise ConnectFailed(f"No session as {username}: too many open files.")
        return socket.socket(fileno=descriptors[0])

    return open_setuid


class SessionPool:
    """Gives each user's session; opens it when there is none or when it broke."""

    def __init__(self, opener: Opener) -> None:
        self._open = opener
        self._sessions: dict[str, tuple[AgentSession, float]] = {}
        self._lock = threading.Lock()

    def session(self, username: str) -> UserSession:
        """Return a session as `username`.

        Raises:
            ConnectFailed: the way of becoming this user failed.
        """
        with self._lock:
            known = self._sessions.get(username)
            session = known[0] if known and not known[0].broken else None
            if session is None:
                session = self._new_session(username)
            self._sessions[username] = (session, monotonic_s())
            return session

    def _new_session(self, username: str) -> AgentSession:
        try:
            session = AgentSession(username, self._open(username))
        except OSError as error:
            raise ConnectFailed(f"No agent could be started as {username}: {error}.") from error
        try:
            session.hello()
        except SessionError as error:
            session.close()
            raise ConnectFailed(f"The agent of {username} gave no greeting: {error}") from error
        return session

    def close_idle(self) -> None:
        """Close what has not been asked for in five minutes."""
        with self._lock:
            for username, (session, used) in list(self._sessions.items()):
                if session.broken or monotonic_s() - used > IDLE_S:
                    session.close()
                    del self._sessions[username]

    def close(self) -> None:
        """Close every session."""
        with self._lock:
            for session, _ in self._sessions.values():
                with contextlib.suppress(OSError):
                    session.close()
            self._sessions.clear()
