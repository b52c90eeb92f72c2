"""A tenant's keys change while the process runs."""

from __future__ import annotations

import json
import threading

import jwt
import pytest

from bridge.auth import Authenticator
from bridge.auth.keyring import LOOK_S, RETRY_S, load_rings
from bridge.errors import AuthenticationError, KeysUnavailable, SiteConfigError
from tests.factories.rows import START
from tests.factories.sites import make_ec_key, make_jwk, make_key, with_tenant

URL = "https://issuer.example.org/keys"
CLAIMS = {"tapis/username": "alice", "tapis/tenant_id": "PHYSICS", "exp": START.timestamp() + 9e5}


def key_set(*names: str, extra=()) -> bytes:
    """Return a key set with a P-256 key for each name, which is its kid."""
    keys = [make_jwk(make_ec_key(name), kid=name, use="sig") for name in names]
    return json.dumps({"keys": [*keys, *extra]}).encode()


def sign(name: str, **header: str) -> list[tuple[str, str]]:
    header = {"kid": name, **header}
    token = jwt.encode(CLAIMS, make_ec_key(name), algorithm="ES256", headers=header)
    return [("X-Tapis-Token", token)]


class Issuer:
    """Answers with what a test gives, and counts."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Timer:
    def __init__(self) -> None:
        self.now = 100.0

    def read_s(self) -> float:
        return self.now


@pytest.fixture
def issuer():
    return Issuer(key_set("a"))


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def ring(site, issuer, timer):
    """PHYSICS's keys, all of them its issuer's."""
    mapped = with_tenant(site, public_keys=(), jwks_url=URL, jwks_lifetime_s=600)
    return load_rings(mapped, issuer.fetch, timer.read_s)["PHYSICS"]


def names(keys) -> set[str | None]:
    return {key.kid for key in keys}


def test_a_set_is_fetched_once_for_its_lifetime(ring, issuer, timer):
    assert issuer.asked == []
    assert names(ring.find("a")) == {"a"}
    timer.now += 599
    assert names(ring.find("a")) == {"a"}
    assert issuer.asked == [URL]
    issuer.answer = key_set("b")
    timer.now += 1
    assert names(ring.keys()) == {"b"}
    assert issuer.asked == [URL, URL]


def test_a_key_that_is_new_is_fetched_but_not_for_every_stranger(ring, issuer, timer):
    ring.find("a")
    issuer.answer = key_set("a", "b")
    assert names(ring.find("b")) == set()  # just fetched
    timer.now += RETRY_S
    assert names(ring.find("b")) == {"b"}
    for _ in range(20):
        assert names(ring.find("nobody's")) == set()
    assert len(issuer.asked) == 2
    timer.now += RETRY_S
    assert names(ring.find("nobody's")) == set()
    assert len(issuer.asked) == 3


@pytest.mark.parametrize(
    "answer", [OSError("refused"), b"<html>", b'{"keys": []}', b"[]", b"\xff", b"[" * 100_000]
)
def test_while_none_can_be_fetched_the_old_set_counts(ring, issuer, timer, answer):
    ring.find("a")
    issuer.answer = answer
    for _ in range(3):
        timer.now += 1000
        assert names(ring.find("a")) == {"a"}
    assert len(issuer.asked) == 4
    issuer.answer = key_set("b")
    timer.now += RETRY_S
    assert names(ring.find("b")) == {"b"}
    assert names(ring.find("a")) == set()


def test_without_any_set_nothing_can_be_said(ring, issuer, timer):
    issuer.answer = OSError("refused")
    for _ in range(3):
        with pytest.raises(KeysUnavailable, match="keys of tenant PHYSICS cannot be had"):
            ring.find("a")
    assert len(issuer.asked) == 1
    issuer.answer = key_set("a")
    timer.now += RETRY_S
    assert names(ring.find("a")) == {"a"}


def test_while_one_fetches_others_have_the_old_keys(site, timer):
    begun, go_on = threading.Event(), threading.Event()
    answers = iter([key_set("a"), key_set("b")])

    def fetch(_url: str) -> bytes:
        answer = next(answers)
        if b'"b"' in answer:
            begun.set()
            assert go_on.wait(20)
        return answer

    mapped = with_tenant(site, public_keys=(), jwks_url=URL, jwks_lifetime_s=60)
    ring = load_rings(mapped, fetch, timer.read_s)["PHYSICS"]
    assert names(ring.keys()) == {"a"}
    timer.now += 60
    found = []
    thread = threading.Thread(target=lambda: found.append(names(ring.keys())))
    thread.start()
    assert begun.wait(20)
    assert names(ring.keys()) == {"a"}
    go_on.set()
    thread.join(20)
    assert found == [{"b"}]


def test_pem_files_count_besides(site, issuer, timer):
    both = load_rings(with_tenant(site, jwks_url=URL), issuer.fetch, timer.read_s)["PHYSICS"]
    assert names(both.find("a")) == {None, "a"}
    assert names(both.find(None)) == {None, "a"}
    issuer.answer = OSError("refused")
    fresh = load_rings(with_tenant(site, jwks_url=URL), issuer.fetch, timer.read_s)["PHYSICS"]
    assert names(fresh.find("a")) == {None}


def test_a_file_is_read_again_when_it_changes(site, tmp_path, timer, issuer):
    path = tmp_path / "keys.json"
    path.write_bytes(key_set("a"))
    mapped = with_tenant(site, public_keys=(), jwks_file=path)
    ring = load_rings(mapped, issuer.fetch, timer.read_s)["PHYSICS"]
    assert names(ring.keys()) == {"a"}

    (tmp_path / "new.json").write_bytes(key_set("b", "c"))
    (tmp_path / "new.json").replace(path)
    assert names(ring.keys()) == {"a"}
    timer.now += LOOK_S
    assert names(ring.keys()) == {"b", "c"}

    path.write_text("half of a file, while somebody wri")
    timer.now += LOOK_S
    assert names(ring.keys()) == {"b", "c"}
    path.unlink()
    timer.now += LOOK_S
    assert names(ring.keys()) == {"b", "c"}
    assert issuer.asked == []


def test_a_file_must_be_there_at_first(site, tmp_path):
    with pytest.raises(SiteConfigError, match=r"tenants\.PHYSICS\.jwks_file: .*No such file"):
        load_rings(with_tenant(site, jwks_file=tmp_path / "none.json"))
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(SiteConfigError, match="it is no key set"):
        load_rings(with_tenant(site, jwks_file=tmp_path / "none.json"))


def test_a_known_token_holds_no_longer_than_its_key(site, tmp_path, clock, monkeypatch):
    timer = Timer()
    monkeypatch.setattr("bridge.auth.authenticate.load_rings",
                        lambda site: load_rings(site, read_s=timer.read_s))  # fmt: skip
    path = tmp_path / "keys.json"
    path.write_bytes(key_set("a", "b"))
    authenticator = Authenticator(with_tenant(site, jwks_file=path), clock)
    assert authenticator.authenticate(sign("a")).username == "alice"
    headers = sign("b")
    assert authenticator.authenticate(headers) is authenticator.authenticate(headers)
    path.write_bytes(key_set("a"))
    timer.now += LOOK_S
    with pytest.raises(AuthenticationError):
        authenticator.authenticate(headers)
    assert authenticator.authenticate(sign("a")).username == "alice"


def test_a_token_counts_with_the_key_that_it_names_alone(site, tmp_path, clock):
    path = tmp_path / "keys.json"
    path.write_bytes(key_set("a", "b"))
    authenticator = Authenticator(with_tenant(site, jwks_file=path), clock)
    with pytest.raises(AuthenticationError):
        authenticator.authenticate(sign("a", kid="b"))
    with pytest.raises(AuthenticationError):
        authenticator.authenticate(sign("a", kid="c"))
    assert authenticator.authenticate(sign("a")).username == "alice"


def test_of_a_set_only_what_verifies_counts(site, tmp_path, caplog):
    ours = make_jwk(make_ec_key("a"))
    private = {**ours, "d": "AAAA", "kid": "with its private half"}
    others = [
        {**ours, "use": "enc", "kid": "1"},
        {**ours, "key_ops": ["sign"], "kid": "2"},
        {**ours, "alg": "ES384", "kid": "3"},
        {**ours, "crv": "P-384", "kid": "4"},
        {**ours, "x": "AAAA", "kid": "5"},
        {**make_jwk(make_key("physics")), "alg": "RS512", "kid": "6"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "7"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "8"},
        {"kid": "9"}, "10", None, {"kty": "RSA", "n": 7, "e": "AQAB"}, {"kty": ["RSA"]},
    ]  # fmt: skip
    path = tmp_path / "keys.json"
    path.write_bytes(key_set("a", extra=[private, *others]))
    ring = load_rings(with_tenant(site, public_keys=(), jwks_file=path))["PHYSICS"]
    assert names(ring.keys()) == {"a", "with its private half"}
    assert {type(key.public) for key in ring.keys()} == {  # noqa: SIM118 - it is no mapping
        type(make_ec_key("a").public_key())
    }
    assert "a key of a set does not count" in caplog.text
