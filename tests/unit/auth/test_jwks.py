"""Getting a key set from what may be anything."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from bridge.auth import jwks
from bridge.auth.jwks import MAX_BYTES, fetch_jwks, parse_jwks

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Give the URL of a server that answers with what is called."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/keys?of=us"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def say(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_what_an_issuer_answers(serve):
    seen = []

    def answer(request):
        seen.append((request.path, request.headers["Host"], request.headers["Authorization"]))
        say(200, b"the set")(request)

    url = serve(answer)
    assert fetch_jwks(url) == b"the set"
    assert seen == [("/keys?of=us", url.split("/")[2], None)]


@pytest.mark.parametrize("status", [204, 301, 302, 307, 404, 500])
def test_another_answer_is_none(serve, status):
    with pytest.raises(OSError, match=f"it answers {status}"):
        fetch_jwks(serve(say(status, Location="/elsewhere")))


def test_no_more_is_read_than_a_set_may_have(serve):
    url = serve(say(200, b" " * (MAX_BYTES + 100_000)))
    text = fetch_jwks(url)
    assert len(text) == MAX_BYTES + 1
    with pytest.raises(ValueError, match="more than"):
        parse_jwks(text, url)


def test_one_who_answers_slowly_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_S", 0.3)
    done = threading.Event()

    def drip(request):
        request.send_response(200)
        request.end_headers()
        while not done.wait(0.05):
            try:
                request.wfile.write(b" ")
            except OSError:
                return

    url = serve(drip)
    with pytest.raises(OSError, match="it took more than"):
        fetch_jwks(url)
    done.set()


def test_what_is_not_http(serve):
    def answer(request):
        request.wfile.write(b"220 mail.example.org ESMTP\r\n")

    with pytest.raises(OSError, match="ESMTP"):
        fetch_jwks(serve(answer))


def test_nobody_there(serve):
    with pytest.raises(OSError, match="refused"):
        fetch_jwks("http://127.0.0.1:1/keys")
    with pytest.raises(OSError, match=r".+"):
        fetch_jwks(f"https://{'x' * 70}.example.org/keys")


def test_https_is_checked(serve):
    with pytest.raises(OSError, match=r"(?i)ssl|tls|record"):
        fetch_jwks(serve(say(200)).replace("http:", "https:"))


def test_too_many_keys():
    with pytest.raises(ValueError, match="at most 100"):
        parse_jwks(b'{"keys": [' + b",".join([b"{}"] * 101) + b"]}", "here")
