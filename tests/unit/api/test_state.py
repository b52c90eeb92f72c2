"""``/actors/<id>/state``: contract 3.8."""

from __future__ import annotations

import json

import pytest

from bridge.core.statuses import Level
from bridge.db import Actor
from bridge.services.state import MAX_STATE_BYTES
from tests.factories.rows import add_actor, add_permission

NOT_JSON = "Invalid actor state description: state must be JSON serializable."
PREFIXES = ("/actors/v2", "/v3/actors")


@pytest.fixture
def actor(database):
    """A stateful actor of alice's; bob may post to it, carol may read it."""
    with database.begin() as session:
        actor = add_actor(session, stateless=False)
        add_permission(session, actor, "bob", Level.EXECUTE)
        add_permission(session, actor, "carol", Level.READ)
    return actor


@pytest.fixture
def path(actor):
    return f"/{actor.id}/state"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_state_that_was_never_set_is_empty(caller, path, prefix):
    response = caller("carol", prefix=prefix).get(path)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.json["message"] == "Actor state retrieved successfully."
    assert response.json["result"] == {"state": {}}


@pytest.mark.parametrize(
    "state",
    [
        {"some_key": {"otherKey": [1, None]}},
        [1, 2],
        "text",
        "\ud800 \0 \U0001f600",
        3.5,
        10**30,
        {},
        [],
        "",
        0,
        False,
        None,
    ],
)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_json_value_is_kept_as_it_is(caller, actor, path, state, prefix):
    user = caller("alice", prefix=prefix)
    user.post(path, json={"before": 1})
    response = user.post(path, data=json.dumps(state), content_type="application/json")
    assert response.status_code == 200
    assert response.json["message"] == "State updated successfully."
    assert response.json["result"]["id"] == actor.id
    assert response.json["result"].get("state") == state
    assert user.get(path).json["result"] == {"state": state}


def test_the_answer_is_the_whole_actor(alice, path, actor):
    result = alice.post(path, json={"a": 1}).json["result"]
    assert result == alice.get(f"/{actor.id}").json["result"]
    assert result["state"] == {"a": 1}


@pytest.mark.parametrize(
    "sent",
    [
        {"data": b"{", "content_type": "application/json"},
        {"data": b"", "content_type": "application/json"},
        {"data": b"plain text", "content_type": "application/json"},
        {"data": b'{"a": NaN}', "content_type": "application/json"},
        {"data": b"[" * 200 + b"]" * 200, "content_type": "application/json"},
        {"data": b'{"a": 1}', "content_type": "text/plain"},
        {"data": {"state": "x"}},
        {},
    ],
)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_is_not_json_is_a_400(caller, path, sent, prefix):
    user = caller("alice", prefix=prefix)
    response = user.post(path, **sent)
    assert response.status_code == 400
    assert response.json["message"].startswith(NOT_JSON)
    assert user.get(path).json["result"] == {"state": {}}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_stateless_actor_keeps_none(caller, database, prefix):
    with database.begin() as session:
        stateless = add_actor(session)
    user = caller("alice", prefix=prefix)
    response = user.post(f"/{stateless.id}/state", json={"a": 1})
    assert response.status_code == 404
    assert response.json["message"] == "actor is stateless."
    assert user.get(f"/{stateless.id}/state").json["result"] == {"state": {}}


def test_a_state_must_fit_into_a_variable(alice, path):
    fitting = "x" * (MAX_STATE_BYTES - 2)  # with its quotes it is as long as it may be
    assert alice.post(path, json=fitting).status_code == 200
    response = alice.post(path, json=fitting + "x")
    assert response.status_code == 400
    assert f"has {MAX_STATE_BYTES + 1} bytes in its Python form" in response.json["message"]
    assert alice.post(path, json="ä" * (MAX_STATE_BYTES // 2)).status_code == 400
    assert alice.get(path).json["result"]["state"] == fitting


def test_reading_needs_read_and_writing_update(caller, bob, path, database, actor):
    assert bob.get(path).status_code == 200
    for user in (bob, caller("carol")):
        assert user.post(path, json=1).status_code == 400
    assert caller("dave").get(path).status_code == 400
    with database.read() as session:
        assert session.get(Actor, actor.id).state == {}


def test_an_unknown_actor_is_a_404(alice):
    for method, arguments in (("GET", {}), ("POST", {"json": 1})):
        response = alice(method, "/AbC3dEf5GhIjK/state", **arguments)
        assert response.status_code == 404
        assert response.json["message"] == "No actor found with id: AbC3dEf5GhIjK."


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_other_methods_are_a_405(alice, path, method):
    assert alice(method, path).status_code == 405
