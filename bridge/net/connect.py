"""Connections to addresses that were checked; no name is resolved a second time."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence

CONNECT_S = 5.0


def find_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, each once, none of them checked yet.

    Raises:
        OSError: it has none.
        UnicodeError: it is no name.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def open_connection(addresses: Sequence[str], port: int) -> socket.socket:
    """Return a connection to one of `addresses`, which are numbers: no name is resolved here.

    Raises:
        OSError: of the last one, where none answers.
    """
    failure = OSError("there is no address")
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT_S)
            connection.connect((address, port))
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


@contextlib.contextmanager
def cut_off_after(connection: socket.socket, seconds: float) -> Iterator[threading.Event]:
    """Shut `connection` down when `seconds` are over; the event that is given tells of it.

    Whoever is on the other side may send a byte now and then for ever: no timeout of one read
    bounds that.
    """
    late = threading.Event()
    with connection.dup() as guard:  # stays of the same connection when TLS takes the other over
        timer = threading.Timer(seconds, _cut_off, (guard, late))
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()


@functools.cache
def tls() -> ssl.SSLContext:
    """Return the context of connections that check the other side's certificate and name."""
    return ssl.create_default_context()


def _cut_off(guard: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # it has just ended by itself
        guard.shutdown(socket.SHUT_RDWR)
