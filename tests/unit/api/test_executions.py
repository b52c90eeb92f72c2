"""``/actors/<id>/executions`` and below: contract 3.4 to 3.6, 4.2."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Log
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
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
