"""Search, and lists that are searched (abaco_contract.md 3.13)."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import jsonschema_rs
import pytest

from bridge.api.paths import PREFIXES
from bridge.core.case import to_camel
from bridge.core.statuses import ActorStatus, ExecutionStatus, Level, WorkerStatus
from bridge.db import Alias, Log
from bridge.services import search as service
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
    add_permission,
    add_worker,
)
from tests.unit.api.test_openapi import fetch, result_schema

STARTED = START + timedelta(hours=1)


@pytest.fixture
def actors(database):
    """Three actors of alice's, one of bob's that she may not read, one of another tenant."""
    with database.begin() as session:
        made = {
            name: add_actor(session, name=name, create_time=START + timedelta(days=day), **more)
            for day, (name, more) in enumerate(
                {
                    "first": {"max_workers": 3, "hints": ["sync", "big"], "mem_limit": "2g"},
                    "second": {"stateless": False, "status": ActorStatus.ERROR, "token": False},
                    "third": {
                        "image": "docker.io/x/Third:1.0",
                        "description": "a third 100% of_it",
                        "default_environment": {"X": "5"},
                        "state": {"deep": {"a": [1, "two", None]}},
                    },
                }.items()
            )
        }
        add_actor(session, name="hidden", owner="bob")
        add_actor(session, name="abroad", tenant="BIOLOGY")
        gone = add_actor(session, name="gone")
        gone.deleted_at = START
    return made


@pytest.fixture
def runs(database, actors):
    """Executions of the first actor: one waits, two have run, with logs."""
    with database.begin() as session:
        actor = actors["first"]
        worker = add_worker(session, add_array(session, actor))
        made = {"waits": add_execution(session, actor)}
        for number, name in enumerate(("ran", "failed")):
            started = STARTED + timedelta(hours=number)
            made[name] = add_execution(
                session,
                actor,
                status=ExecutionStatus.COMPLETE,
                worker_id=worker.id,
                start_time=started,
                finish_time=started,
                runtime=number * 10,
                cpu=2**40,
                exit_code=number,
                final_state={
                    "ExitCode": number,
                    "OOMKilled": bool(number),
                    "StartedAt": started.isoformat(timespec="milliseconds")[:-6] + "Z",
                },
            )
            session.flush()
            session.add(
                Log(
                    execution_id=made[name].id,
                    text=f"{name} Straße number {number}",
                    expires_at=START + timedelta(days=number * 300),
                )
            )
        other = add_execution(session, actors["second"])
        session.add(
            Log(execution_id=other.id, text="other", expires_at=START + timedelta(days=300))
        )
    return made


def names(response):
    assert response.status_code == 200, response.json
    return [one["name"] for one in response.json["result"]["search"]]


def find(user, search_type="actors", **query):
    query = {key.replace("__", "."): value for key, value in query.items()}
    return user.get(f"/search/{search_type}", query_string=query)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("search_type", ["actors", "executions", "logs"])
def test_the_shape(app, caller, runs, prefix, search_type):
    user = caller("alice", prefix=prefix)
    response = find(user, search_type)
    assert response.json["message"] == "Search completed successfully."
    metadata = response.json["result"]["_metadata"]
    count = {"actors": 3, "executions": 4, "logs": 2}[search_type]
    key = to_camel if prefix == "/actors/v2" else str
    assert metadata == {
        key("total_count"): count,
        key("records_skipped"): 0,
        key("record_limit"): 100,
        key("count_returned"): count,
    }
    schema = result_schema(fetch(app, prefix), prefix + "/search/{search_type}", "get")
    jsonschema_rs.validate(schema, response.json)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nulls_are_kept_and_secrets_hidden(caller, runs, prefix):
    user = caller("alice", prefix=prefix)
    key = to_camel if prefix == "/actors/v2" else str
    actor = find(user).json["result"]["search"][0]
    for name in ("gid", "hints", "link", "mounts", "token", "tasdir", "log_ex", "_links"):
        assert key(name) in actor
    assert actor["tasdir"] is None
    assert not {"tenant", "api_server", "apiServer", "executions", "cluster"} & set(actor)
    execution = find(user, "executions").json["result"]["search"][0]
    assert execution[key("start_time")] is None
    assert not {"tenant", "api_server", "apiServer"} & set(execution)
    assert execution["_links"]["logs"].endswith(f"{execution['id']}/logs")
    log = find(user, "logs").json["result"]["search"][0]
    assert set(log) == {"logs", "_links"}


ON_ACTORS = [
    ("name", "first", ["first"]),
    ("name.eq", '"first"', ["first"]),
    ("name.neq", "first", ["second", "third"]),
    ("name.in", '["first", "third", "x"]', ["first", "third"]),
    ("name.nin", '["first", "third"]', ["second"]),
    ("name.in", "[]", []),
    ("name.like", "^(fir|thi).*[dt]$", ["first", "third"]),
    ("name.nlike", "^f", ["second", "third"]),
    ("name.gt", "first", ["second", "third"]),
    ("name.between", "first,second", ["first", "second"]),
    ("image", "docker.io/x/Third:1.0", ["third"]),
    ("image.like", r"Third:1\.0", ["third"]),
    ("status", "READY", ["first", "third"]),
    ("status", "NOSUCH", []),
    ("status.in", '["ERROR", "NOSUCH"]', ["second"]),
    ("stateless", "false", ["second"]),
    ("stateless.neq", "false", ["first", "third"]),
    ("maxWorkers", "3", ["first"]),
    ("max_workers.gte", "2.5", ["first"]),
    ("max_workers.lt", str(2**62), ["first"]),
    ("max_workers", "none", ["second", "third"]),
    ("max_workers.neq", "none", ["first"]),
    ("max_workers.neq", "7", ["first", "second", "third"]),
    ("max_workers.in", "[3, null]", ["first", "second", "third"]),
    ("mem_limit", "2g", ["first"]),
    ("create_time.gt", "2026-01-01", ["second", "third"]),
    ("create_time", "2026", ["first"]),
    ("create_time.between", "2026-01-02,2026-01-02T00:00:00.000Z", ["second"]),
    ("createTime.lte", "2026-01-01T19-05:00", ["first", "second"]),
    ("hints", "sync", ["first"]),
    ("hints.in", '["big", "small"]', ["first"]),
    ("hints.neq", "sync", ["second", "third"]),
    ("hints.like", "^sy", ["first"]),
    ("token", "false", ["first", "second", "third"]),
    ("default_environment.X", "5", ["third"]),
    ("default_environment.X.like", "5", ["third"]),
    ("default_environment.X.gt", "4", []),
    ("default_environment.X", "none", ["first", "second"]),
    ("state.deep.a", "1", ["third"]),
    ("state.deep.a.gte", "1", ["third"]),
    ("state.deep.a.gt", "1", []),
    ("state.deep.a", "two", ["third"]),
    ("state.deep.a.between", "a,z", ["third"]),
    ("state.deep.like", ".", []),
    ("default_environment.X.y", "5", []),
    ("cron_next_ex", "none", ["first", "second", "third"]),
    ("search", "THIRD nothing", ["third"]),
    ("search", "100%", ["third"]),
    ("search", "f_it", ["third"]),
    ("search", "f%it", []),
    ("search", "", ["first", "second", "third"]),
    ("exactsearch", "a third", ["third"]),
    ("exactsearch", "third a", []),
]


def test_filters_on_actors(alice, actors):
    wanted = {(key, value): expected for key, value, expected in ON_ACTORS}
    for path in ("/search/actors", ""):
        found = {
            (key, value): names(alice.get(path, query_string={key: value})) for key, value in wanted
        }
        assert found == wanted


def test_conditions_hold_together(alice, actors):
    assert names(find(alice, name__like="i", stateless="true", image="debian")) == ["first"]
    both = alice.get("/search/actors?name.neq=first&name.neq=third")
    assert names(both) == ["second"]


def test_those_with_the_most_words_come_first(alice, actors):
    assert names(find(alice, search="debian third of_it alice")) == ["third", "first", "second"]


ON_EXECUTIONS = [
    ("status", "COMPLETE", ["ran", "failed"]),
    ("exit_code", "1", ["failed"]),
    ("cpu.gte", str(2**40), ["ran", "failed"]),
    ("runtime.between", "5,10", ["failed"]),
    ("worker_id", "none", ["waits"]),
    ("start_time", "none", ["waits"]),
    ("finish_time.gt", "2026-01-01T01:30", ["failed"]),
    ("final_state.ExitCode", "0", ["ran"]),
    ("final_state.ExitCode.gt", "0", ["failed"]),
    ("final_state.ExitCode.in", "[0, 1]", ["ran", "failed"]),
    ("final_state.OOMKilled", "true", ["failed"]),
    ("final_state.OOMKilled.neq", "true", ["waits", "ran"]),
    ("final_state.StartedAt.gt", "2026-01-01T01:30", ["failed"]),
    ("finalState.StartedAt.lte", "2026-01-01T03:00+02:00", ["ran"]),
    ("final_state", "none", ["waits"]),
]


def test_filters_on_executions(alice, actors, runs):
    known = {execution.id: name for name, execution in runs.items()}
    actor = actors["first"].id
    wanted = {(key, value): expected for key, value, expected in ON_EXECUTIONS}

    def find_names(path, query):
        response = alice.get(path, query_string=query)
        assert response.status_code == 200, response.json
        found = response.json["result"]["search"]
        assert {one["actor_id"] for one in found} <= {actor}
        return [known[one["id"]] for one in found]

    for path, more in ((f"/{actor}/executions", {}), ("/search/executions", {"actor_id": actor})):
        found = {(key, value): find_names(path, {key: value, **more}) for key, value in wanted}
        assert found == wanted


@pytest.mark.parametrize("prefix", PREFIXES)
def test_messages_and_shapes_of_searched_lists(caller, actors, runs, prefix):
    user = caller("alice", prefix=prefix)
    actor, ran = actors["first"].id, runs["failed"].id
    for path, message in (
        ("", "Actors search completed successfully."),
        (f"/{actor}/executions", "Executions search completed successfully."),
        (f"/{actor}/executions/{ran}/logs", "Logs search completed successfully."),
    ):
        response = user.get(path, query_string={"search": "debian complete number"})
        assert response.status_code == 200
        assert response.json["message"] == message
        assert set(response.json["result"]) == {"_metadata", "search"}
        assert len(response.json["result"]["search"]) >= 1


@pytest.mark.parametrize("query", ["limit=1", "skip=1&limit=1", "offset=0", "x-nonce=n", "limit=0"])
def test_a_page_of_a_list_is_no_search(alice, actors, runs, query):
    assert isinstance(alice.get(f"?{query}").json["result"], list)
    actor = actors["first"].id
    assert "executions" in alice.get(f"/{actor}/executions?{query}").json["result"]
    logs = alice.get(f"/{actor}/executions/{runs['ran'].id}/logs?{query}")
    assert "logs" in logs.json["result"]


def test_offset_is_another_name_of_skip(alice, actors):
    listed = alice.get("?offset=1&limit=1").json["result"]
    assert [one["name"] for one in listed] == ["second"]


def test_logs_are_searched_within_an_execution_and_while_they_live(alice, actors, runs):
    actor = actors["first"].id

    def logs(execution, **query):
        path = f"/{actor}/executions/{runs[execution].id}/logs"
        return [one["logs"] for one in alice.get(path, query_string=query).json["result"]["search"]]

    assert logs("failed", search="straße") == ["failed Straße number 1"]
    assert logs("failed", **{"logs.like": "Stra.e number [0-9]$"}) == ["failed Straße number 1"]
    assert logs("failed", search="other") == []
    assert logs("ran", search="number") == []  # its log has expired
    found = find(alice, "logs", execution_id=runs["failed"].id).json["result"]
    assert found["_metadata"]["total_count"] == 1


def test_pages(alice, actors):
    first = find(alice, limit=2).json["result"]
    assert [one["name"] for one in first["search"]] == ["first", "second"]
    assert first["_metadata"]["total_count"] == 3
    second = find(alice, limit=2, skip=2).json["result"]
    assert [one["name"] for one in second["search"]] == ["third"]
    assert second["_metadata"] == {
        "total_count": 3, "records_skipped": 2, "record_limit": 2, "count_returned": 1,
    }  # fmt: skip
    assert find(alice, skip=9).json["result"]["search"] == []


def test_a_limit_above_the_highest_is_the_highest(alice, actors):
    metadata = find(alice, limit=99_999).json["result"]["_metadata"]
    assert metadata["record_limit"] == service.MAX_LIMIT


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        ("/search/actors", "limit=many", "limit: got 'many', expected an integer from 0"),
        ("/search/actors", "skip=-1", "skip: got '-1', expected an integer from 0"),
        ("/search/actors", "tenant=PHYSICS", "tenant: got 'PHYSICS', expected as its key one of"),
        ("/search/actors", "mounts.mode=ro", "mounts.mode: got 'ro', expected as its key"),
        ("/search/executions", "runtime=long", "runtime: got 'long', expected a number"),
        ("/search/logs", "logs.like=(a", "logs.like: got '(a', expected a pattern"),
        (
            "/search/nonces",
            "",
            "Invalid search type: got 'nonces', expected one of: actors, executions, workers, logs",
        ),
        ("", "permissions=x", "permissions: got 'x', expected as its key"),
        ("", "name=%00", "name: got '\\x00', expected text without NUL"),
    ],
)
def test_what_is_refused(caller, prefix, path, query, named):
    response = caller("alice", prefix=prefix).get(f"{path}?{query}")
    assert response.status_code == 400
    assert named in response.json["message"]


def test_injection_finds_nothing_and_breaks_nothing(alice, actors):
    for text in ("' OR 1=1 --", '"; DROP TABLE actors; --', "%", "_", "\\", "'"):
        assert names(find(alice, name=text)) == []
        assert names(find(alice, exactsearch=text)) in ([], ["third"])
        for key in (f"default_environment.{text}", f"name{text}", f"name.{text}"):
            response = alice.get("/search/actors", query_string={key: text})
            assert response.status_code in (200, 400)
    assert len(names(find(alice))) == 3


def test_others_see_only_what_they_may_read(database, caller, actors, runs):
    def seen(user, search_type="executions"):
        return find(user, search_type).json["result"]["_metadata"]["total_count"]

    bob = caller("bob")
    assert names(find(bob)) == ["hidden"]
    assert seen(bob) == 0
    with database.begin() as session:
        add_permission(session, actors["first"], "bob", Level.NONE)
        add_permission(session, actors["second"], "ABACO_WORLD", Level.UPDATE)
    assert names(find(bob)) == ["hidden"]
    assert seen(bob) == seen(bob, "logs") == 0
    with database.begin() as session:
        add_permission(session, actors["third"], "bob", Level.READ)
    assert names(find(bob)) == ["third", "hidden"] or names(find(bob)) == ["hidden", "third"]


def test_an_admin_sees_no_more_than_others_but_may_search_in_an_actor(admin, actors, runs):
    assert names(find(admin)) == []
    assert find(admin, "executions").json["result"]["search"] == []
    within = admin.get(f"/{actors['first'].id}/executions?status=COMPLETE").json["result"]
    assert within["_metadata"]["total_count"] == 2


def test_another_tenants_things_do_not_exist(caller, actors, runs):
    stranger = caller("alice", tenant="BIOLOGY")
    assert names(find(stranger)) == ["abroad"]
    assert find(stranger, "executions").json["result"]["search"] == []
    assert find(stranger, "logs").json["result"]["search"] == []
    response = stranger.get(f"/{actors['first'].id}/executions?status=COMPLETE")
    assert response.status_code == 404


def test_searching_in_an_actor_needs_read_and_in_an_execution_that_it_is_there(
    caller, bob, actors, runs
):
    actor = actors["first"].id
    for path in (f"/{actor}/executions", f"/{actor}/executions/{runs['ran'].id}/logs"):
        response = bob.get(f"{path}?search=x")
        assert response.status_code == 400
        assert response.json["message"].startswith("Not authorized")
    missing = caller("alice").get(f"/{actor}/executions/{actor}/logs?search=x")
    assert missing.status_code == 404


def test_an_alias_is_searched_in_like_its_actor(database, alice, actors, runs):
    with database.begin() as session:
        session.add(
            Alias(
                tenant="PHYSICS",
                alias="mine",
                actor_id=actors["first"].id,
                owner="alice",
                create_time=START,
            )
        )
    response = alice.get("/mine/executions?status=COMPLETE")
    assert response.json["result"]["_metadata"]["total_count"] == 2


def test_records_that_are_too_large_together_are_not_answered(alice, actors, monkeypatch):
    monkeypatch.setattr(service, "_MAX_BYTES", 2500)
    response = find(alice)
    assert response.status_code == 400
    assert "more than 2500 bytes" in response.json["message"]
    limit = int(response.json["message"].rpartition("limit=")[2].strip("."))
    assert len(names(find(alice, limit=limit))) == limit


def test_a_search_that_takes_too_long_is_ended(database, alice, actors, monkeypatch):
    with database.begin() as session:
        for _ in range(30):
            execution = add_execution(session, actors["first"])
            session.flush()
            text = "ab" * 40_000
            expires = START + timedelta(days=300)
            session.add(Log(execution_id=execution.id, text=text, expires_at=expires))
    hard = {"logs.like": "((ab)+a)+$|(a|b)*c"}
    found = alice.get("/search/logs", query_string=hard)
    assert found.json["result"]["_metadata"]["total_count"] == 0
    monkeypatch.setattr(service, "_LIMIT_S", 0.001)
    response = alice.get("/search/logs", query_string=hard)
    assert response.status_code == 400
    assert "did not finish within 0.001 seconds" in response.json["message"]
    monkeypatch.undo()
    assert len(names(find(alice))) == 3  # the connection is as good as before


def test_a_pattern_with_too_many_steps_is_given_up_on_sqlite(database, alice, actors):
    """PostgreSQL has its own bound for this one, and may well do without."""
    with database.begin() as session:
        execution = add_execution(session, actors["first"])
        session.flush()
        text = "".join(random.Random(1).choices("ab", k=100_000))
        expires = START + timedelta(days=300)
        session.add(Log(execution_id=execution.id, text=text, expires_at=expires))
    response = alice.get("/search/logs", query_string={"logs.like": "a.{40}c"})
    if database.engine.dialect.name == "sqlite":
        assert response.status_code == 400
        assert "too many steps" in response.json["message"]
    else:
        assert response.status_code in (200, 400)


def test_json_that_is_not_a_document_is_not_read_as_one(alice, database, actors):
    with database.begin() as session:
        actor = session.merge(actors["first"])
        actor.state = [1, {"a": 2}, "x"]
    assert names(find(alice, state="x")) == ["first"]
    assert names(find(alice, **{"state.a": "2"})) == []
    with database.begin() as session:
        session.merge(actors["second"]).state = {"a": ["\0", "\ud800", "\N{GRINNING FACE}"], "b": 1}
        session.merge(actors["third"]).state = {"a": "\N{GRINNING FACE}"}
    assert "third" in names(find(alice, **{"state.a.like": "^.$"}))
    assert json.loads(find(alice, state="1").data)["result"]["search"][0]["name"] == "first"


@pytest.fixture
def workers(database, actors):
    """Of the first actor one that is busy and two that Slurm has not started; one of another's."""
    with database.begin() as session:
        array = add_array(session, actors["first"], task_count=3, array_job_id=7)
        add_worker(
            session,
            array,
            host="node1",
            status=WorkerStatus.BUSY,
            create_time=STARTED,
            last_execution_time=STARTED + timedelta(hours=1),
        )
        add_array(session, actors["second"])
        hidden = add_actor(session, owner="bob")
        add_array(session, hidden)
    return array


ON_WORKERS = [
    ("status", "BUSY", 1),
    ("status.neq", "BUSY", 3),
    ("status.in", '["BUSY", "REQUESTED"]', 4),
    ("location", "node1", 1),
    ("location", "none", 3),
    ("location.like", "^node[0-9]$", 1),
    ("location.nlike", "^node[0-9]$", 3),
    ("hostId.nin", '["node1", null]', 0),
    ("cid", "7_0", 1),
    ("image.between", "d,e", 4),
    ("last_execution_time.gt", "2026-01-01T01:30", 1),
    ("lastExecutionTime", "none", 3),
    ("create_time.lte", "2026-01-01", 3),
    ("create_time", "2026-01-01T01", 1),
    ("search", "NODE1 nowhere", 1),
    ("exactsearch", "node1 nowhere", 0),
    ("search", "", 4),
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_filters_on_workers(app, caller, actors, workers, prefix):
    user = caller("alice", prefix=prefix)
    wanted = {(key, value): count for key, value, count in ON_WORKERS}
    found = {
        (key, value): find(user, "workers", **{key: value}).json["result"]["_metadata"]
        for key, value in wanted
    }
    spelled = "totalCount" if prefix == "/actors/v2" else "total_count"
    assert {about: metadata[spelled] for about, metadata in found.items()} == wanted
    response = find(user, "workers", search="node1")
    schema = result_schema(fetch(app, prefix), prefix + "/search/{search_type}", "get")
    jsonschema_rs.validate(schema, response.json)
    [worker] = response.json["result"]["search"]
    assert "tenant" not in worker
    assert worker.get("actor_id", worker.get("actorId")) == actors["first"].id


def test_workers_are_searched_in_an_actor_and_in_pages(alice, actors, workers):
    path = f"/{actors['first'].id}/workers"
    response = alice.get(f"{path}?status.neq=ERROR&limit=2&skip=2")
    assert response.json["message"] == "Workers search completed successfully."
    assert response.json["result"]["_metadata"] == {
        "total_count": 3, "records_skipped": 2, "record_limit": 2, "count_returned": 1,
    }  # fmt: skip
    assert len(alice.get(f"{path}?limit=2").json["result"]) == 2
    ranked = find(alice, "workers", search="node1 debian").json["result"]["search"]
    assert [worker["location"] for worker in ranked] == ["node1", None, None, None]


def test_too_many_workers_are_not_looked_at(alice, actors, workers, monkeypatch):
    monkeypatch.setattr(service, "MAX_WORKERS", 3)
    response = find(alice, "workers")
    assert response.status_code == 400
    assert "more than 3 workers" in response.json["message"]
    within = alice.get(f"/{actors['first'].id}/workers?status=BUSY")
    assert within.json["result"]["_metadata"]["total_count"] == 1


def test_workers_of_actors_that_may_not_be_read_are_not_found(caller, actors, workers):
    bobs = find(caller("bob"), "workers").json["result"]["search"]
    assert len(bobs) == 1
    assert bobs[0]["actor_id"] not in {actor.id for actor in actors.values()}
    assert find(caller("carol"), "workers").json["result"]["search"] == []
    assert find(caller("alice", tenant="BIOLOGY"), "workers").json["result"]["search"] == []
    assert caller("carol").get(f"/{actors['first'].id}/workers?status=BUSY").status_code == 400
