"""What is posted to a webhook, and everything that a webhook's owner may try with it."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bridge import __version__
from bridge.errors import SiteConfigError, WebhookError, WebhookFailed, WebhookRefused
from bridge.events import WebhookSender, make_sender, webhook
from bridge.events.webhook import parse_url
from bridge.net.addresses import AddressRules
from tests.factories.sites import make_key, make_site
from tests.unit.events.receiver import Receiver, serving, status

PUBLIC = "https://bridge.example.org"
LOOPBACK = AddressRules(allowed=[ip_network("127.0.0.1/32")])
PAYLOAD = {"_abaco_event_id": "e1", "event_type": "ACTOR_READY", "text": "grüße"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving() as receiver:
        yield receiver


def post(url: str, rules: AddressRules = LOOPBACK, **given: Any) -> None:
    WebhookSender([PUBLIC], rules, **given).post(url, PAYLOAD, "PHYSICS", 3, 1_700_000_000)


class TestRequest:
    def test_is_json_with_the_events_id(self, receiver: Receiver) -> None:
        post(receiver.url + "/é%20b?x-nonce=N_1&q=é")
        [(method, path, headers, body)] = receiver.requests
        assert (method, path) == ("POST", "/hook/%C3%A9%20b?x-nonce=N_1&q=%C3%A9")
        assert json.loads(body) == PAYLOAD
        assert headers["Content-Type"] == "application/json"
        assert headers["Host"] == f"127.0.0.1:{receiver.port}"
        assert headers["User-Agent"] == f"abaco-bridge/{__version__}"
        assert (headers["X-Abaco-Event-Id"], headers["Idempotency-Key"]) == ("e1", "e1")
        assert headers["X-Abaco-Hops"] == "3"
        assert "X-Abaco-Signature" not in headers

    def test_is_signed_with_the_tenants_key(self, receiver: Receiver) -> None:
        """As bridge.events tells receivers to verify it."""
        key = b"k" * 16
        post(receiver.url, keys={"PHYSICS": key, "BIOLOGY": b"other" * 4})
        [(_, _, headers, body)] = receiver.requests
        fields = dict(part.split("=", 1) for part in headers["X-Abaco-Signature"].split(","))
        expected = hmac.new(key, f"{fields['t']}.".encode() + body, hashlib.sha256).hexdigest()
        assert fields == {"t": "1700000000", "v1": expected}

    def test_has_no_signature_without_a_key_of_the_tenants_own(self, receiver: Receiver) -> None:
        post(receiver.url, keys={"BIOLOGY": b"other" * 4})
        assert "X-Abaco-Signature" not in receiver.requests[0][2]

    def test_goes_by_no_proxy(self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            post(receiver.url)
            assert (len(receiver.requests), proxy.requests) == (1, [])


class TestAnswer:
    @pytest.mark.parametrize("code", [200, 201, 202, 204])
    def test_taken(self, receiver: Receiver, code: int) -> None:
        receiver.answer = status(code)
        post(receiver.url)

    @pytest.mark.parametrize("code", [500, 502, 503, 429, 408, 425])
    def test_perhaps_later(self, receiver: Receiver, code: int) -> None:
        receiver.answer = status(code)
        with pytest.raises(WebhookFailed, match=f"It answered {code}"):
            post(receiver.url)

    @pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
    def test_never(self, receiver: Receiver, code: int) -> None:
        receiver.answer = status(code)
        with pytest.raises(WebhookRefused, match=f"It answered {code}"):
            post(receiver.url)

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, receiver: Receiver, code: int) -> None:
        with serving() as metadata:
            receiver.answer = status(code, Location=metadata.url)
            with pytest.raises(WebhookRefused, match="a redirect, and none is followed"):
                post(receiver.url)
            assert metadata.requests == []

    def test_of_an_endless_body_little_is_read(self, receiver: Receiver) -> None:
        sent = []

        def pour(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while True:  # until the other side hangs up
                handler.wfile.write(b"x" * 65536)
                sent.append(65536)

        receiver.answer = pour
        post(receiver.url)
        assert sum(sent) < 50_000_000

    def test_one_that_never_ends_is_cut_off(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each piece comes in time, the whole never does."""
        cut = threading.Event()

        def drip(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not cut.wait(0.02):
                handler.wfile.write(b"x")

        monkeypatch.setattr(webhook, "DEADLINE_S", 0.3)
        receiver.answer = drip
        try:
            with pytest.raises(WebhookFailed, match="no whole answer within"):
                post(receiver.url)
        finally:
            cut.set()

    def test_one_that_never_begins_is_cut_off(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done = threading.Event()
        monkeypatch.setattr(webhook, "READ_S", 0.1)
        receiver.answer = lambda _handler: done.wait(10) and None
        try:
            with pytest.raises(WebhookFailed, match="timed out"):
                post(receiver.url)
        finally:
            done.set()

    def test_what_is_no_http(self, receiver: Receiver) -> None:
        receiver.answer = lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n") and None
        with pytest.raises(WebhookFailed):
            post(receiver.url)

    def test_a_closed_port(self) -> None:
        with serving() as gone:
            url = gone.url
        with pytest.raises(WebhookFailed, match="refused"):
            post(url)


class TestAddresses:
    """What the URL's owner may try, to reach what only the scheduler can reach."""

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1", "localhost", "LOCALHOST", "2130706433", "0x7f.1", "0x7f000001", "127.1",
            "0177.0.0.1", "017700000001", "127.0.0.1.", "0", "0.0.0.0", "00.0", "[::1]", "[::]",
            "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
            "[64:ff9b::7f00:1]", "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
            "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021",
            "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
        ],
    )  # fmt: skip
    def test_loopback_is_closed_in_every_spelling(self, receiver: Receiver, host: str) -> None:
        with pytest.raises(WebhookError):
            post(f"http://{host}:{receiver.port}/", AddressRules())
        assert receiver.requests == []

    def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name that is public when it is checked and private when it is used (rebinding)."""
        with serving("127.0.0.1") as public, serving("127.0.0.2") as private:
            answers = iter(["127.0.0.1", "127.0.0.2"])
            asked = []

            def resolve(host: str, port: int, **_given: Any) -> list[Any]:
                asked.append(host)
                address = next(answers)
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            url = f"http://rebind.example.org:{public.port}/"
            post(url)
            assert (len(public.requests), asked) == (1, ["rebind.example.org"])

            with pytest.raises(WebhookRefused, match="at no address that webhooks may be sent to"):
                post(f"http://rebind.example.org:{private.port}/")
            assert private.requests == []

    def test_of_several_addresses_only_those_that_are_open(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def resolve(_host: str, port: int, **_given: Any) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in ("169.254.169.254", "10.0.0.1", "127.0.0.1")
            ]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        post(f"http://many.example.org:{receiver.port}/")
        assert receiver.requests[0][2]["Host"] == f"many.example.org:{receiver.port}"

    def test_a_name_that_does_not_resolve_may_do_so_later(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def resolve(*_arguments: Any, **_given: Any) -> list[Any]:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(WebhookFailed, match="Temporary failure"):
            post("http://down.example.org/")

    def test_the_bridges_own_api_is_open_wherever_it_is(self, receiver: Receiver) -> None:
        own = f"http://127.0.0.1:{receiver.port}"
        sender = WebhookSender([PUBLIC, f"{own}/base"])
        for path in ("/base/actors/a/messages?x-nonce=n", "/base/v3/actors/a/messages"):
            sender.post(own + path, PAYLOAD, "PHYSICS", 1, 0)
        assert len(receiver.requests) == 2
        for path in (
            "/metrics", "/base/metrics", "/actors/a", "/base/actors/../metrics",
            "/base/actors/%2e%2e/metrics", "/base/actorsx",
        ):  # fmt: skip
            with pytest.raises(WebhookRefused):
                sender.post(own + path, PAYLOAD, "PHYSICS", 1, 0)
        with serving() as other, pytest.raises(WebhookRefused):
            sender.post(f"http://127.0.0.1:{other.port}/base/actors/a", PAYLOAD, "P", 1, 0)
        assert len(receiver.requests) == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "Its scheme is ''"),
        ("hooks.example.org/x", "Its scheme is ''"),
        ("file:///etc/passwd", "Its scheme is 'file'"),
        ("gopher://example.org/", "Its scheme is 'gopher'"),
        ("http://", "names no host"),
        ("http:///path", "names no host"),
        ("http://example.org:0/", "names no host and port"),
        ("http://example.org:99999/", "host or port cannot be read"),
        ("http://[::1/", "host or port cannot be read"),
        ("http://a..b/", "host or port cannot be read"),
        ("http://[fe80::1%25eth0]/", "names no host"),
        ("http://user@example.org/", "user name or password"),
        ("http://user:secret@example.org/", "user name or password"),
        ("http://@example.org/", "user name or password"),
        ("http://example.org/ HTTP/1.1\r\nX: y", "white space"),
        ("http://example.org/\x00", "white space"),
        (" http://example.org/", "white space"),
        ("http://example.org/" + "x" * 5000, "4096 characters"),
    ],
)
def test_what_is_no_url(url: str, words: str) -> None:
    with pytest.raises(WebhookRefused) as refused:
        parse_url(url)
    assert words in refused.value.message
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "netloc", "path"),
    [
        ("http://Example.org", "example.org", "/"),
        ("https://example.org:443/a?b=c#d", "example.org", "/a?b=c"),
        ("https://example.org:80", "example.org:80", "/"),
        ("http://[2001:DB8::1]:8080/x", "[2001:db8::1]:8080", "/x"),
        ("http://müller.example/", "xn--mller-kva.example", "/"),
    ],
)
def test_urls(url: str, netloc: str, path: str) -> None:
    target = parse_url(url)
    assert (target.netloc, target.path) == (netloc, path)


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        """A certificate for 127.0.0.1, signed by itself, and its key in the same file."""
        key = make_key("hook")
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
            )
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / "hook.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + made.public_bytes(Encoding.PEM))
        return path

    @pytest.fixture
    def secure(self, certificate: Path) -> Iterator[Receiver]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with serving(tls=context) as receiver:
            yield receiver

    def test_a_certificate_that_nobody_vouches_for(self, secure: Receiver) -> None:
        with pytest.raises(WebhookFailed, match="CERTIFICATE_VERIFY_FAILED"):
            post(secure.url.replace("http:", "https:"))
        assert secure.requests == []

    def test_one_that_is_trusted(
        self, secure: Receiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(webhook, "tls", lambda: context)
        post(secure.url.replace("http:", "https:"))
        assert secure.bodies == [PAYLOAD]


class TestKeys:
    def test_each_tenant_has_its_own(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        (tmp_path / "hook.key").write_bytes(b"0123456789abcdef\n")
        tenant = site.tenants["PHYSICS"].model_copy(
            update={"webhook_key_file": tmp_path / "hook.key"}
        )
        site = site.model_copy(update={"tenants": {**site.tenants, "PHYSICS": tenant}})
        assert make_sender(site).keys == {"PHYSICS": b"0123456789abcdef"}
        assert "0123456789abcdef" not in repr(make_sender(site))

    def test_every_mistake_is_named(self, tmp_path: Path) -> None:
        site = make_site(tmp_path)
        (tmp_path / "short.key").write_bytes(b"secret\n")
        files = {"PHYSICS": tmp_path / "none.key", "BIOLOGY": tmp_path / "short.key"}
        tenants = {
            name: site.tenants[name].model_copy(update={"webhook_key_file": path})
            for name, path in files.items()
        }
        with pytest.raises(SiteConfigError) as error:
            make_sender(site.model_copy(update={"tenants": tenants}))
        first, second = error.value.message.splitlines()
        assert first.startswith("tenants.PHYSICS.webhook_key_file: ")
        assert first.endswith("none.key cannot be read (No such file or directory).")
        assert second.startswith("tenants.BIOLOGY.webhook_key_file: ")
        assert "has 6 bytes: expected a secret of at least 16" in second
        assert "secret\n" not in error.value.message

    def test_networks_are_the_sites(self, tmp_path: Path) -> None:
        site = make_site(
            tmp_path, webhook_networks=["10.0.0.0/8"], webhook_refused_networks=["10.9.0.0/16"]
        )
        rules = make_sender(site).addresses
        assert [rules.permit(a) for a in ("10.0.0.1", "10.9.0.1", "127.0.0.1")] == [
            True, False, False,
        ]  # fmt: skip
