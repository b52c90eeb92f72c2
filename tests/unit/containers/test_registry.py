"""What a registry says of an image; registries are anybody's."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.containers import Access, Resolved, resolve
from bridge.containers import registry as room
from bridge.core.images import ImageReference, parse_image
from bridge.errors import ContainerError, ImageRefused, ImageUnknown, PullFailed
from bridge.net import AddressRules
from bridge.node.dialogue import LABEL
from tests.unit.containers.conftest import ARCHITECTURE, INDEX, LAYER, Registry

LOOPBACK = AddressRules((ip_network("127.0.0.0/8"),))


def ask(registry: Registry, rest: str = "lab/tool:1") -> Resolved:
    image = parse_image(f"{registry.host}/{rest}")
    assert isinstance(image, ImageReference)
    return resolve(image, Access(LOOPBACK, (registry.host,)))


def entry(digest: object, architecture: str = ARCHITECTURE, system: str = "linux") -> Any:
    return {"digest": digest, "platform": {"os": system, "architecture": architecture}}


def respond(status: int, body: bytes = b"", **headers: str) -> Any:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


class TestFound:
    def test_by_tag(self, registry: Registry) -> None:
        digest = registry.add(
            Entrypoint=["/bin/tool"], WorkingDir="/data", User="7",
            Labels={LABEL: "process", "maintainer": "x"},
        )  # fmt: skip
        found = ask(registry)
        assert found.reference.digest == digest
        assert found.reference.tag is None
        assert found.size_bytes == len(LAYER)
        assert found.config == {
            "Entrypoint": ["/bin/tool"], "Cmd": ["/run"], "WorkingDir": "/data", "Env": None,
            "Labels": {LABEL: "process"},
        }  # fmt: skip

    def test_by_digest(self, registry: Registry) -> None:
        digest = registry.add()
        assert ask(registry, f"lab/tool@{digest}").reference.digest == digest

    def test_the_machine_s_kind_of_an_index(self, registry: Registry) -> None:
        digest = registry.add(tag="inner")
        others = [entry("sha256:" + "0" * 64, "vax"), entry("sha256:" + "0" * 64, system="windows")]
        registry.put(
            "lab/tool/manifests/1",
            {"mediaType": INDEX, "manifests": [*others, {"digest": "x"}, entry(digest)]},
        )
        assert ask(registry).reference.digest == digest

    def test_an_image_without_a_configuration(self, registry: Registry) -> None:
        digest = registry.put("x", b"{}")
        registry.put(f"lab/tool/blobs/{digest}", b"{}")
        registry.put("lab/tool/manifests/1", {"config": {"digest": digest}, "layers": []})
        config = ask(registry).config or {}
        assert config.pop("Labels") == {}
        assert set(config.values()) == {None}


class TestUnknown:
    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_what_is_not_shown_to_us_is_unknown(self, registry: Registry, status: int) -> None:
        registry.answers["lab/tool/manifests/1"] = respond(status)
        with pytest.raises(ImageUnknown, match=f"answered {status}") as caught:
            ask(registry)
        assert not caught.value.retryable

    def test_another_kind_of_machine(self, registry: Registry) -> None:
        registry.put("lab/tool/manifests/1", {"manifests": [entry("sha256:" + "0" * 64, "vax")]})
        with pytest.raises(ImageUnknown, match=f"linux/{ARCHITECTURE}"):
            ask(registry)

    def test_a_token_is_fetched_over_https_alone(self, registry: Registry) -> None:
        other = registry.host.replace("127.0.0.1", "127.0.0.2")
        challenge = f'Bearer realm="http://{other}/token",service="x"'
        registry.answers["lab/tool/manifests/1"] = respond(401, WWW_Authenticate=challenge)
        with pytest.raises(ImageRefused, match="plain HTTP"):
            ask(registry)
        assert registry.asked["/token"] == 0


class TestFailing:
    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            host = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(PullFailed, match="cannot be reached") as caught:
            resolve(ImageReference(host, "lab/tool", "1", None), Access(LOOPBACK, (host,)))
        assert caught.value.retryable

    @pytest.mark.parametrize("status", [429, 500, 503, 204])
    def test_trouble_of_the_registry_s(self, registry: Registry, status: int) -> None:
        registry.answers["lab/tool/manifests/1"] = respond(status)
        with pytest.raises(PullFailed, match=str(status)):
            ask(registry)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"null",
            b"not json",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"config": {}, "layers": []}',
            b'{"config": {"digest": "sha256:x"}, "layers": []}',
            b'{"config": {"digest": "../../x"}, "layers": []}',
            b'{"config": 7, "layers": []}',
            b'{"manifests": 7}',
            b'{"manifests": [7]}',
            b'{"manifests": [{"platform": 7}]}',
            b'{"manifests": {"a": 1}}',
        ],
    )
    def test_a_document_of_another_form(self, registry: Registry, body: bytes) -> None:
        registry.put("lab/tool/manifests/1", body)
        with pytest.raises(PullFailed):
            ask(registry)

    @pytest.mark.parametrize("digest", ["sha256:x", "../x", 7, None, "sha512:" + "0" * 128])
    def test_an_index_with_something_that_is_no_digest(
        self, registry: Registry, digest: object
    ) -> None:
        registry.put("lab/tool/manifests/1", {"manifests": [entry(digest)]})
        with pytest.raises(PullFailed):
            ask(registry)

    @pytest.mark.parametrize("size", ["Infinity", "NaN", "null", '"x"', "[]"])
    def test_sizes_that_are_none(self, registry: Registry, size: str) -> None:
        registry.add()
        body = registry.answers["lab/tool/manifests/1"]
        assert isinstance(body, bytes)
        registry.put(
            "lab/tool/manifests/1",
            body.replace(b'"size": %d' % len(LAYER), b'"size": %s' % size.encode()),
        )
        with pytest.raises(PullFailed):
            ask(registry)

    @pytest.mark.parametrize(
        "config",
        [
            {"Entrypoint": "/bin/sh"},
            {"Cmd": [1]},
            {"Cmd": {"a": 1}},
            {"Env": "A=1"},
            {"WorkingDir": ["/"]},
        ],
    )
    def test_a_configuration_of_another_form(
        self, registry: Registry, config: dict[str, Any]
    ) -> None:
        registry.add(**config)
        with pytest.raises(PullFailed, match="configuration"):
            ask(registry)

    def test_a_document_under_another_digest(self, registry: Registry) -> None:
        digest = registry.add()
        registry.put(f"lab/tool/manifests/{digest}", {"config": {}, "layers": []})
        with pytest.raises(PullFailed, match="sent sha256"):
            ask(registry, f"lab/tool@{digest}")

    def test_a_configuration_under_another_digest(self, registry: Registry) -> None:
        registry.add()
        blob = [path for path in registry.answers if "/blobs/" in path][1]
        registry.put(blob, {"config": {"Cmd": ["/evil"]}})
        with pytest.raises(PullFailed, match="sent sha256"):
            ask(registry)

    def test_an_answer_that_breaks_off(self, registry: Registry) -> None:
        registry.answers["lab/tool/manifests/1"] = respond(200, b"{", Content_Length="100")
        with pytest.raises(PullFailed, match="broke off"):
            ask(registry)

    def test_an_answer_that_is_packed(self, registry: Registry) -> None:
        registry.answers["lab/tool/manifests/1"] = respond(200, b"{}", Content_Encoding="gzip")
        with pytest.raises(PullFailed, match="packed by 'gzip'"):
            ask(registry)

    def test_an_answer_without_end(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "MAX_DOCUMENT_BYTES", 1 << 20)
        registry.answers["lab/tool/manifests/1"] = respond(200, b" " * (8 << 20))
        with pytest.raises(PullFailed, match="over 1048576 bytes"):
            ask(registry)

    def test_an_answer_by_drops(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        def drip(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            with contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    handler.wfile.write(b" ")

        stop = threading.Event()
        monkeypatch.setattr(room, "DOCUMENT_S", 0.3)
        registry.answers["lab/tool/manifests/1"] = drip
        with pytest.raises(PullFailed, match=r"no whole answer within 0 s"):
            ask(registry)
        stop.set()


PIECES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["config", "digest", "layers", "size", "manifests", "platform", "os", "architecture",
             "mediaType"]
        ),
        children,
        max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(document=PIECES)
def test_whatever_a_registry_says(registry: Registry, document: Any) -> None:
    registry.put("lab/tool/manifests/1", json.dumps(document).encode())
    with pytest.raises(ContainerError):
        ask(registry)
