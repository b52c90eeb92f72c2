"""A light load generator: a few kept-alive connections, one thread, canned requests.

The machine's cores are shared with the server that is measured, so what this costs counts: a
request is one `send` of bytes made before, an answer is read up to its ``Content-Length``.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def build_request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a whole POST request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def take_answer(self) -> bytes | None:
        """Return the status line of the answer once all of it is here."""
        head, gap, rest = bytes(self.received).partition(b"\r\n\r\n")
        if not gap:
            return None
        found = _LENGTH.search(head)
        if found is None or len(rest) < int(found[1]):
            return None
        self.received.clear()
        return head.partition(b"\r\n")[0]


def post_for(port: int, request: bytes, seconds: float, connections: int) -> float:
    """Send `request` over and over on each connection; return answers a second.

    Raises:
        RuntimeError: an answer was not a 200, or the server closed a connection.
    """
    open_ones = [
        _Connection(socket.create_connection(("127.0.0.1", port), timeout=30))
        for _ in range(connections)
    ]
    with selectors.DefaultSelector() as selector:
        for one in open_ones:
            selector.register(one.socket, selectors.EVENT_READ, one)
        begun = time.monotonic()
        for one in open_ones:
            one.socket.sendall(request)
        answered = 0
        while (elapsed := time.monotonic() - begun) < seconds:
            for key, _ in selector.select(timeout=1):
                one = key.data
                piece = one.socket.recv(1 << 16)
                if not piece:
                    raise RuntimeError("the server closed a connection")
                one.received += piece
                status = one.take_answer()
                if status is None:
                    continue
                if b" 200 " not in status:
                    raise RuntimeError(f"the server answered {status.decode()}")
                answered += 1
                one.socket.sendall(request)
    for one in open_ones:
        one.socket.close()
    return answered / elapsed
