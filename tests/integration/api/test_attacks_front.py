"""What comes past a proxy: bytes that are no HTTP, requests within requests, clients that wait.

Against gunicorn as `bridge api` runs it, over a socket. What each attack is answered with is in
tests/attacks.md.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.factories.sites import write_keys

SITE = """
name = "test"
public_url = "https://bridge.example.org"
[clusters.alpha]
spool = "/scratch/{{username}}"
image_cache = "/work/images"
[tenants.PHYSICS]
cluster = "alpha"
public_keys = ["{public}"]
private_key = "{private}"
"""
THREADS = 4
GRACE_S = 2.0
# With the pauses of the real thing a test would take minutes.
SERVE = f"""
import sys
from pathlib import Path
from bridge.cli import connections
from bridge.cli.serve import Server
from bridge.settings import Settings
from bridge.sites import load_site
connections.GRACE_S, connections.BYTES_PER_S = {GRACE_S}, 1e6
settings = Settings(Path(sys.argv[1]), sys.argv[2])
options = {{"bind": "127.0.0.1:" + sys.argv[3], "workers": 1, "threads": {THREADS}}}
Server(load_site(settings.site_file), settings, options).run()
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[int]:
    """The port of a bridge of its own."""
    folder = tmp_path_factory.mktemp("front")
    public, private = write_keys(folder, "physics")
    (folder / "site.toml").write_text(SITE.format(public=public, private=private))
    shutil.copy(sqlite_template, folder / "bridge.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    argv = [sys.executable, "-c", SERVE, str(folder / "site.toml")]
    argv += [f"sqlite:///{folder}/bridge.db", str(number)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stderr=log, stdout=log)
    try:
        deadline = time.monotonic() + 60
        while not is_served(number):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            assert process.poll() is None, (folder / "log").read_text()
        yield number
    finally:
        process.terminate()
        process.wait(30)
    said = (folder / "log").read_text()
    assert "Traceback" not in said, said


def is_served(port: int) -> bool:
    """Whether a plain request is answered."""
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/actors/v2", timeout=5)
    except requests.ConnectionError:
        return False
    return answer.status_code in (400, 401)


def ask(port: int, data: bytes) -> bytes:
    """Send bytes, and say that there are no more; return all that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(1 << 16), b""))
        except OSError:  # it was closed before all was sent, or said
            return b""


HEAD = b"POST /actors/v2 HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /actors/v2/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
# Requests of which one server sees one and another two; each is refused, or is one.
TWOFOLD = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 48\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 48\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a length with a space": b"Content-Length : 48\r\n\r\n",
    "a length in a folded line": b"X: y\r\n Content-Length: 48\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding with a tab": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked, then not": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a bad size of a chunk": b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a signed size of a chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "an underscore": b"Content_Length: 48\r\nTransfer_Encoding: chunked\r\n\r\n",
    "a bare line feed": b"Content-Length: 0\nX: y\r\n\r\n",
    "a bare carriage return": b"X: y\rContent-Length: 48\r\n\r\n",
    "a NUL": b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("rest", TWOFOLD.values(), ids=TWOFOLD)
def test_a_request_within_a_request(port: int, rest: bytes) -> None:
    """What follows is served only where the first one was refused by nobody and ended before it."""
    said = ask(port, HEAD + rest + SMUGGLED)
    answers = said.count(b"HTTP/1.1 ")
    first = said[9:12]
    assert first in (b"", b"400", b"401", b"403", b"411", b"413", b"415", b"501"), said[:200]
    if b"malformed" in said.lower() or b"Connection: close" in said.split(b"\r\n\r\n")[0]:
        assert answers == 1
    assert answers <= 2


GARBAGE = {
    "nothing": b"",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "bytes": bytes(range(256)) * 300,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 100,
    "no version": b"GET /actors/v2\r\n\r\n",
    "another version": b"GET /actors/v2 HTTP/9.9\r\n\r\n",
    "a space in the URL": b"GET /actors/v2 x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL without an end": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without an end": b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    "headers without an end": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    "a proxy's word": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method of its own": b"PWN /actors/v2 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute URL": b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a foreign host": b"GET /actors/v2 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a split answer": b"GET /actors/v2/%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_request(port: int, data: bytes) -> None:
    said = ask(port, data)
    assert said == b"" or said.startswith(b"HTTP/1."), said[:200]
    assert said[9:10] in (b"", b"4", b"5")
    assert said[9:12] not in (b"500", b"502")
    head = said.split(b"\r\n\r\n")[0]
    assert b"Set-Cookie" not in head
    assert b"evil.example" not in said
    assert is_served(port)


def test_clients_that_do_not_go_on(port: int) -> None:
    """More than there are threads; they are sent away, and others served."""
    halves = [b"", b"G", b"POST /actors/v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
              b"GET /actors/v2 HTTP/1.1\r\nX: "]  # fmt: skip
    with ExitStack() as stack:
        clients = []
        for half in halves * THREADS:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.sendall(half)
            clients.append(client)
        began = time.monotonic()
        assert is_served_after(port, 60)
        print(f"served after {time.monotonic() - began:.1f} s")


def test_clients_that_drip(port: int) -> None:
    """A byte now and then gains no time that is worth it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.settimeout(0.2)
        client.sendall(b"GET /actors/v2 HTTP/1.1\r\nX: ")
        began = time.monotonic()
        while time.monotonic() - began < 10 * GRACE_S:
            try:
                client.sendall(b"a")
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        assert time.monotonic() - began < 5 * GRACE_S
    assert is_served(port)


def is_served_after(port: int, seconds: float) -> bool:
    """Whether a plain request is answered in that time."""
    with requests.Session() as session:
        answer = session.get(f"http://127.0.0.1:{port}/actors/v2", timeout=seconds)
    return answer.status_code in (400, 401)
