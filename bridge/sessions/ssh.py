"""The `ssh` way: agents on a login node, over connections that sessions share.

A host key is one of the configured file's or the connection ends; keys come from the configured
file or SSH agent and from nowhere else; there is no password, no forwarding, no terminal. The
agent's program is sent ahead of the first question, into a file without a name: nothing lies
about on the login node that could be stale or changed. Where an account's key is bound to a
command, `program` says that the agent is there already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import paramiko

from bridge.clock import monotonic_s
from bridge.core.accounts import is_login
from bridge.errors import ConnectFailed
from bridge.sessions.openers import Opener, Stream, check_login
from bridge.sessions.program import AgentProgram
from bridge.sessions.ssh_agent import agent_command, greet
from bridge.sessions.ssh_login import log_in
from bridge.sites.ways import Ssh

CHANNELS = 8  # sessions of one connection: sshd's MaxSessions is 10 by default

# What it has to say is in the error that it raises; what it logs are tracebacks of lost hosts.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_LOST = (paramiko.SSHException, EOFError, OSError)


class SshConnections:
    """Connections to one login node, a bounded number, each shared by sessions of one account.

    When one more is wanted than there may be, the one that has been quiet longest is closed;
    sessions over it break and are opened again when they are wanted. One that waits for an answer
    is never closed for another's sake.
    """

    def __init__(self, config: Ssh, python: str, program: AgentProgram) -> None:
        self._config = config
        self._command = agent_command(config, python, len(program.data))
        self._ahead = b"" if config.program else program.data
        self._connections: list[_Connection] = []
        self._changed = threading.Condition()

    def opener(self, login_of: Callable[[str], str]) -> Opener:
        """Return the way to agents that run as whom `login_of` names for a user."""

        def open_ssh(login: str) -> Stream:
            check_login(login)
            account = login_of(login)
            if not is_login(account) or account == "root":
                raise ConnectFailed(f"No session as {account[:40]}: nothing runs under that.")
            try:
                return self._open(account)
            except ConnectFailed as error:
                raise ConnectFailed(f"No session as {account}: {error.message}") from error

        return open_ssh

    def _open(self, account: str) -> Stream:
        while True:
            connection, is_new = self._take(account)
            try:
                return self._start(connection)
            except _LOST as error:
                # One that had been there may have died unnoticed: a new one has the last word.
                if is_new:
                    why = str(error) or type(error).__name__
                    raise ConnectFailed(f"{self._config.host} is gone: {why}.") from error

    def _start(self, connection: _Connection) -> Stream:
        try:
            channel = connection.channel(self._config)
            greet(channel, self._command, self._ahead, self._config)
        except BaseException:
            self._give_back(connection, None)
            raise
        stream = SshStream(channel, lambda: self._give_back(connection, stream))
        with self._changed:
            connection.streams.add(stream)
            self._changed.notify_all()
        return stream

    def _take(self, account: str) -> tuple[_Connection, bool]:
        """Return a connection with room for one more session, and whether it has yet to be made."""
        deadline = monotonic_s() + self._config.connect_timeout_s
        while True:
            with self._changed:
                for one in self._connections:
                    if one.account == account and one.has_room:
                        one.sessions += 1
                        return one, False
                if len(self._connections) < self._config.max_connections:
                    made = _Connection(account)
                    self._connections.append(made)
                    return made, True
                quiet = [one for one in self._connections if one.is_quiet]
                if not quiet:
                    left_s = deadline - monotonic_s()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        raise ConnectFailed(
                            f"all {self._config.max_connections} connections to "
                            f"{self._config.host} are busy (max_connections)."
                        )
                    continue
                victim = min(quiet, key=lambda one: one.used_at_s)
                self._connections.remove(victim)
            victim.close()

    def _give_back(self, connection: _Connection, stream: SshStream | None) -> None:
        """Note that one session less is over it; the last one closes it.

        One of which no answer came takes no more sessions.
        """
        with self._changed:
            connection.sessions -= 1
            connection.is_retired |= stream is None or stream.is_waiting
            if stream is not None:
                connection.streams.discard(stream)
            is_last = connection.sessions == 0
            if is_last and connection in self._connections:
                self._connections.remove(connection)
            self._changed.notify_all()
        if is_last:
            connection.close()

    def close(self) -> None:
        """Close every connection."""
        with self._changed:
            connections, self._connections = self._connections, []
        for one in connections:
            one.close()


class _Connection:
    """One connection, made when its first session wants it. `sessions` counts those over it."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.sessions = 1
        self.is_retired = False  # takes no more sessions: an answer over it never came
        self.streams: set[SshStream] = set()
        self._client: paramiko.SSHClient | None = None
        self._is_closed = False
        self._making = threading.Lock()

    def channel(self, config: Ssh) -> paramiko.Channel:
        """Return a new channel, making the connection first where there is none."""
        with self._making:
            if self._is_closed:
                raise EOFError("the connection was closed")
            if self._client is None:
                self._client = log_in(config, self.account)
            transport = self._client.get_transport()
        if transport is None:
            raise EOFError("the connection was closed")
        return transport.open_session(timeout=config.connect_timeout_s)

    @property
    def has_room(self) -> bool:
        """Whether one more session may use it."""
        if self.is_retired or self.sessions >= CHANNELS:
            return False
        transport = None if self._client is None else self._client.get_transport()
        return self._client is None or (transport is not None and transport.is_active())

    @property
    def is_quiet(self) -> bool:
        """Whether all its sessions are open and none of them waits for an answer."""
        return len(self.streams) == self.sessions and not any(
            stream.is_waiting for stream in self.streams
        )

    @property
    def used_at_s(self) -> float:
        """When it was used last."""
        return max((stream.used_at_s for stream in self.streams), default=0.0)

    def close(self) -> None:
        """End it."""
        with self._making:
            self._is_closed = True
            if self._client is not None:
                self._client.close()


class SshStream:
    """The stream to an agent over one channel."""

    def __init__(self, channel: paramiko.Channel, at_end: Callable[[], None]) -> None:
        self._channel = channel
        self._at_end = at_end
        self._is_closed = False
        self.is_waiting = False
        self.used_at_s = monotonic_s()

    def settimeout(self, timeout_s: float | None, /) -> None:
        """Let the calls below raise `TimeoutError` after that long."""
        self._channel.settimeout(timeout_s)

    def sendall(self, data: bytes, /) -> None:
        """Send all of a question."""
        self.is_waiting, self.used_at_s = True, monotonic_s()
        try:
            self._channel.sendall(data)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionResetError(str(error)) from error

    def recv(self, size: int, /) -> bytes:
        """Return a piece of an answer, which ends with a line."""
        try:
            data = self._channel.recv(size)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionResetError(str(error)) from error
        if data.endswith(b"\n"):
            self.is_waiting, self.used_at_s = False, monotonic_s()
        return data

    def close(self) -> None:
        """End the session, and the connection with the last one."""
        if not self._is_closed:
            self._is_closed = True
            self._channel.close()
            self._at_end()
