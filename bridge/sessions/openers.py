"""Ways of becoming a user: what each gives, and the two that need nothing but a process here."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from bridge.core.accounts import AccountPolicy, is_login
from bridge.errors import ConnectFailed
from bridge.sessions.accounts import agent_environment, find_account
from bridge.sessions.base import clean_text
from bridge.sessions.program import check_installed
from bridge.sites.ways import Sudo

_COMPLAINT_S = 2.0
_COMPLAINT_BYTES = 4096


class Stream(Protocol):
    """What an agent is spoken to through: a connected socket, or what behaves like one."""

    def settimeout(self, timeout_s: float | None, /) -> None:
        """Let the calls below raise `TimeoutError` after that long."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Send all of it; `OSError` when the other end is gone."""
        ...

    def recv(self, size: int, /) -> bytes:
        """Return what has come, up to `size` bytes; empty at the end."""
        ...

    def close(self) -> None:
        """End it; the agent ends with it. May be repeated."""
        ...


@runtime_checkable
class Complaining(Protocol):
    """A stream that may know why there is no agent at its other end."""

    def complaint(self) -> str:
        """Return what was said, a few words for a person, or nothing."""
        ...


class Opener(Protocol):
    """One way of becoming a user: gives the stream to an agent that runs as `login`."""

    def __call__(self, login: str, /) -> Stream:
        """Return a connected stream, or raise `ConnectFailed` (or `OSError`)."""
        ...


class ProcessStream:
    """A stream to a process that was started here; it is reaped when it ends."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(
                    list(argv),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    env=dict(env),
                    cwd="/",
                    start_new_session=True,  # no terminal that a password could be asked on
                )
            except OSError:
                self._socket.close()
                raise
        assert process.stderr is not None
        self._said = process.stderr
        self._heard = b""
        os.set_blocking(self._said.fileno(), False)
        self._reaper = threading.Thread(target=process.wait, daemon=True)
        self._reaper.start()
        self.settimeout = self._socket.settimeout
        self.sendall = self._socket.sendall
        self.recv = self._socket.recv

    def complaint(self) -> str:
        """Return what the process has said on its stderr, also after the stream was closed."""
        if not self._said.closed:
            self._reaper.join(_COMPLAINT_S)
            self._hear()
        return clean_text(self._heard.decode(errors="replace"))

    def close(self) -> None:
        """End the stream, and with it the agent."""
        self._socket.close()
        if not self._said.closed:
            self._hear()
            self._said.close()

    def _hear(self) -> None:
        with contextlib.suppress(OSError):  # nothing there
            self._heard += os.read(self._said.fileno(), _COMPLAINT_BYTES)


def local_opener(argv: Sequence[str]) -> Opener:
    """Return the `local` way: every agent runs as the bridge's own user."""

    def open_local(_login: str) -> Stream:
        return ProcessStream(argv, agent_environment(pwd.getpwuid(os.geteuid())))

    return open_local


def sudo_opener(sudo: Sudo, python: str, policy: AccountPolicy) -> Opener:
    """Return the `sudo` way: a line of sudoers lets this process's user start the agent.

    Sudo is given an environment with nothing of ours in it, is told never to ask for a password,
    and starts a program that only root can have written. What it says when it refuses becomes the
    error.
    """

    def open_sudo(login: str) -> Stream:
        find_account(login, policy)
        check_installed(sudo.program)
        argv = [str(sudo.command), "-n", "-u", login, "--", *sudo_command(sudo, python)]
        return ProcessStream(argv, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})

    return open_sudo


def sudo_command(sudo: Sudo, python: str) -> list[str]:
    """Return the one command that the line of sudoers allows."""
    return [python, "-I", str(sudo.program), "agent"]


def check_login(login: str) -> None:
    """Refuse what could be an option, a number or a path where a name is expected.

    Raises:
        ConnectFailed: `login` is no Unix user name.
    """
    if not is_login(login):
        raise ConnectFailed(f"No session as {login[:40]!r}: not a user name.")
