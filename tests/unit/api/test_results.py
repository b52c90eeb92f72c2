"""``/actors/<id>/executions/<eid>/results``: contract 3.7, and ``/all`` beyond it."""

from __future__ import annotations

import threading
from base64 import b64decode
from datetime import timedelta

import pytest

from bridge.core.statuses import Level
from bridge.db import Result
from bridge.services import results
from tests.factories.rows import START, add_actor, add_execution, add_permission

PREFIXES = ("/actors/v2", "/v3/actors")
BINARY = bytes(range(256))


@pytest.fixture
def execution(database):
    """An execution of an actor that carol may read and bob may not."""
    with database.begin() as session:
        actor = add_actor(session)
        add_permission(session, actor, "carol", Level.READ)
        return add_execution(session, actor)


@pytest.fixture
def add(database, execution):
    """Adds results, numbered from 0."""

    def add(*payloads, lifetime_s=3600):
        with database.begin() as session:
            for number, payload in enumerate(payloads):
                expires_at = START + timedelta(seconds=lifetime_s)
                session.add(
                    Result(
                        execution_id=execution.id,
                        number=number,
                        payload=payload,
                        expires_at=expires_at,
                    )
                )

    return add


@pytest.fixture
def path(execution):
    return f"/{execution.actor_id}/executions/{execution.id}/results"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_each_result_is_given_once_in_order_and_then_nothing(caller, add, path, prefix):
    add(b"first", BINARY, b"")
    carol = caller("carol", prefix=prefix)
    for expected in (b"first", BINARY, b"", b"", b""):
        response = carol.get(path)
        assert response.status_code == 200
        assert response.content_type == "application/octet-stream"
        assert response.data == expected
        assert response.headers["Cache-Control"] == "no-store"


def test_a_head_takes_nothing(alice, add, path):
    add(b"first")
    assert alice("HEAD", path).status_code == 200
    assert alice.get(path).data == b"first"


def test_what_has_expired_is_gone(alice, add, path, clock):
    add(b"first", lifetime_s=60)
    clock.push(60)
    assert alice.get(path).data == b""
    assert alice.get(path + "/all").json["result"]["results"] == []


def test_readers_at_the_same_moment_get_each_another_one(alice, add, path):
    add(*(b"%d" % number for number in range(40)))
    taken: list[bytes] = []
    ready = threading.Barrier(4)

    def read():
        ready.wait()
        while (data := alice.get(path).data) != b"":
            taken.append(data)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert sorted(taken, key=int) == [b"%d" % number for number in range(40)]


@pytest.mark.parametrize(
    ("prefix", "total", "skip"),
    [("/actors/v2", "totalResults", "nextSkip"), ("/v3/actors", "total_results", "next_skip")],
)
def test_all_are_listed_and_none_is_taken(caller, add, path, execution, prefix, total, skip):
    add(b"first", BINARY)
    user = caller("alice", prefix=prefix)
    user.get(path)
    for _ in range(2):
        response = user.get(path + "/all")
        assert response.status_code == 200
        assert response.json["message"] == "Results retrieved successfully."
        result = response.json["result"]
        assert result[total] == 2
        assert result.get(skip) is None
        assert [(one["number"], one["size"], one["taken"]) for one in result["results"]] == [
            (0, 5, True),
            (1, 256, False),
        ]
        assert [b64decode(one["data"]) for one in result["results"]] == [b"first", BINARY]
        root = f"https://bridge.example.org{prefix}/{execution.actor_id}/executions/{execution.id}"
        assert result["_links"]["self"] == f"{root}/results/all"
        assert result["_links"]["execution"] == root
    assert user.get(path).data == BINARY


def test_the_list_is_paged(alice, add, path):
    add(*(b"%d" % number for number in range(5)))
    result = alice.get(path + "/all?limit=2&skip=1").json["result"]
    assert [one["number"] for one in result["results"]] == [1, 2]
    assert (result["total_results"], result["next_skip"]) == (5, 3)
    last = alice.get(path + "/all?skip=3").json["result"]
    assert [one["number"] for one in last["results"]] == [3, 4]
    assert last["next_skip"] is None
    assert alice.get(path + "/all?limit=x").status_code == 400


def test_one_answer_is_bounded_and_says_where_to_go_on(alice, add, path, monkeypatch):
    monkeypatch.setattr(results, "MAX_LISTED_BYTES", 10)
    monkeypatch.setattr(results, "MAX_LISTED", 3)
    add(b"x" * 20, b"x" * 6, b"x" * 4, b"x", b"", b"", b"")
    seen, skip = [], 0
    while skip is not None:
        result = alice.get(f"{path}/all?skip={skip}&limit=100").json["result"]
        seen.append([one["number"] for one in result["results"]])
        skip = result["next_skip"]
    assert seen == [[0], [1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("below", ["", "/all"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_who_may_not_read_gets_none(caller, add, path, below, prefix):
    add(b"first")
    denied = caller("bob", prefix=prefix).get(path + below)
    assert denied.status_code == 400
    assert denied.json["message"] == "Not authorized -- you do not have access to this actor."
    assert caller("alice", tenant="BIOLOGY", prefix=prefix).get(path + below).status_code == 404
    assert caller("alice", prefix=prefix).get(path).data == b"first"


@pytest.mark.parametrize("below", ["", "/all"])
def test_an_unknown_actor_or_execution_is_a_404(alice, execution, below):
    for path in (
        f"/AbC3dEf5GhIjK/executions/{execution.id}/results",
        f"/{execution.actor_id}/executions/AbC3dEf5GhIjK/results",
    ):
        for method in ("GET", "HEAD"):
            assert alice(method, path + below).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("below", ["", "/all"])
def test_other_methods_are_a_405(alice, path, method, below):
    assert alice(method, path + below).status_code == 405
