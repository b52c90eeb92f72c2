"""``POST /actors/<id>/messages/batch``: many messages, or none."""

from __future__ import annotations

import json

import pytest

from bridge.core.messages import MAX_TEXT_BYTES
from bridge.core.statuses import Level
from bridge.db import Execution, Message
from bridge.sites import Site
from tests.factories.rows import add_actor, add_permission

NDJSON = "application/x-ndjson"
CASES = [("/actors", "snake"), ("/actors/v2", "camel"), ("/v3/actors", "snake")]


@pytest.fixture
def actor(database):
    """An actor of alice's; bob may only read it, carol may post."""
    with database.begin() as session:
        actor = add_actor(session)
        add_permission(session, actor, "bob", Level.READ)
        add_permission(session, actor, "carol", Level.EXECUTE)
    return actor


@pytest.fixture
def site(site: Site) -> Site:
    """A site that takes small batches."""
    bounds = {"max_batch_messages": 20, "max_batch_bytes": 1_200_000}
    return site.model_copy(update={"limits": site.limits.model_copy(update=bounds)})


@pytest.fixture
def stored(database):
    """Reads (content type, payload, environment) of all messages, in the order of arrival."""

    def read():
        with database.read() as session:
            query = session.query(Execution.id, Message).join(
                Message, Message.execution_id == Execution.id
            )
            rows = query.order_by(Execution.seq).all()
        ids = [name for name, _ in rows]
        return ids, [(m.content_type, m.payload.decode(), m.environment) for _, m in rows]

    return read


def send(user, actor, values, query="", **headers):
    return user.post(f"/{actor.id}/messages/batch{query}", json=values, headers=headers)


def send_lines(user, actor, lines):
    return user.post(f"/{actor.id}/messages/batch", data=lines, headers={"Content-Type": NDJSON})


@pytest.mark.parametrize(("prefix", "case"), CASES)
def test_a_batch_becomes_executions_in_its_order(caller, actor, stored, prefix, case):
    alice = caller("alice", prefix=prefix)
    response = send(
        alice,
        actor,
        [
            "plain",
            {"message": "text", "environment": {"A": "1", "n": 2, "yes": True, "x": 1.5}},
            {"message": {"a": None}, "environment": None},
            {"message": [1, True], "idempotency_key": None},
            {"message": 0},
            {"message": {}},
            {"message": ""},
            "\u00e9",
        ],
    )
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.json["message"] == "The request was successful"
    ids, messages = stored()
    name, mark = ("executionId", "isNew") if case == "camel" else ("execution_id", "is_new")
    root = f"https://bridge.example.org{prefix}/{actor.id}"
    assert response.json["result"] == {
        "executions": [{name: one, mark: True} for one in ids],
        "_links": {
            "self": f"{root}/messages",
            "owner": response.json["result"]["_links"]["owner"],
            "executions": f"{root}/executions",
        },
    }
    assert messages == [
        ("str", "plain", {}),
        ("str", "text", {"A": "1", "n": "2", "yes": "True", "x": "1.5"}),
        ("application/json", "{'a': None}", {}),
        ("str", "[1, True]", {}),
        ("str", "0", {}),
        ("str", "{}", {}),
        ("str", "", {}),
        ("str", "\u00e9", {}),
    ]


@pytest.mark.parametrize("end", ["", "\n", "\r\n\n"])
def test_lines_of_json_are_a_batch_too(alice, actor, stored, end):
    lines = '"a"\n\n {"message": "b"} \n"c"' + end
    response = send_lines(alice, actor, lines.encode())
    assert response.status_code == 200
    assert [payload for _, payload, _ in stored()[1]] == ["a", "b", "c"]


def test_the_query_sets_variables_of_all(alice, actor, stored):
    values = ["a", {"message": "b", "environment": {"A": "own"}}]
    send(alice, actor, values, "?A=all&B=2&x-nonce=N&message=ignored")
    shared = {"A": "all", "B": "2", "x-nonce": "N"}
    assert [environment for _, _, environment in stored()[1]] == [shared, shared | {"A": "own"}]


def test_the_header_of_abacos_own_form_is_told_to_all(app, alice, actor, stored):
    token = alice.headers["Authorization"].removeprefix("Bearer ")
    app.test_client().post(
        f"/actors/{actor.id}/messages/batch",
        json=["a", {"message": "b", "environment": {"A": "1"}}],
        headers={"X-Jwt-Assertion-Physics": token},
    )
    header = {"_abaco_jwt_header_name": "X-Jwt-Assertion-Physics"}
    assert [environment for _, _, environment in stored()[1]] == [header, header | {"A": "1"}]


@pytest.mark.parametrize("name", ["idempotency_key", "idempotencyKey"])
@pytest.mark.parametrize(("prefix", "case"), CASES)
def test_a_batch_may_be_sent_again(caller, actor, stored, prefix, case, name):
    alice = caller("alice", prefix=prefix)
    first = alice.post(
        f"/{actor.id}/messages", data={"message": "a"}, headers={"Idempotency-Key": "k1"}
    )
    values = [{"message": text, name: f"k{text}"} for text in ("1", "2", "2", "3")]
    answers = [send(alice, actor, values).json["result"]["executions"] for _ in range(2)]
    one, mark = ("executionId", "isNew") if case == "camel" else ("execution_id", "is_new")
    assert [answer[mark] for answer in answers[0]] == [False, True, False, True]
    assert [answer[mark] for answer in answers[1]] == [False] * 4
    assert [answer[one] for answer in answers[0]] == [answer[one] for answer in answers[1]]
    assert answers[0][0][one] == first.json["result"][one]
    assert answers[0][1][one] == answers[0][2][one]
    assert [payload for _, payload, _ in stored()[1]] == ["a", "2", "3"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (5, "expected a text, or an object with `message`"),
        (None, "expected a text, or an object"),
        (["a"], "expected a text, or an object"),
        ({}, "got the keys []"),
        ({"a": 1}, "got the keys ['a']. A JSON message stands under `message`."),
        ({"message": "x", "env": {}}, "got the keys ['env', 'message']"),
        ({"message": None}, "`message` is null"),
        ({"message": "a\0b"}, "NUL byte"),
        ({"message": "\ud800"}, "surrogate"),
        ({"message": "x" * (MAX_TEXT_BYTES + 1)}, "Message exceeds max content length of"),
        ({"message": "x", "environment": "A=1"}, "`environment` is no object"),
        ({"message": "x", "environment": {"A": None}}, "neither text, number nor boolean"),
        ({"message": "x", "environment": {"A": {}}}, "gives 'A' a value"),
        ({"message": "x", "environment": {"LD_PRELOAD": "x"}}, "LD_PRELOAD in its `environment`"),
        ({"message": "x", "environment": {"a-b": "x"}}, "'a-b' in its `environment`"),
        ({"message": "x", "environment": {"A": "\0"}}, "NUL byte"),
        ({"message": "x", "environment": {"A": "x" * 65_537}}, "longer than 65536 bytes"),
        ({"message": "x", "idempotency_key": ""}, "Invalid idempotency key ''"),
        ({"message": "x", "idempotency_key": 5}, "Invalid idempotency key '5'"),
        ({"message": "x", "idempotency_key": "a b"}, "expected 1 to 128 visible ASCII"),
    ],
)
def test_one_that_cannot_be_read_is_named_and_nothing_is_queued(alice, actor, database, bad, words):
    response = send(alice, actor, ["good", bad, "good"])
    assert response.status_code == 400
    assert response.json["message"].startswith("Message 2 of 3 of the batch: ")
    assert words in response.json["message"]
    with database.read() as session:
        assert session.query(Execution).count() == 0


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"[]", "application/json", "The batch is empty"),
        (b"", NDJSON, "The batch is empty"),
        (b"\n\n", NDJSON, "The batch is empty"),
        (b"{}", "application/json", "must be an array"),
        (b'"x"', "application/json", "must be an array"),
        (b"", "application/json", "not valid JSON"),
        (b"[1,", "application/json", "not valid JSON"),
        (b"[" * 5000, "application/json", "nested"),
        (b'"a"\n{bad}\n', NDJSON, "Line 2 of the batch: The body is not valid JSON"),
        (b'"a"\n\xff\n', NDJSON, "Line 2 of the batch"),
        (b"message=x", "application/x-www-form-urlencoded", "got the content type"),
        (b"x", "text/plain", "got the content type 'text/plain'"),
        (json.dumps(["x"] * 21).encode(), "application/json", "has 21 messages; 20 can be sent"),
        (b'"x"\n' * 21, NDJSON, "has 21 messages; 20 can be sent at once"),
        (b"\n" * 50, NDJSON, "20 can be sent at once"),
        (b" " * 1_200_001, NDJSON, "exceeds 1200000 bytes"),
    ],
)
def test_what_is_no_batch(alice, actor, database, body, kind, words):
    response = alice.post(f"/{actor.id}/messages/batch", data=body, headers={"Content-Type": kind})
    assert response.status_code == 400
    assert words in response.json["message"]
    with database.read() as session:
        assert session.query(Execution).count() == 0


def test_a_batch_may_be_larger_than_a_message(alice, actor, stored):
    values = ["x" * 90_000] * 12
    assert send(alice, actor, values).status_code == 200
    assert [len(payload) for _, payload, _ in stored()[1]] == [90_000] * 12


@pytest.mark.parametrize(
    ("query", "headers", "words"),
    [
        ("?_abaco_synchronous=true", {}, "cannot be waited for"),
        ("", {"Idempotency-Key": "k"}, "keys of their own"),
        ("?PATH=x", {}, "PATH in the query string is reserved"),
    ],
)
def test_what_a_batch_cannot_be(alice, actor, query, headers, words):
    response = send(alice, actor, ["x"], query, **headers)
    assert response.status_code == 400
    assert words in response.json["message"]


def test_it_needs_execute_and_says_so_first(bob, caller, admin, actor):
    for values in (["x"], {"not": "a batch"}):
        response = send(bob, actor, values)
        assert response.status_code == 400
        assert response.json["message"] == (
            "Not authorized -- you do not have access to this actor."
        )
    assert send(caller("carol"), actor, ["x"]).status_code == 200
    assert send(admin, actor, ["x"]).status_code == 200


def test_of_no_actor(alice, actor):
    unknown = alice.post("/AbC3dEf5GhIjK/messages/batch", json=["x"])
    assert unknown.status_code == 404
    assert unknown.json["message"] == "No actor found with id: AbC3dEf5GhIjK."
    alice.delete(f"/{actor.id}")
    assert send(alice, actor, ["x"]).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_none_of_it(alice, actor, method):
    assert alice(method, f"/{actor.id}/messages/batch").status_code == 405


def test_an_actor_that_runs_as_its_executor_refuses_whom_nobody_looked_up(alice, database, stored):
    with database.begin() as session:
        actor = add_actor(session, run_as_executor=True)
    response = send(alice, actor, ["a", "b"])
    assert response.status_code == 400
    assert "run_as_executor" in response.json["message"]
    assert stored() == ([], [])
