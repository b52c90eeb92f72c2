"""``/actors/<id>/executions`` and below: contract 3.4 to 3.6, 4.2."""

from __future__ import annotations

import json
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from sqlalchemy import update

from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Actor, Event, Execution, Log, Message, MessagePart
from bridge.services import executions
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
    add_message,
    add_permission,
    add_worker,
)

ROOT = "https://bridge.example.org/actors"
STATE = {"Status": "exited", "ExitCode": 3, "StartedAt": "2026-01-01T00:00:01.000Z"}


@pytest.fixture
def actor(database):
    with database.begin() as session:
        return add_actor(session)


@pytest.fixture
def finished(database, actor):
    """A complete execution with a log."""
    with database.begin() as session:
        array = add_array(session, actor)
        worker = add_worker(session, array)
        execution = add_execution(
            session,
            actor,
            executor="bob",
            status=ExecutionStatus.COMPLETE,
            array_id=array.id,
            worker_id=worker.id,
            start_time=START + timedelta(seconds=1),
            finish_time=START + timedelta(seconds=3),
            runtime=2,
            cpu=5_000_000_000,
            io=7,
            exit_code=3,
            final_state=STATE,
        )
        session.add(
            Log(execution_id=execution.id, text="hello\n", expires_at=START + timedelta(hours=1))
        )
    return execution


def test_one_execution_whole(alice, actor, finished):
    response = alice.get(f"/{actor.id}/executions/{finished.id}")
    assert response.json["message"] == "Actor execution retrieved successfully."
    assert response.json["result"] == {
        "id": finished.id,
        "actor_id": actor.id,
        "api_server": "https://bridge.example.org",
        "executor": "bob",
        "worker_id": finished.worker_id,
        "status": "COMPLETE",
        "message_received_time": "2026-01-01T00:00:00.000Z",
        "start_time": "2026-01-01T00:00:01.000Z",
        "finish_time": "2026-01-01T00:00:03.000Z",
        "runtime": 2,
        "cpu": 5_000_000_000,
        "io": 7,
        "exit_code": 3,
        "final_state": STATE,
        "attempt": 1,
        "_links": {
            "self": f"{ROOT}/{actor.id}/executions/{finished.id}",
            "owner": "https://bridge.example.org/profiles/v2/bob",
            "logs": f"{ROOT}/{actor.id}/executions/{finished.id}/logs",
        },
    }


def test_camel_keeps_dockers_own_keys(caller, actor, finished):
    result = (
        caller("alice", prefix="/actors/v2")
        .get(f"/{actor.id}/executions/{finished.id}")
        .json["result"]
    )
    assert result["finalState"] == STATE
    assert result["exitCode"] == 3
    assert result["messageReceivedTime"] == "2026-01-01T00:00:00.000Z"


def test_one_that_waits_has_no_end_yet(alice, caller, actor, database):
    with database.begin() as session:
        waiting = add_execution(session, actor)
    path = f"/{actor.id}/executions/{waiting.id}"
    result = alice.get(path).json["result"]
    assert (result["exit_code"], result["final_state"], result["finish_time"]) == (None, None, None)
    assert "finishTime" not in caller("alice", prefix="/actors/v2").get(path).json["result"]


def test_one_that_the_platform_could_not_run_says_why(alice, actor, database):
    with database.begin() as session:
        failed = add_execution(
            session,
            actor,
            status=ExecutionStatus.ERROR,
            finish_time=START,
            reason="The node was lost.",
        )
    result = alice.get(f"/{actor.id}/executions/{failed.id}").json["result"]
    assert result["exit_code"] == "undetermined"
    assert result["final_state"] == {"unavailable": True, "Error": "The node was lost."}


def test_the_list_sums_and_keeps_the_order_of_creation(alice, actor, finished, database):
    with database.begin() as session:
        second = add_execution(session, actor)
        add_execution(session, add_actor(session))
    response = alice.get(f"/{actor.id}/executions")
    assert response.json["message"] == "Actor executions retrieved successfully."
    result = response.json["result"]
    assert [row["id"] for row in result.pop("executions")] == [finished.id, second.id]
    assert result == {
        "actor_id": actor.id,
        "api_server": "https://bridge.example.org",
        "owner": "alice",
        "total_executions": 2,
        "total_runtime": 2,
        "total_cpu": 5_000_000_000,
        "total_io": 7,
        "_links": {
            "self": f"{ROOT}/{actor.id}/executions",
            "owner": "https://bridge.example.org/profiles/v2/alice",
        },
    }


def test_the_list_in_camel_keeps_its_nulls(caller, actor, database):
    with database.begin() as session:
        waiting = add_execution(session, actor)
    result = caller("alice", prefix="/actors/v2").get(f"/{actor.id}/executions").json["result"]
    assert result["totalExecutions"] == 1
    assert result["executions"] == [
        {
            "id": waiting.id,
            "status": "SUBMITTED",
            "startTime": None,
            "finishTime": None,
            "messageReceivedTime": "2026-01-01T00:00:00.000Z",
        }
    ]


def test_the_list_is_paged_and_the_sums_are_not(alice, actor, database):
    with database.begin() as session:
        ids = [add_execution(session, actor).id for _ in range(4)]
    result = alice.get(f"/{actor.id}/executions?limit=2&skip=1").json["result"]
    assert [row["id"] for row in result["executions"]] == ids[1:3]
    assert result["total_executions"] == 4
    assert alice.get(f"/{actor.id}/executions?skip=x").status_code == 400


@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_a_long_list_is_streamed_and_reads_the_same(
    caller, actor, database, monkeypatch, prefix, count
):
    monkeypatch.setattr(executions, "PAGE", 4)
    with database.begin() as session:
        ids = [add_execution(session, actor).id for _ in range(count)]
    user = caller("alice", prefix=prefix)
    path = f"/{actor.id}/executions"
    response = user.get(path)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert ("Content-Length" in response.headers) is (count <= 4)
    whole = json.loads(response.data)
    assert list(whole) == ["message", "status", "version", "result"]
    assert [row["id"] for row in whole["result"]["executions"]] == ids
    assert (
        user.get(path + "?limit=6&skip=1").json["result"]["executions"]
        == (whole["result"]["executions"][1:7])
    )
    assert user("HEAD", path).data == b""


def test_a_list_is_of_one_moment(alice, actor, database, monkeypatch):
    """What is added while a client reads does not make the list longer than its sums."""
    monkeypatch.setattr(executions, "PAGE", 1)
    with database.begin() as session:
        ids = [add_execution(session, actor).id for _ in range(4)]
    pieces = alice.get(f"/{actor.id}/executions", buffered=False).iter_encoded()
    read = next(pieces)
    with database.begin() as session:
        add_execution(session, actor)
    result = json.loads(read + b"".join(pieces))["result"]
    assert result["total_executions"] == 4
    assert [row["id"] for row in result["executions"]] == ids


def test_sums_are_larger_than_any_column(alice, actor, database):
    with database.begin() as session:
        for _ in range(5):
            add_execution(session, actor, cpu=2**62, io=2**62 + 1)
    result = alice.get(f"/{actor.id}/executions").json["result"]
    assert (result["total_cpu"], result["total_io"]) == (5 * 2**62, 5 * (2**62 + 1))


def test_one_that_ran_as_its_executor_shows_their_ids(alice, caller, actor, database):
    with database.begin() as session:
        one = add_execution(session, actor, executor_uid=2002, executor_gid=2003, attempt=2)
    path = f"/{actor.id}/executions/{one.id}"
    result = alice.get(path).json["result"]
    assert (result["executor_uid"], result["executor_gid"], result["attempt"]) == (2002, 2003, 2)
    result = caller("alice", prefix="/actors/v2").get(path).json["result"]
    assert (result["executorUid"], result["executorGid"], result["attempt"]) == (2002, 2003, 2)


# Usage from elsewhere


@pytest.mark.parametrize("kind", ["json", "data"])
@pytest.mark.parametrize(
    ("prefix", "total", "code"),
    [
        ("/actors/v2", "totalRuntime", "exitCode"),
        ("/v3/actors", "total_runtime", "exit_code"),
    ],
)
def test_usage_from_elsewhere_is_put_down(caller, actor, prefix, total, code, kind):
    user = caller("alice", prefix=prefix)
    path = f"/{actor.id}/executions"
    response = user.post(path, **{kind: {"runtime": "60", "cpu": "7", "io": "8"}})
    assert response.status_code == 200
    assert response.json["message"] == "Actor execution added successfully."
    assert response.json["result"] == user.get(f"/{actor.id}").json["result"]
    listed = user.get(path).json["result"]
    assert listed[total] == 60
    one = user.get(f"{path}/{listed['executions'][0]['id']}").json["result"]
    assert (one["status"], one["executor"], one["runtime"]) == ("COMPLETE", "alice", 60)
    assert (one["cpu"], one["io"], one[code]) == (7, 8, "undetermined")
    assert user.get(f"{path}/{one['id']}/logs").json["result"]["logs"] == ""


@pytest.mark.parametrize(
    "sent", [{}, {"runtime": 1, "cpu": 1}, {"runtime": "x", "cpu": 1, "io": 1}]
)
@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_usage_that_is_none_is_a_400(caller, actor, database, sent, prefix):
    response = caller("alice", prefix=prefix).post(f"/{actor.id}/executions", json=sent)
    assert response.status_code == 400
    assert response.json["message"].startswith("Invalid execution description: {")
    with database.read() as session:
        assert session.query(Execution).count() == 0


def test_usage_needs_update(alice, bob, actor, database):
    with database.begin() as session:
        add_permission(session, actor, "bob", Level.EXECUTE)
    usage = {"runtime": 1, "cpu": 1, "io": 1}
    assert bob.post(f"/{actor.id}/executions", json=usage).status_code == 400
    assert alice.post("/AbC3dEf5GhIjK/executions", json=usage).status_code == 404


# Ending one


@pytest.fixture
def planned(database, actor):
    """An execution that a job array has, and that nobody has started."""
    with database.begin() as session:
        execution = add_execution(session, actor, array_id=add_array(session, actor).id)
        add_message(session, execution)
    return execution


@pytest.fixture
def running(database, actor):
    """An execution whose container runs."""
    with database.begin() as session:
        array = add_array(session, actor)
        return add_execution(
            session,
            actor,
            status=ExecutionStatus.RUNNING,
            array_id=array.id,
            worker_id=add_worker(session, array).id,
            start_time=START,
        )


@pytest.fixture
def read(database):
    """Reads an execution's row."""

    def read(execution):
        with database.read() as session:
            return session.get(Execution, execution.seq)

    return read


@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_one_that_runs_is_told_to_quit(caller, actor, running, read, prefix):
    user = caller("alice", prefix=prefix)
    for _ in range(2):
        response = user.delete(f"/{actor.id}/executions/{running.id}")
        assert response.status_code == 200
        assert response.json["message"] == (
            f"Issued force quit command for execution {running.id}."
        )
        assert response.json["result"] is None
    row = read(running)
    assert (row.status, row.cancel_requested_at) == (ExecutionStatus.RUNNING, START)
    assert row.reason == ""


@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_one_that_waits_is_over_at_once(caller, actor, database, read, prefix):
    with database.begin() as session:
        waiting, other = (add_execution(session, actor) for _ in range(2))
        for execution in (waiting, other):
            add_message(session, execution)
        session.add(MessagePart(execution_id=waiting.id, number=0, data=b"x"))
    user = caller("alice", prefix=prefix)
    response = user.delete(f"/{actor.id}/executions/{waiting.id}")
    assert response.status_code == 200
    assert response.json["message"] == f"Execution {waiting.id} was cancelled before it ran."
    assert response.json["result"] is None
    row = read(waiting)
    assert (row.status, row.finish_time) == (ExecutionStatus.ERROR, START)
    assert row.reason == "Cancelled by alice before it ran."
    assert read(other).status is ExecutionStatus.SUBMITTED
    with database.read() as session:
        assert [message.execution_id for message in session.query(Message)] == [other.id]
        assert session.query(MessagePart).count() == 0
    shown = user.get(f"/{actor.id}/executions/{waiting.id}").json["result"]
    state = shown.get("final_state") or shown["finalState"]
    assert state["Error"] == "Cancelled by alice before it ran."
    assert user.get(f"/{actor.id}/messages").json["result"]["messages"] == 1


def test_the_end_of_one_that_waits_is_an_event(alice, database):
    with database.begin() as session:
        actor = add_actor(session, webhook="https://hook.example.org")
        waiting = add_execution(session, actor)
    alice.delete(f"/{actor.id}/executions/{waiting.id}")
    with database.read() as session:
        payload = session.query(Event).one().payload
    assert payload["event_type"] == "EXECUTION_COMPLETE"
    assert (payload["execution_id"], payload["status"]) == (waiting.id, "ERROR")


def test_one_that_an_array_has_is_left_to_the_array(alice, actor, planned, read):
    response = alice.delete(f"/{actor.id}/executions/{planned.id}")
    assert response.json["message"] == f"Issued force quit command for execution {planned.id}."
    row = read(planned)
    assert (row.status, row.cancel_requested_at) == (ExecutionStatus.SUBMITTED, START)
    assert row.reason == "Cancelled by alice before it ran."


@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_one_that_is_over_cannot_be_ended(caller, actor, finished, database, prefix):
    with database.begin() as session:
        failed = add_execution(session, actor, status=ExecutionStatus.ERROR, finish_time=START)
    for execution, status in ((finished, "COMPLETE"), (failed, "ERROR")):
        response = caller("alice", prefix=prefix).delete(f"/{actor.id}/executions/{execution.id}")
        assert response.status_code == 400
        assert response.json["message"] == (
            "Cannot force quit an execution not in RUNNING status. Execution was found in status: "
            + status
        )


def test_ending_needs_update(bob, caller, actor, running, database, read):
    with database.begin() as session:
        add_permission(session, actor, "bob", Level.EXECUTE)
        other = add_actor(session)
    path = f"/executions/{running.id}"
    assert bob.delete(f"/{actor.id}{path}").status_code == 400
    alice = caller("alice")
    assert alice.delete(f"/{other.id}{path}").status_code == 404
    assert alice.delete(f"/{actor.id}/executions/AbC3dEf5GhIjK").status_code == 404
    assert alice.delete(f"/AbC3dEf5GhIjK{path}").status_code == 404
    assert caller("alice", tenant="BIOLOGY").delete(f"/{actor.id}{path}").status_code == 404
    assert read(running).cancel_requested_at is None


@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_other_methods_are_a_405(caller, actor, finished, prefix):
    user = caller("alice", prefix=prefix)
    path = f"/{actor.id}/executions"
    for method, below in (
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", f"/{finished.id}"),
        ("PUT", f"/{finished.id}"),
        ("POST", f"/{finished.id}/logs"),
    ):
        assert user(method, path + below).status_code == 405


def test_an_end_that_meets_a_plan(alice, actor, database):
    """While a plan binds the queue, the end waits, and then asks the array."""
    with database.begin() as session:
        waiting = add_execution(session, actor)
        array = add_array(session, actor)
    answers = []
    with database.begin() as session:
        session.get_one(Actor, actor.id, with_for_update={"key_share": True})
        session.get_one(Execution, waiting.seq)
        ending = Thread(
            target=lambda: answers.append(alice.delete(f"/{actor.id}/executions/{waiting.id}"))
        )
        ending.start()
        ending.join(0.2)
        assert ending.is_alive(), "the end waits for the plan"
        session.execute(
            update(Execution).where(Execution.seq == waiting.seq).values(array_id=array.id)
        )
    ending.join(30)
    assert answers[0].json["message"].startswith("Issued force quit command")
    with database.read() as session:
        row = session.get(Execution, waiting.seq)
        assert (row.status, row.array_id) == (ExecutionStatus.SUBMITTED, array.id)
        assert row.cancel_requested_at is not None


def test_ends_at_once_of_the_same_execution(alice, database):
    """One of them ends it, and its webhook is told once."""
    for _ in range(10):
        with database.begin() as session:
            actor = add_actor(session, webhook="https://hook.example.org")
            waiting = add_execution(session, actor)
        answers, ready = [], Barrier(5)

        def end(path=f"/{actor.id}/executions/{waiting.id}", ready=ready, answers=answers):
            ready.wait()
            answers.append(alice.delete(path).status_code)

        enders = [Thread(target=end) for _ in range(5)]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join(30)
        assert sorted(answers) == [200, 400, 400, 400, 400]
    with database.read() as session:
        assert session.query(Event).count() == 10


def test_logs(alice, actor, finished, clock):
    path = f"/{actor.id}/executions/{finished.id}/logs"
    response = alice.get(path)
    assert response.json["message"] == "Logs retrieved successfully."
    assert response.json["result"] == {
        "logs": "hello\n",
        "_links": {
            "self": f"{ROOT}{path}",
            "owner": "https://bridge.example.org/profiles/v2/alice",
            "execution": f"{ROOT}/{actor.id}/executions/{finished.id}",
        },
    }
    clock.push(1800)  # the token holds for an hour, as the log does
    assert alice.get(path).json["result"]["logs"] == "hello\n"


def test_logs_that_are_missing_or_expired_are_empty(alice, actor, finished, database):
    with database.begin() as session:
        waiting = add_execution(session, actor)
        session.get(Log, finished.id).expires_at = START
    for execution in (waiting, finished):
        response = alice.get(f"/{actor.id}/executions/{execution.id}/logs")
        assert response.json["result"]["logs"] == ""


@pytest.mark.parametrize("identifier", ["AbC3dEf5GhIjK", "%00", "no-such"])
@pytest.mark.parametrize("below", ["", "/logs"])
def test_an_unknown_execution_is_a_404(alice, actor, identifier, below):
    response = alice.get(f"/{actor.id}/executions/{identifier}{below}")
    assert response.status_code == 404
    assert response.json["message"].startswith(
        f"No executions found with actor id of {actor.id} and execution id of "
    )


def test_an_execution_is_found_only_below_its_own_actor(alice, finished, database):
    with database.begin() as session:
        other = add_actor(session)
    assert alice.get(f"/{other.id}/executions/{finished.id}").status_code == 404


def test_reading_needs_read(bob, caller, actor, finished, database):
    with database.begin() as session:
        add_permission(session, actor, "carol", Level.READ)
    for path in ("", f"/{finished.id}", f"/{finished.id}/logs"):
        assert bob.get(f"/{actor.id}/executions{path}").status_code == 400
        assert caller("carol").get(f"/{actor.id}/executions{path}").status_code == 200
        assert bob.get(f"/AbC3dEf5GhIjK/executions{path}").status_code == 404
