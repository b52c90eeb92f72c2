"""What holds on every path: the envelope, prefixes, slashes, methods, CORS, credentials."""

from __future__ import annotations

import json
import re

import pytest

from bridge import __version__
from bridge.api.errors import _FAILED
from bridge.services import actors

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
PREFIXES = ("/actors", "/actors/v2", "/v3/actors")


def paths(app):
    """Every route below a prefix with something in the place of its variables."""
    return [path for path, _ in operations(app)]


def operations(app):
    """Every such route, with one method of its own."""
    return sorted(
        (
            re.sub(r"<.*?>", "AbC3dEf5GhIjK", rule.rule.removeprefix("/actors")),
            min(rule.methods - {"HEAD", "OPTIONS"}),
        )
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/actors")
    )


def assert_envelope(response):
    assert response.content_type == "application/json"
    body = json.loads(response.data)
    assert list(body) == ["message", "status", "version", "result"]
    assert body["version"] == __version__
    assert isinstance(body["message"], str)
    assert body["message"]
    assert body["status"] == ("success" if response.status_code == 200 else "error")
    if body["status"] == "error":
        assert body["result"] is None


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_route_and_method_answers_in_one_shape(app, caller, prefix):
    for user in (caller("alice", prefix=prefix), caller("root_admin", prefix=prefix)):
        for path in [*paths(app), "/AbC3dEf5GhIjK/no/such/thing", "/%ff"]:
            for method in METHODS:
                response = user(method, path)
                assert_envelope(response)
                assert response.status_code in (200, 400, 404, 405), (method, path)


@pytest.mark.parametrize("path", ["/", "", "/nowhere", "/actors/", "/v3", "/actorsx"])
def test_an_unknown_url_is_a_404_in_the_same_shape(app, path):
    response = app.test_client().get(path)
    assert response.status_code == 404
    assert_envelope(response)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_wrong_method_is_a_405(caller, prefix):
    user = caller("alice", prefix=prefix)
    for method, path in (
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/x"),
        ("PUT", "/x/messages"),
        ("PUT", "/x/executions"),
        ("POST", "/x/executions/y"),
        ("POST", "/x/executions/y/logs"),
    ):
        response = user(method, path)
        assert response.status_code == 405
        assert response.json["message"] == "Invalid HTTP method on requested resource."
        assert "GET" in response.headers["Allow"]


def test_repeated_slashes_are_folded_without_a_redirect(app, alice):
    created = alice.post("", json={"image": "x"}).json["result"]["id"]
    client = app.test_client()
    for path in (
        "//actors",
        "/actors//v2",
        f"//actors///{created}",
        f"/v3/actors/{created}//messages",
        f"/v3/actors/{created}///messages",
        f"///v3//actors/{created}//executions",
    ):
        response = client.get(headers=alice.headers, environ_overrides={"PATH_INFO": path})
        assert response.status_code == 200, path


def test_a_request_without_a_credential(app):
    for path, method in operations(app):
        response = app.test_client().open(f"/actors{path}", method=method)
        assert response.status_code == 400
        assert response.json["message"] == "No JWT or nonce provided."


def test_a_user_without_a_role_that_counts(caller):
    response = caller("alice", "Internal/something").get()
    assert response.status_code == 400
    assert response.json["message"] == "Not authorized -- missing required role."


def test_options_needs_no_credential(app):
    for path in paths(app):
        response = app.test_client().options(
            f"/actors/v2{path}",
            headers={
                "Origin": "https://page.example.org",
                "Access-Control-Request-Headers": "x-jwt-assertion-physics",
            },
        )
        assert response.status_code == 200
        assert_envelope(response)
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
        assert response.headers["Access-Control-Allow-Headers"] == "x-jwt-assertion-physics"


def test_an_origin_is_allowed_to_read_answers_and_errors(alice):
    origin = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
    for path in ("", "/AbC3dEf5GhIjK"):
        response = alice.get(path, headers=origin)
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Origin" not in alice.get("").headers


def test_what_went_wrong_inside_is_not_told(alice, monkeypatch, caplog):
    def fail(*_arguments, **_named):
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr("bridge.api.actors.list_actors", fail)
    response = alice.get("")
    assert response.status_code == 500
    assert_envelope(response)
    assert response.json["message"] == _FAILED
    assert "the secret is 42" in caplog.text
    assert actors.list_actors is not fail


def test_a_clients_mistake_leaves_no_traceback(alice, caplog):
    alice.get("/AbC3dEf5GhIjK")
    alice.post("", data=b"{", content_type="application/json")
    assert "Traceback" not in caplog.text


def test_a_body_that_is_too_large_is_a_413(alice):
    response = alice.post("", data=b"x" * 1_100_000, content_type="application/json")
    assert response.status_code == 413
    assert_envelope(response)
