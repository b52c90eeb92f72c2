"""``/actors/<id>/messages``: contract 3.3, 5.1, appendix A."""

from __future__ import annotations

import threading

import pytest

from bridge.api import messages
from bridge.core.messages import MAX_TEXT_BYTES
from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Execution, Log, Message, MessagePart, Result
from tests.factories.rows import START, add_actor, add_execution, add_permission
from tests.unit.api.conftest import ADMIN

BINARY = "application/octet-stream"
LATER = START.replace(year=2027)


@pytest.fixture
def actor(database):
    """An actor of alice's; bob may only read it, carol may post."""
    with database.begin() as session:
        actor = add_actor(session, revision=3)
        add_permission(session, actor, "bob", Level.READ)
        add_permission(session, actor, "carol", Level.EXECUTE)
    return actor


@pytest.fixture
def stored(database):
    """Reads what the only message in the database is."""

    def read():
        with database.read() as session:
            return session.query(Message).one(), session.query(Execution).one()

    return read


def test_a_form_message_becomes_an_execution(alice, actor, stored):
    response = alice.post(f"/{actor.id}/messages", data={"message": "hello"})
    assert response.status_code == 200
    assert response.json["message"] == "The request was successful"
    message, execution = stored()
    root = f"https://bridge.example.org/actors/{actor.id}"
    assert response.json["result"] == {
        "execution_id": execution.id,
        "msg": "hello",
        "_links": {
            "self": f"{root}/executions/{execution.id}",
            "owner": "https://bridge.example.org/profiles/v2/alice",
            "messages": f"{root}/messages",
        },
    }
    assert (message.content_type, message.payload) == ("str", b"hello")
    assert message.environment == {}
    assert execution.status is ExecutionStatus.SUBMITTED
    assert (execution.executor, execution.tenant, execution.actor_revision) == (
        "alice",
        "PHYSICS",
        3,
    )


def test_camel_says_execution_id(caller, actor):
    response = caller("alice", prefix="/actors/v2").post(
        f"/{actor.id}/messages", data={"message": "x"}
    )
    result = response.json["result"]
    assert list(result) == ["executionId", "msg", "_links"]
    assert result["_links"]["self"].endswith(
        f"/actors/v2/{actor.id}/executions/{result['executionId']}"
    )


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "payload", "shown"),
    [
        (JSON, b'{"message": "hi"}', "str", b"hi", "hi"),
        (JSON, b'{"message": {"a": null}, "b": 1}', "str", b"{'a': None}", "{'a': None}"),
        (JSON, b'{"message": 0}', "str", b"0", "0"),
        (JSON, b'{"a": true, "b": null}', JSON, b"{'a': True, 'b': None}", {"a": True, "b": None}),
        (JSON, b'{"message": ""}', JSON, b"{'message': ''}", {"message": ""}),
        (JSON, b'{"message": null}', JSON, b"{'message': None}", {"message": None}),
        (JSON, b"{}", "str", b"{}", {}),
        (JSON, b"[1, 2]", "str", b"[1, 2]", [1, 2]),
        (BINARY, b"\x00\xff{", BINARY, b"\x00\xff{", "binary - omitted"),
        ("text/plain", b'{"a": null}', "str", b"{'a': None}", {"a": None}),
        ("text/plain", b'"text"', "str", b"text", "text"),
        (None, b"5", "str", b"5", 5),
        (FORM, b"message=a%20b&c=d", "str", b"a b", "a b"),
        ("application/json; charset=utf-8", b'{"a": "\xc3\xa9"}', JSON, b"{'a': '\xc3\xa9'}", None),
    ],
)
def test_the_body_is_decided_in_abacos_order(
    alice, actor, stored, content_type, body, kind, payload, shown
):
    response = alice.post(
        f"/{actor.id}/messages",
        data=body,
        headers={"Content-Type": content_type} if content_type else {},
    )
    assert response.status_code == 200, response.json
    message, _ = stored()
    assert (message.content_type, message.payload) == (kind, payload)
    if shown is not None:
        assert response.json["result"]["msg"] == shown


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("text/plain", b"plain text", "message POST body could not be serialized. Pass JSON data"),
        (FORM, b"other=1", "message POST body could not be serialized."),
        (None, b"", "message POST body could not be serialized."),
        (JSON, b"{not json", "not valid JSON"),
        (JSON, b'{"a": 1e999}', "not valid JSON"),
        (JSON, b"[" * 50_000, "nested"),
        (JSON, b"[" * 500 + b"]" * 500, "nested"),
        (JSON, b'{"message": "a\\u0000b"}', "NUL byte"),
        (JSON, b'{"message": "\\ud800"}', "surrogate"),
        (FORM, b"message=a%00b", "NUL byte"),
        (FORM, b"message=" + b"x" * (MAX_TEXT_BYTES + 1), "Message exceeds max content length of"),
        (FORM, b"message=" + b"x" * 1_048_576, "Message exceeds max content length of: 1048576"),
    ],
)
def test_what_cannot_be_a_message(alice, actor, database, content_type, body, words):
    response = alice.post(
        f"/{actor.id}/messages",
        data=body,
        headers={"Content-Type": content_type} if content_type else {},
    )
    assert response.status_code == 400
    assert words in response.json["message"]
    with database.read() as session:
        assert session.query(Execution).count() == 0


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ("600000000", "Message exceeds max content length of: {}"),
        ("many", "Content Length must be an integer."),
        ("-1", "Content Length must be an integer."),
        ("", "Content Length required for application/octet-stream."),
    ],
)
def test_a_binary_message_is_judged_by_its_length_before_it_is_read(
    alice, actor, site, length, words
):
    response = alice.post(
        f"/{actor.id}/messages",
        headers={"Content-Type": BINARY},
        environ_overrides={"CONTENT_LENGTH": length},
    )
    assert response.status_code == 400
    assert response.json["message"] == words.format(site.limits.max_message_bytes)


def test_a_binary_message_may_be_larger_than_text(alice, actor, stored):
    body = b"\x01" * 1_048_576
    response = alice.post(f"/{actor.id}/messages", data=body, headers={"Content-Type": BINARY})
    assert response.status_code == 200
    assert stored()[0].payload == body


def test_query_parameters_become_the_environment(alice, actor, stored):
    response = alice.post(
        f"/{actor.id}/messages?message=m&x-nonce=N&_abaco_synchronous=false&A=1&A=2&empty=",
        headers={"Content-Type": BINARY},
    )
    assert response.json["result"]["msg"] == "m"
    environment = stored()[0].environment
    assert environment["A"] == "1"
    assert environment["empty"] == ""
    assert environment["x-nonce"] == "N"
    assert environment["_abaco_synchronous"] == "false"
    assert "message" not in environment


@pytest.mark.parametrize(
    "query", ["LD_PRELOAD=x", "a-b=x", "PATH=x", "_abaco_username=root", "=x", "A=%00", "SLURM_X=1"]
)
def test_reserved_and_malformed_names_are_refused(alice, actor, query):
    response = alice.post(f"/{actor.id}/messages?{query}", data={"message": "x"})
    assert response.status_code == 400


def test_the_first_of_repeated_keys_counts(alice, actor, stored):
    """agavepy's `environment={'k': ..}` also sends `environment=k`."""
    alice.post(
        f"/{actor.id}/messages?A=first&A=second&environment=A&message=m&message=n",
        headers={"Content-Type": BINARY},
    )
    message, _ = stored()
    assert message.environment == {"A": "first", "environment": "A"}
    assert message.payload == b"m"


def test_a_form_that_nobody_escaped(alice, actor, stored):
    """tapipy's: `a b&c=d` arrives cut at the ampersand."""
    response = alice.post(
        f"/{actor.id}/messages", data=b"message=a b&c=d", headers={"Content-Type": FORM}
    )
    assert response.json["result"]["msg"] == "a b"
    assert stored()[0].environment == {}


def test_a_multipart_form(alice, actor, stored):
    response = alice.post(
        f"/{actor.id}/messages", data={"message": "a=b&c"}, content_type="multipart/form-data"
    )
    assert response.status_code == 200
    assert stored()[0].payload == b"a=b&c"


def test_the_query_s_message_counts_where_a_json_body_has_none(alice, actor):
    for arguments, shown in (
        ({"json": {"message": "body"}}, "body"),
        ({"json": {"a": 1}}, "query"),
        ({"json": {"message": ""}}, {"message": ""}),
        ({"data": {"message": "form"}}, "query"),  # JSON, query, form: the first that has it
        ({}, "query"),
    ):
        response = alice.post(f"/{actor.id}/messages?message=query", **arguments)
        assert response.json["result"]["msg"] == shown


def test_a_bare_question_mark_is_fine(alice, actor):
    assert alice.post(f"/{actor.id}/messages?", data={"message": "x"}).status_code == 200


def test_the_header_of_abacos_own_form_is_told(app, alice, actor, stored):
    token = alice.headers["Authorization"].removeprefix("Bearer ")
    response = app.test_client().post(
        f"/actors/{actor.id}/messages",
        data={"message": "x"},
        headers={"x-jwt-assertion-physics": token},
    )
    assert response.status_code == 200
    assert stored()[0].environment["_abaco_jwt_header_name"] == "X-Jwt-Assertion-Physics"


def test_posting_needs_execute(bob, caller, admin, actor):
    denied = bob.post(f"/{actor.id}/messages", data={"message": "x"})
    assert denied.status_code == 400
    assert denied.json["message"] == "Not authorized -- you do not have access to this actor."
    assert caller("carol").post(f"/{actor.id}/messages", data={"message": "x"}).status_code == 200
    assert admin.post(f"/{actor.id}/messages", data={"message": "x"}).status_code == 200


@pytest.mark.parametrize("level", [Level.NONE, Level.READ])
def test_the_world_gets_the_level_it_was_given_and_no_more(caller, actor, database, level):
    with database.begin() as session:
        add_permission(session, actor, "ABACO_WORLD", level)
    erin = caller("erin")
    assert erin.post(f"/{actor.id}/messages", data={"message": "x"}).status_code == 400
    assert (erin.get(f"/{actor.id}").status_code == 200) is (level is Level.READ)
    assert erin.delete(f"/{actor.id}").status_code == 400


def test_who_may_not_post_learns_that_before_what_is_wrong_with_the_body(bob, actor):
    for arguments in (
        {"data": b"", "headers": {"Content-Type": "text/plain"}},
        {"headers": {"Content-Type": BINARY}, "environ_overrides": {"CONTENT_LENGTH": "600000000"}},
    ):
        response = bob.post(f"/{actor.id}/messages", **arguments)
        assert response.json["message"].startswith("Not authorized --")


def test_messages_to_unknown_and_deleted_actors(alice, actor):
    unknown = alice.post("/AbC3dEf5GhIjK/messages", data={"message": "x"})
    assert unknown.status_code == 404
    assert unknown.json["message"] == "No actor found with id: AbC3dEf5GhIjK."
    alice.delete(f"/{actor.id}")
    for method in ("GET", "POST"):
        assert alice(method, f"/{actor.id}/messages", data={"message": "x"}).status_code == 404


def test_the_mailbox_counts_what_no_container_was_started_for(alice, bob, actor, database):
    with database.begin() as session:
        add_execution(session, actor)
        add_execution(session, actor)
        add_execution(session, actor, status=ExecutionStatus.ERROR, finish_time=START)
    response = bob.get(f"/{actor.id}/messages")
    assert response.status_code == 200
    assert response.json["result"] == {
        "messages": 2,
        "_links": {
            "self": f"https://bridge.example.org/actors/{actor.id}/messages",
            "owner": "https://bridge.example.org/profiles/v2/alice",
        },
    }


@pytest.mark.parametrize("prefix", ["/actors", "/actors/v2", "/v3/actors"])
class TestPurge:
    def test_it_ends_what_waits(self, caller, actor, database, prefix):
        alice = caller("alice", prefix=prefix)
        for text in "abc":
            alice.post(f"/{actor.id}/messages", data={"message": text})
        response = alice.delete(f"/{actor.id}/messages")
        assert response.status_code == 200
        assert response.json["message"] == "The request was successful"
        assert response.json["result"] == {
            "msg": "Actor mailbox purged.",
            "_links": {
                "self": f"https://bridge.example.org{prefix}/{actor.id}/messages",
                "owner": response.json["result"]["_links"]["owner"],
            },
        }
        assert alice.get(f"/{actor.id}/messages").json["result"]["messages"] == 0
        with database.read() as session:
            rows = session.query(Execution).all()
            assert session.query(Message).count() == 0
        assert {row.status for row in rows} == {ExecutionStatus.ERROR}
        shown = alice.get(f"/{actor.id}/executions/{rows[0].id}").json["result"]
        state = shown.get("finalState") or shown.get("final_state")
        assert state["Error"] == "Purged by alice before it ran."

    def test_an_empty_one_may_be_purged(self, caller, actor, prefix):
        response = caller("alice", prefix=prefix).delete(f"/{actor.id}/messages")
        assert response.status_code == 200

    def test_it_needs_update(self, caller, actor, prefix):
        for name in ("bob", "carol"):
            response = caller(name, prefix=prefix).delete(f"/{actor.id}/messages")
            assert response.status_code == 400
            assert response.json["message"].startswith("Not authorized --")
        admin = caller("root_admin", ADMIN, prefix=prefix)
        assert admin.delete(f"/{actor.id}/messages").status_code == 200

    def test_of_no_actor(self, caller, prefix):
        response = caller("alice", prefix=prefix).delete("/AbC3dEf5GhIjK/messages")
        assert response.status_code == 404
        assert response.json["message"] == "No actor found with id: AbC3dEf5GhIjK."

    def test_put_is_no_method_of_it(self, caller, actor, prefix):
        assert caller("alice", prefix=prefix)("PUT", f"/{actor.id}/messages").status_code == 405


class TestIdempotencyKey:
    def post(self, user, actor, key, text="x"):
        return user.post(
            f"/{actor.id}/messages", data={"message": text}, headers={"Idempotency-Key": key}
        )

    def test_a_message_may_be_sent_again(self, alice, actor, stored):
        first = self.post(alice, actor, "run-1")
        again = self.post(alice, actor, "run-1", "y")
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.status_code == 200
        result = first.json["result"]
        assert again.json["result"] == result | {"msg": "y"}
        message, execution = stored()
        assert (message.payload, execution.id) == (b"x", result["execution_id"])

    def test_another_s_key_is_another_key(self, alice, caller, actor):
        first = self.post(alice, actor, "run-1").json["result"]["execution_id"]
        other = self.post(caller("carol"), actor, "run-1")
        assert "Idempotent-Replayed" not in other.headers
        assert other.json["result"]["execution_id"] != first

    @pytest.mark.parametrize("key", ["", "a b", "x" * 129, "\u00e9"])
    def test_what_is_no_key(self, alice, actor, database, key):
        response = self.post(alice, actor, key)
        assert response.status_code == 400
        assert response.json["message"].startswith("Invalid idempotency key")
        with database.read() as session:
            assert session.query(Execution).count() == 0

    def test_a_large_binary_message_too(self, alice, actor, database):
        for _ in range(2):
            response = alice.post(
                f"/{actor.id}/messages",
                data=b"x" * 1_500_000,
                headers={"Content-Type": BINARY, "Idempotency-Key": "k"},
            )
            assert response.status_code == 200
        with database.read() as session:
            assert session.query(MessagePart).count() == 2


class TestSynchronous:
    """``_abaco_synchronous=true``."""

    @pytest.fixture
    def finish(self, app, database):
        """What happens to the execution while the request waits."""

        def prepare(act):
            def pause(_seconds):
                with database.begin() as session:
                    execution = session.query(Execution).order_by(Execution.seq.desc()).first()
                    act(session, execution)

            app.extensions["bridge"].waits._pause = pause
            app.extensions["bridge"].waits._read_s = lambda: 0.0

        return prepare

    def post(self, user, actor, flag="true"):
        return user.post(f"/{actor.id}/messages?_abaco_synchronous={flag}", data={"message": "x"})

    @pytest.mark.parametrize("flag", ["true", "True", "TRUE"])
    @pytest.mark.parametrize("status", [ExecutionStatus.COMPLETE, ExecutionStatus.ERROR])
    def test_it_gives_the_bare_log_at_the_end(self, alice, actor, finish, flag, status):
        def end(session, execution):
            execution.status, execution.finish_time = status, START
            session.add(
                Log(execution_id=execution.id, text="Contents of MSG: x\n", expires_at=LATER)
            )

        finish(end)
        response = self.post(alice, actor, flag)
        assert response.status_code == 200
        assert response.content_type == "text/html; charset=utf-8"
        assert response.text == "Contents of MSG: x\n"
        assert response.headers["Content-Security-Policy"].startswith("sandbox")
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    def test_without_a_log_the_body_is_empty(self, alice, actor, finish):
        def end(_session, execution):
            execution.status, execution.finish_time = ExecutionStatus.ERROR, START

        finish(end)
        response = self.post(alice, actor)
        assert (response.status_code, response.data) == (200, b"")

    @pytest.mark.parametrize("is_final", [False, True])
    def test_the_first_result_comes_before_the_end(self, alice, actor, database, finish, is_final):
        def give(session, execution):
            for number, payload in enumerate((b"\0first", b"second")):
                session.add(
                    Result(
                        execution_id=execution.id, number=number, payload=payload, expires_at=LATER
                    )
                )
            if is_final:
                execution.status, execution.finish_time = ExecutionStatus.COMPLETE, START

        finish(give)
        response = self.post(alice, actor)
        assert response.status_code == 200
        assert response.content_type == BINARY
        assert response.data == b"\0first"
        assert response.headers["Content-Security-Policy"].startswith("sandbox")
        with database.read() as session:
            execution_id = session.query(Execution).one().id
        left = alice.get(f"/{actor.id}/executions/{execution_id}/results")
        assert left.data == b"second"

    def test_an_empty_result_is_one(self, alice, actor, finish):
        def give(session, execution):
            session.add(Result(execution_id=execution.id, number=0, payload=b"", expires_at=LATER))

        finish(give)
        response = self.post(alice, actor)
        assert (response.content_type, response.data) == (BINARY, b"")

    def test_it_does_not_wait_for_ever(self, alice, actor, stored):
        response = self.post(alice, actor)
        assert response.status_code == 408
        assert stored()[1].id in response.json["message"]

    @pytest.mark.parametrize(("waiting", "status"), [(3, 408), (4, 400)])
    def test_a_long_queue_is_not_waited_for(self, alice, actor, database, waiting, status):
        with database.begin() as session:
            for _ in range(waiting):
                add_execution(session, actor)
            add_execution(session, actor, status=ExecutionStatus.ERROR, finish_time=START)
        response = self.post(alice, actor)
        assert response.status_code == status
        if status == 400:
            assert (
                response.json["message"]
                == "Cannot issue synchronous execution when actor message queue > 0."
            )
            with database.read() as session:
                assert session.query(Message).count() == 0

    def test_few_wait_at_once(self, alice, actor, database, monkeypatch):
        monkeypatch.setattr(messages, "_PLACES", threading.BoundedSemaphore(1))
        assert self.post(alice, actor).status_code == 408  # and it has left its place
        with messages._PLACES:
            response = self.post(alice, actor)
        assert response.status_code == 429
        assert "without _abaco_synchronous" in response.json["message"]
        with database.read() as session:
            assert session.query(Execution).count() == 1

    def test_who_may_not_post_does_not_wait(self, bob, actor):
        response = self.post(bob, actor)
        assert response.json["message"].startswith("Not authorized --")

    def test_false_is_no_synchronous_message(self, alice, actor):
        assert "execution_id" in self.post(alice, actor, "false").json["result"]
