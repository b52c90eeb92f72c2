"""Connections that are given so much time and no more.

Each connection with half a request holds a thread, and gunicorn's threads wait for the other half
without end: a few clients that say nothing would be all that is served. A proxy before the bridge
takes whole requests and has room for many; this is for what comes past it.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from bridge.clock import monotonic_s

# A request has so long to arrive, and longer by a second for each so many bytes that have come.
GRACE_S, BYTES_PER_S = 20.0, 2000.0
SEND_S = 60.0  # for one piece of an answer


class TimedSocket(socket.socket):
    """A socket that gives up a slow client as if the client had gone."""

    def begin(self) -> None:
        """Note that a request may begin now."""
        self._begun_s = monotonic_s()
        self._taken = 0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return what has come, waiting no longer than the whole request may take."""
        allowed_s = GRACE_S + self._taken / BYTES_PER_S
        with _Limit(self, self._begun_s + allowed_s - monotonic_s()):
            data = super().recv(bufsize, flags)
        self._taken += len(data)
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of `data`."""
        with _Limit(self, SEND_S):
            super().sendall(data, flags)


class _Limit:
    """Lets a socket wait for so long and no longer."""

    def __init__(self, limited: TimedSocket, seconds: float) -> None:
        self._limited = limited
        self._seconds = seconds

    def __enter__(self) -> None:
        self._limited.settimeout(max(0.001, self._seconds))

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._limited.settimeout(None)
        if isinstance(error, TimeoutError):
            # What gunicorn takes for a client that has gone, and ends without a word.
            raise ConnectionResetError(errno.ECONNRESET, "the client is too slow") from error


class TimedWorker(ThreadWorker):  # type: ignore[misc]
    """Gunicorn's worker with threads, over such sockets."""

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection."""
        if not isinstance(conn.sock, TimedSocket):
            conn.sock = TimedSocket(fileno=conn.sock.detach())
        conn.sock.begin()
        return super().handle(conn)
