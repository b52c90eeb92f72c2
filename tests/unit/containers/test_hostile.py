"""Registries that lead elsewhere, never end, lie, or want what is not theirs."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from bridge.containers import Access, Login, SifCache, download, http, resolve
from bridge.core.images import ImageReference
from bridge.errors import ContainerError, ImageRefused, ImageUnknown, PullFailed
from bridge.net import AddressRules
from tests.unit.containers.conftest import LAYER, Puller, Registry

LOOPBACK = ip_network("127.0.0.1/32")
MANIFEST = "lab/tool/manifests/1"
Answer = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    def give(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return give


def access_to(*registries: Registry, **more: Any) -> Access:
    """Return access to the loopback's one address, at these registries alone by plain HTTP."""
    return Access(AddressRules((LOOPBACK,)), tuple(one.host for one in registries), **more)


def image_of(registry: Registry) -> ImageReference:
    return ImageReference(registry.host, "lab/tool", "1", None)


@pytest.fixture
def other() -> Iterator[Registry]:
    """Another host's registry."""
    registry = Registry()
    yield registry
    registry.close()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses to which a connection was begun."""
    seen: list[tuple[str, int]] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        seen.append(address[:2])
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


class TestWhereItLeads:
    @pytest.mark.parametrize(
        "target",
        [
            "http://169.254.169.254/latest/meta-data/",
            "https://169.254.169.254/",
            "https://10.1.2.3/x",
            "https://192.168.0.1/x",
            "https://127.0.0.2/x",
            "https://[::1]/x",
            "https://[::ffff:127.0.0.2]/x",
            "https://[fe80::1%25lo]/x",
            "https://[64:ff9b::a00:1]/x",
            "https://0.0.0.0/x",
            "https://2130706434/x",
            "https://127.2/x",
            "https://user:word@10.1.2.3/x",
            "file:///etc/passwd",
            "ftp://10.1.2.3/x",
            "https:///x",
            "https://127.0.0.1:0/x",
            "http://[",
        ],
    )
    @pytest.mark.parametrize("place", [MANIFEST, "config", "realm"])
    def test_no_connection_is_made_elsewhere(
        self,
        registry: Registry,
        connections: list[tuple[str, int]],
        target: str,
        place: str,
    ) -> None:
        registry.add()
        if place == "realm":
            challenge = f'Bearer realm="{target}",service="x"'
            registry.answers[MANIFEST] = answer(401, WWW_Authenticate=challenge)
        else:
            if place == "config":
                place = next(path for path in reversed(registry.answers) if "/blobs/" in path)
            registry.answers[place] = answer(307, Location=target)
        with pytest.raises(ContainerError):
            resolve(image_of(registry), access_to(registry))
        assert {f"{host}:{port}" for host, port in connections} == {registry.host}

    def test_a_layer_is_not_fetched_elsewhere(
        self,
        registry: Registry,
        connections: list[tuple[str, int]],
        puller: Puller,
        tmp_path: Path,
    ) -> None:
        registry.add()
        found = resolve(image_of(registry), access_to(registry))
        blob = f"lab/tool/blobs/{found.layers[0].digest}"
        registry.answers[blob] = answer(302, Location="https://169.254.169.254/layer")
        with pytest.raises(ImageRefused, match="no address that images may come from"):
            fetch(tmp_path, registry)
        assert {f"{host}:{port}" for host, port in connections} == {registry.host}

    def test_the_reference_itself_may_lead_nowhere_else(
        self, connections: list[tuple[str, int]]
    ) -> None:
        for host in ("169.254.169.254", "10.0.0.1:5000", "127.0.0.2:80", "localhost:1"):
            with pytest.raises(ImageRefused):
                resolve(ImageReference(host, "lab/tool", "1", None), Access(insecure=(host,)))
        assert connections == []

    def test_a_name_that_changes_its_mind_is_checked_each_time(
        self,
        registry: Registry,
        connections: list[tuple[str, int]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        registry.add()
        port = int(registry.host.rpartition(":")[2])
        answers = iter(["127.0.0.1", "169.254.169.254", "169.254.169.254"])

        def resolve_name(_host: str, port: int, **_: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve_name)
        host = f"rebinding.example.org:{port}"
        access = Access(AddressRules((LOOPBACK,)), (host,))
        with pytest.raises(ImageRefused, match="no address"):
            resolve(ImageReference(host, "lab/tool", "1", None), access)
        assert connections == [("127.0.0.1", port)]

    def test_a_layer_s_own_urls_are_not_asked_nor_handed_on(
        self, registry: Registry, other: Registry, puller: Puller, tmp_path: Path
    ) -> None:
        registry.add()
        manifest = json.loads(registry.answers[MANIFEST])  # type: ignore[arg-type]
        manifest["layers"][0]["urls"] = [f"http://{other.host}/v2/layer"]
        registry.put(MANIFEST, manifest)
        digest = f"sha256:{hashlib.sha256(json.dumps(manifest).encode()).hexdigest()}"
        registry.put(f"lab/tool/manifests/{digest}", manifest)
        fetch(tmp_path, registry, other)
        assert not other.asked
        for path in puller.layout.rglob("*"):
            assert not path.is_file() or b"urls" not in path.read_bytes()

    def test_https_does_not_become_http(self, registry: Registry, other: Registry) -> None:
        registry.answers[MANIFEST] = answer(307, Location=f"http://{other.host}/v2/x")
        with pytest.raises(ImageRefused, match="plain HTTP"):
            resolve(image_of(registry), access_to(registry))
        assert not other.asked

    def test_redirects_end(self, registry: Registry) -> None:
        registry.answers[MANIFEST] = answer(307, Location=f"/v2/{MANIFEST}")
        with pytest.raises(PullFailed, match="more than 5 times"):
            resolve(image_of(registry), access_to(registry))
        assert registry.asked[MANIFEST] == 6

    def test_a_redirect_within_bounds_is_followed(
        self, registry: Registry, other: Registry
    ) -> None:
        digest = registry.add()
        body = registry.answers[MANIFEST]
        other.answers["elsewhere"] = body
        registry.answers[MANIFEST] = answer(307, Location=f"http://{other.host}/v2/elsewhere")
        found = resolve(image_of(registry), access_to(registry, other))
        assert found.reference.digest == digest


class TestLogins:
    LOGIN = Login("alice", "hush")
    BASIC = "Basic " + base64.b64encode(b"alice:hush").decode()

    @staticmethod
    def remember(registry: Registry, path: str, then: Answer) -> list[str | None]:
        seen: list[str | None] = []

        def give(handler: BaseHTTPRequestHandler) -> None:
            seen.append(handler.headers.get("Authorization"))
            then(handler)

        registry.answers[path] = give
        return seen

    def challenge(self, registry: Registry, path: str, header: str, wanted: str) -> None:
        body = registry.answers[path]
        assert isinstance(body, bytes)

        def give(handler: BaseHTTPRequestHandler) -> None:
            allowed = handler.headers.get("Authorization") == wanted
            (answer(200, body) if allowed else answer(401, WWW_Authenticate=header))(handler)

        registry.answers[path] = give

    def test_basic(self, registry: Registry) -> None:
        digest = registry.add()
        for path in [path for path in registry.answers if path.startswith("lab/")]:
            self.challenge(registry, path, 'Basic realm="x"', self.BASIC)
        found = resolve(image_of(registry), access_to(registry, login=self.LOGIN))
        assert found.reference.digest == digest
        with pytest.raises(ImageUnknown, match="without a login"):
            resolve(image_of(registry), access_to(registry))
        wrong = access_to(registry, login=Login("alice", "guess"))
        with pytest.raises(ImageUnknown, match="with the login") as caught:
            resolve(image_of(registry), wrong)
        assert "guess" not in str(caught.value)

    def test_bearer(self, registry: Registry) -> None:
        digest = registry.add()
        header = f'Bearer realm="http://{registry.host}/v2/token",service="s",scope="pull"'
        for path in [path for path in registry.answers if path.startswith("lab/")]:
            self.challenge(registry, path, header, "Bearer t0ken")
        body = json.dumps({"token": "t0ken"}).encode()
        seen = self.remember(registry, "token?service=s&scope=pull", answer(200, body))
        found = resolve(image_of(registry), access_to(registry, login=self.LOGIN))
        assert found.reference.digest == digest
        assert set(seen) == {self.BASIC}

    def test_nothing_is_said_to_where_a_redirect_leads(
        self, registry: Registry, other: Registry
    ) -> None:
        registry.add()
        body = registry.answers[MANIFEST]
        assert isinstance(body, bytes)
        turns = [answer(401, WWW_Authenticate='Basic realm="x"')]
        away = answer(307, Location=f"http://{other.host}/v2/elsewhere")

        def give(handler: BaseHTTPRequestHandler) -> None:
            (turns.pop() if turns else away)(handler)

        registry.answers[MANIFEST] = give
        seen = self.remember(other, "elsewhere", answer(200, body))
        resolve(image_of(registry), access_to(registry, other, login=self.LOGIN))
        assert seen == [None]

    @pytest.mark.parametrize("kind", ["Basic", "Bearer"])
    def test_nor_asked_for_by_it(self, registry: Registry, other: Registry, kind: str) -> None:
        registry.answers[MANIFEST] = answer(307, Location=f"http://{other.host}/v2/thief")
        header = f'{kind} realm="http://{other.host}/v2/token"'
        thief = self.remember(other, "thief", answer(401, WWW_Authenticate=header))
        token = self.remember(other, "token?", answer(200, b'{"token": "x"}'))
        with pytest.raises(ImageUnknown):
            resolve(image_of(registry), access_to(registry, other, login=self.LOGIN))
        assert thief == [None]
        assert token == []

    def test_a_login_is_in_no_representation(self) -> None:
        assert "hush" not in repr(Access(login=self.LOGIN))

    @pytest.mark.parametrize("token", ["x\r\nHost: evil", "", 7, None])
    def test_a_token_that_is_none(self, registry: Registry, token: object) -> None:
        header = f'Bearer realm="http://{registry.host}/v2/token"'
        registry.answers[MANIFEST] = answer(401, WWW_Authenticate=header)
        registry.answers["token?"] = answer(200, json.dumps({"token": token}).encode())
        with pytest.raises(ContainerError):
            resolve(image_of(registry), access_to(registry))


def fetch(tmp_path: Path, *registries: Registry, **limits: Any) -> Path:
    """Bring the first registry's image into a cache."""
    access = access_to(*registries, **limits)
    found = resolve(image_of(registries[0]), access)
    cache = SifCache(tmp_path / "images")
    with cache.work("it") as work:
        return Path(cache.keep("PHYSICS", cache.fetch(found, access, work)).path)


def nothing_left(tmp_path: Path) -> bool:
    return not [path for path in (tmp_path / "images").rglob("*") if path.is_file()]


class TestHowMuch:
    @pytest.fixture(autouse=True)
    def quick(self, puller: Puller) -> Puller:
        return puller

    def blob(self, registry: Registry) -> str:
        return next(path for path in registry.answers if "/blobs/" in path)

    def test_more_than_the_site_takes(self, registry: Registry, tmp_path: Path) -> None:
        registry.add(size=10**12)
        with pytest.raises(ImageRefused, match="are allowed"):
            fetch(tmp_path, registry)

    def test_sizes_that_make_it_small(self, registry: Registry) -> None:
        registry.add(size=-(10**12))
        with pytest.raises(PullFailed, match="not of the OCI form"):
            resolve(image_of(registry), access_to(registry))

    def test_a_blob_without_end(self, registry: Registry, tmp_path: Path) -> None:
        sent = 0

        def endless(handler: BaseHTTPRequestHandler) -> None:
            nonlocal sent
            handler.send_response(200)
            handler.end_headers()
            with contextlib.suppress(OSError):
                while sent < 1 << 30:
                    sent += handler.wfile.write(LAYER)

        registry.add()
        registry.answers[self.blob(registry)] = endless
        with pytest.raises(PullFailed, match=f"sent more than {len(LAYER)} bytes"):
            fetch(tmp_path, registry)
        assert sent < 1 << 28
        assert nothing_left(tmp_path)

    @pytest.mark.parametrize("body", [LAYER[:-1], b"x" + LAYER[1:], b""])
    def test_a_blob_of_another_digest(
        self, registry: Registry, tmp_path: Path, body: bytes, puller: Puller
    ) -> None:
        registry.add(kind="application/vnd.oci.image.layer.v1.tar")
        registry.answers[self.blob(registry)] = body
        with pytest.raises(PullFailed, match="The registry sent"):
            fetch(tmp_path, registry)
        assert puller.pulled == []
        assert nothing_left(tmp_path)

    def test_what_unpacks_to_far_more(
        self, registry: Registry, tmp_path: Path, puller: Puller
    ) -> None:
        bomb = gzip.compress(bytes(1 << 20)) * 64  # of several members, each of which is small
        registry.add(layer=bomb)
        with pytest.raises(ImageRefused, match="unpacked"):
            fetch(tmp_path, registry, max_unpacked_bytes=32 << 20)
        assert puller.pulled == []
        assert nothing_left(tmp_path)

    def test_what_is_not_packed_as_it_says(self, registry: Registry, tmp_path: Path) -> None:
        registry.add(layer=b"x" * 1000)
        with pytest.raises(PullFailed, match="not packed by gzip"):
            fetch(tmp_path, registry)

    def test_a_layer_that_may_not_be_passed_on(self, registry: Registry, tmp_path: Path) -> None:
        registry.add(kind="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
        with pytest.raises(ImageRefused, match="of the kind"):
            fetch(tmp_path, registry)

    @pytest.mark.parametrize("part", ["headers", "body"])
    def test_one_byte_now_and_then(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
    ) -> None:
        stop = threading.Event()

        def drip(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if part == "body" else b"X: "))
            with contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    handler.wfile.write(b"x")

        registry.add()
        monkeypatch.setattr("bridge.containers.registry.BLOB_S", 0.3)
        registry.answers[self.blob(registry)] = drip
        with pytest.raises(PullFailed):
            fetch(tmp_path, registry)
        stop.set()
        assert nothing_left(tmp_path)

    def test_all_together_have_one_time(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.add()
        monkeypatch.setattr(download, "BLOB_S", -1.0)
        with pytest.raises(PullFailed, match="too slow"):
            fetch(tmp_path, registry)

    def test_silence(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stop = threading.Event()
        monkeypatch.setattr(http, "READ_S", 0.1)
        registry.answers[MANIFEST] = lambda _handler: stop.wait(30)  # type: ignore[assignment]
        with pytest.raises(PullFailed, match="cannot be reached"):
            fetch(tmp_path, registry)
        stop.set()
