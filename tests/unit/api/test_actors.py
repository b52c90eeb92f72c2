"""``/actors`` and ``/actors/<id>``: contract 3.1, 3.2, appendix A."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from threading import Thread

import pytest

from bridge.api import create_app
from bridge.core.batch import KEYS
from bridge.core.statuses import ActorStatus, ArrayStatus, ExecutionStatus, ImageStatus, Level
from bridge.db import (
    Actor,
    Alias,
    Array,
    Execution,
    Image,
    Log,
    Message,
    MessagePart,
    Nonce,
    Permission,
    Result,
)
from bridge.sites.model import BatchPolicy
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
    add_image,
    add_message,
    add_permission,
    add_worker,
)
from tests.unit.api.conftest import PRIVILEGED

FIELDS = [
    "id",
    "name",
    "image",
    "description",
    "owner",
    "status",
    "status_message",
    "stateless",
    "state",
    "type",
    "link",
    "webhook",
    "hints",
    "token",
    "privileged",
    "use_container_uid",
    "run_as_executor",
    "batch",
    "default_environment",
    "mounts",
    "max_workers",
    "mem_limit",
    "max_cpus",
    "queue",
    "revision",
    "uid",
    "gid",
    "tasdir",
    "log_ex",
    "cron_on",
    "cron_schedule",
    "cron_next_ex",
    "create_time",
    "last_update_time",
    "_links",
]


def test_registering_by_form_answers_the_whole_actor(alice):
    response = alice.post(data={"image": "abacosamples/test", "name": "demo"})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.json["message"] == "Actor created successfully."
    assert response.json["status"] == "success"
    actor = response.json["result"]
    assert list(actor) == FIELDS
    root = "https://bridge.example.org/actors"
    expected = {
        "name": "demo",
        "image": "abacosamples/test",
        "owner": "alice",
        "status": "SUBMITTED",
        "stateless": True,
        "state": {},
        "type": "none",
        "token": "false",
        "queue": "default",
        "revision": 1,
        "uid": 2001,
        "gid": 2001,
        "hints": [],
        "max_workers": None,
        "cron_on": False,
        "create_time": "2026-01-01T00:00:00.000Z",
        "mounts": [
            {"host_path": "/work/alice", "container_path": "/work", "mode": "rw"},
            {"host_path": "/corral/PHYSICS", "container_path": "/corral", "mode": "ro"},
        ],
        "_links": {
            "self": f"{root}/{actor['id']}",
            "owner": "https://bridge.example.org/profiles/v2/alice",
            "executions": f"{root}/{actor['id']}/executions",
        },
    }
    assert {key: actor[key] for key in expected} == expected
    assert re.fullmatch(r"[A-Za-z0-9]{13}", actor["id"])


def test_camel_drops_nulls_and_keeps_nested_keys(caller):
    response = caller("alice", prefix="/actors/v2").post(
        json={"image": "x", "defaultEnvironment": {"some_key": 1}}
    )
    actor = response.json["result"]
    assert actor["defaultEnvironment"] == {"some_key": "1"}
    assert "maxWorkers" not in actor
    assert actor["useContainerUid"] is False
    assert actor["createTime"] == "2026-01-01T00:00:00.000Z"
    assert set(actor["mounts"][0]) == {"host_path", "container_path", "mode"}
    assert actor["_links"]["self"].startswith("https://bridge.example.org/actors/v2/")


def test_v3_is_snake_with_its_own_links(caller):
    actor = caller("alice", prefix="/v3/actors").post(json={"image": "x"}).json["result"]
    assert actor["max_workers"] is None
    assert actor["_links"]["self"] == f"https://bridge.example.org/v3/actors/{actor['id']}"
    assert actor["_links"]["owner"] == "https://bridge.example.org/v3/oauth2/profiles/alice"


def test_registering_asks_for_the_image_once_and_gives_update(alice, database):
    first = alice.post(json={"image": "debian"}).json["result"]
    alice.post(json={"image": "docker://docker.io/library/debian:latest"})
    with database.read() as session:
        image = session.query(Image).one()
        assert image.reference == "docker.io/library/debian:latest"
        assert (image.cluster, image.tenant) == ("alpha", "PHYSICS")
        assert image.status is ImageStatus.REQUESTED
        assert session.get(Permission, (first["id"], "alice")).level is Level.UPDATE


def test_an_image_that_failed_is_tried_again(alice, database):
    with database.begin() as session:
        add_image(
            session,
            reference="docker.io/library/debian:latest",
            status=ImageStatus.ERROR,
            attempts=5,
        )
    alice.post(json={"image": "debian"})
    with database.read() as session:
        image = session.query(Image).one()
        assert (image.status, image.attempts) == (ImageStatus.REQUESTED, 0)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"stateless": "False"}, {"stateless": False}),
        ({"stateless": "1"}, {"stateless": True}),
        ({"token": "True"}, {"token": True}),
        ({"hints": ["a", "b"]}, {"hints": ["a", "b"]}),
        ({"hints": "sync"}, {"hints": ["sync"]}),
        ({"log_ex": "60"}, {"log_ex": 60}),
        ({"logEx": 60}, {"log_ex": 60}),
        ({"name": None}, {"name": None}),
        ({"stateless": None}, {"stateless": True}),
        ({"status": "READY", "uid": 0, "state": {"a": 1}}, {"status": "SUBMITTED", "uid": 2001}),
        ({"state": {"a": 1}, "owner": "bob", "revision": 9}, {"state": {}, "owner": "alice"}),
        (
            {"cron_schedule": "now + 2 hours"},
            {"cron_on": True, "cron_schedule": "now + 2 hours", "cron_next_ex": "2026-1-1 0"},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["json", "data"])
def test_fields_are_read_from_json_and_form(alice, sent, shown, kind):
    if kind == "data" and any(v is None or isinstance(v, dict) for v in sent.values()):
        pytest.skip("a form has no nulls and objects")
    actor = alice.post(**{kind: {"image": "x", **sent}}).json["result"]
    assert {key: actor[key] for key in shown} == shown


def test_the_query_is_read_after_json_and_before_the_form(alice):
    actor = alice.post("?image=y&name=q", data={"image": "x", "name": "f"}).json["result"]
    assert (actor["image"], actor["name"]) == ("y", "q")
    assert alice.post("?image=y", json={"image": "x"}).json["result"]["image"] == "x"


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        ({}, "'image'"),
        ({"image": ""}, "'image'"),
        ({"image": "Not An Image"}, "'image'"),
        ({"image": "x", "stateless": "maybe"}, "'stateless'"),
        ({"image": "x", "default_environment": "a=b"}, "'default_environment'"),
        ({"image": "x", "default_environment": {"LD PRELOAD": "b"}}, "'default_environment'"),
        ({"image": "x", "default_environment": {"SLURM_JOB_ID": "b"}}, "reserved"),
        ({"image": "x", "hints": ["{bad"]}, "Hints must be simple stings"),
        ({"image": "x", "type": "other"}, "'type'"),
        ({"image": "x", "log_ex": "soon"}, "'log_ex'"),
        ({"image": "x", "log_ex": 10**30}, "'log_ex'"),
        ({"image": "x", "name": "a\0b"}, "'name'"),
        ({"image": "x", "name": "\ud800"}, "'name'"),
        ({"image": "x", "cron_schedule": "tomorrow"}, "The cron is not in the correct format"),
        ({"image": "x", "cron_schedule": "2020-01-01 5 + 1 hour"}, "starting datetime is old"),
        ({"image": "x", "link": "nobody"}, "Invalid link parameter"),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(alice, database, sent, word):
    response = alice.post(json=sent)
    assert response.status_code == 400
    assert word in response.json["message"]
    assert response.json["result"] is None
    with database.read() as session:
        assert session.query(Actor).count() == 0


def test_the_field_is_named_in_the_clients_case(caller):
    camel = caller("alice", prefix="/actors/v2").post(json={"image": "x", "logEx": "soon"})
    assert camel.json["message"].startswith("Invalid actor description: {'logEx': '")


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"{", b"[" * 100_000, b'{"image": NaN}'])
def test_a_body_that_is_no_json_object_is_a_400(alice, body):
    response = alice.post(data=body, content_type="application/json")
    assert response.status_code == 400
    assert response.json["status"] == "error"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"privileged": True}, "can make privileged actors."),
        ({"max_workers": 2}, "can set max workers."),
        ({"maxCpus": 1}, "can set max CPUs."),
        ({"mem_limit": "3g"}, "can set mem limit."),
        ({"queue": "special"}, "can set queue."),
        ({"use_container_uid": True}, "can use container uid."),
    ],
)
def test_restricted_fields_need_a_role(caller, sent, words):
    response = caller("alice").post(json={"image": "x", **sent})
    assert response.status_code == 400
    assert response.json["message"] == f"Not authorized -- only admins and privileged users {words}"
    assert caller("alice", PRIVILEGED).post(json={"image": "x", **sent}).status_code == 200


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("/actors/v2", ("useContainerUid", "runAsExecutor")),
        ("/v3/actors", ("use_container_uid", "run_as_executor")),
    ],
)
def test_running_as_the_executor_is_the_tenants_to_allow(
    caller, site, database, clock, waits, prefix, names
):
    response = caller("alice", prefix=prefix).post(json={"image": "x", names[1]: True})
    assert response.status_code == 400
    assert response.json["message"] == "run_as_executor isn't supported for your tenant"
    tenant = site.tenants["PHYSICS"].model_copy(update={"run_as_executor": True})
    allowing = site.model_copy(update={"tenants": {"PHYSICS": tenant}})
    client = create_app(allowing, database, clock, waits).test_client()
    headers = caller("alice", PRIVILEGED).headers
    both = client.post(prefix, json={"image": "x", **dict.fromkeys(names, True)}, headers=headers)
    assert both.status_code == 400
    assert both.json["message"] == f"Cannot set both {names[0]} and {names[1]} as true"
    actor = client.post(prefix, json={"image": "x", names[1]: True}, headers=headers)
    assert actor.json["result"][names[1]] is True
    assert actor.json["result"][names[0]] is False


@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_what_is_asked_of_slurm_is_shown_as_it_was_asked(caller, prefix):
    user = caller("alice", prefix=prefix)
    batch = {"time_limit": 600, "memory": 512, "reuse": "none"}
    shown = user.post(json={"image": "x", "batch": batch}).json["result"]["batch"]
    assert list(shown) == list(KEYS)
    assert {key: value for key, value in shown.items() if value is not None} == batch
    assert user.post(json={"image": "x", "batch": None}).json["result"].get("batch") is None
    assert user.post(json={"image": "x", "batch": {}}).json["result"].get("batch") is None


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ("cpus=1", "'batch'"),
        ({"walltime": 5}, "'walltime' is no key of it"),
        ({"cpus": 2}, "cpus: asked for 2, at most 1 is allowed"),
        ({"memory": 5000, "gpus": 1}, "at most 4096 is allowed; gpus: asked for 1, at most 0"),
        ({"time_limit": 86_401}, "time_limit: asked for 86401, at most 86400 is allowed"),
        ({"nodes": 2, "ntasks": 2}, "nodes: asked for 2, at most 1 is allowed; ntasks: asked"),
        ({"retries": 1}, "retries: asked for 1, at most 0 is allowed"),
        ({"partition": "gpu"}, "partition: asked for 'gpu', allowed: none"),
        ({"account": "a", "qos": "b", "constraint": "c"}, "qos: asked for 'b', allowed: none"),
        ({"reuse": "all"}, "reuse: asked for 'all', allowed: none, image, process"),
    ],
)
@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_what_the_cluster_does_not_allow_is_said(caller, database, prefix, batch, words):
    """Everything else goes without saying; for privileged users too."""
    response = caller("alice", PRIVILEGED, prefix=prefix).post(json={"image": "x", "batch": batch})
    assert response.status_code == 400
    assert response.json["message"].startswith("Invalid actor description: {'batch': ")
    assert words in response.json["message"].replace('"', "'")
    with database.read() as session:
        assert session.query(Actor).count() == 0


def test_a_batch_in_a_form_is_none(alice):
    response = alice.post(data={"image": "x", "batch": '{"cpus": 1}'})
    assert response.status_code == 400
    assert "expected a JSON object" in response.json["message"]


def test_what_a_site_allows_may_be_asked_for(caller, site, database, clock, waits):
    policy = BatchPolicy(max_cpus=8, partitions=("gpu", "long"), qos=("high",))
    cluster = site.clusters["alpha"].model_copy(update={"batch": policy})
    generous = site.model_copy(update={"clusters": {"alpha": cluster}})
    client = create_app(generous, database, clock, waits).test_client()
    headers = caller("alice").headers
    batch = {"cpus": 8, "partition": "long", "qos": "high"}
    response = client.post("/actors", json={"image": "x", "batch": batch}, headers=headers)
    assert response.status_code == 200
    batch = {"cpus": 8, "partition": "short"}
    response = client.post("/actors", json={"image": "x", "batch": batch}, headers=headers)
    assert "partition: asked for 'short', allowed: gpu, long" in response.json["message"]


def test_a_restricted_field_that_is_false_is_no_offence(alice):
    assert alice.post(data={"image": "x", "privileged": "False"}).status_code == 200


def test_privileged_users_are_checked_too(caller):
    user = caller("alice", PRIVILEGED)
    unknown = user.post(json={"image": "x", "queue": "fast"})
    assert unknown.status_code == 400
    assert "Invalid queue name." in unknown.json["message"]
    stateful = user.post(json={"image": "x", "stateless": False, "max_workers": 3})
    assert stateful.status_code == 400
    assert stateful.json["message"] == (
        "Invalid actor description: stateful actors can only have 1 worker."
    )


def test_a_link_needs_execute_on_its_target(alice, bob):
    target = bob.post(json={"image": "x"}).json["result"]["id"]
    assert alice.post(json={"image": "x", "link": target}).status_code == 400
    assert bob.post(json={"image": "x", "link": target}).json["result"]["link"] == target


def test_a_user_without_an_account_is_told_so(caller, database):
    from tests.factories.rows import add_account

    with database.begin() as session:
        add_account(session, "dave", uid=None, gid=None, reason="User dave has no account.")
    response = caller("dave").post(json={"image": "x"})
    assert response.status_code == 400
    assert response.json["message"] == "User dave has no account."


def test_an_account_that_nobody_looks_up_is_a_503(caller):
    response = caller("erin").post(json={"image": "x"})
    assert response.status_code == 503
    assert "could not be looked up within 10 seconds" in response.json["message"]


def test_the_list_has_what_the_caller_may_read(alice, bob, admin, caller, database):
    mine = alice.post(json={"image": "x"}).json["result"]["id"]
    with database.begin() as session:
        public = add_actor(session, owner="carol")
        add_permission(session, public, "ABACO_WORLD", Level.READ)
        hidden = add_actor(session, owner="carol")
        add_permission(session, hidden, "alice", Level.NONE)
        add_actor(session, tenant="BIOLOGY", owner="alice")
    response = alice.get()
    assert response.json["message"] == "Actors retrieved successfully."
    assert {actor["id"] for actor in response.json["result"]} == {mine, public.id}
    assert [actor["id"] for actor in admin.get().json["result"]] == [public.id]
    assert [a["id"] for a in caller("alice", prefix="/actors/v2").get().json["result"]][:1]


def test_the_list_is_paged_as_a_plain_list(alice, clock):
    ids = []
    for _ in range(3):
        ids.append(alice.post(json={"image": "x"}).json["result"]["id"])
        clock.push(1)
    assert [actor["id"] for actor in alice.get("?limit=1&skip=1").json["result"]] == ids[1:2]
    assert [actor["id"] for actor in alice.get("?skip=1").json["result"]] == ids[1:]
    assert alice.get("?limit=-1").status_code == 400
    assert "limit" in alice.get("?limit=many").json["message"]


@pytest.mark.parametrize("prefix", ["/actors/v2", "/v3/actors"])
def test_a_long_list_is_streamed_and_reads_the_same(caller, database, monkeypatch, prefix):
    monkeypatch.setattr("bridge.services.actors.PAGE", 2)
    with database.begin() as session:
        image = add_image(session).id
        made = [add_actor(session, image_id=image) for _ in range(3)]
        later = {"create_time": START + timedelta(seconds=1)}
        made += [add_actor(session, image_id=image, **later) for _ in range(2)]
    expected = [actor.id for actor in sorted(made, key=lambda a: (a.create_time, a.id))]
    user = caller("alice", prefix=prefix)
    response = user.get()
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert "Content-Length" not in response.headers
    whole = json.loads(response.data)
    assert list(whole) == ["message", "status", "version", "result"]
    assert [actor["id"] for actor in whole["result"]] == expected
    assert whole["result"][0] == user.get(f"/{expected[0]}").json["result"]
    assert user.get("?limit=3&skip=1").json["result"] == whole["result"][1:4]
    assert user.get("?limit=0").json["result"] == []


def test_getting_one(alice, bob, admin):
    actor = alice.post(json={"image": "x"}).json["result"]
    response = alice.get(f"/{actor['id']}")
    assert response.json["message"] == "Actor retrieved successfully."
    assert response.json["result"] == actor
    assert admin.get(f"/{actor['id']}").status_code == 200
    denied = bob.get(f"/{actor['id']}")
    assert denied.status_code == 400
    assert denied.json["message"] == "Not authorized -- you do not have access to this actor."


@pytest.mark.parametrize("identifier", ["AbC3dEf5GhIjK", "no-such", "%00", "a" * 500, "x'--"])
def test_an_unknown_actor_is_a_404(alice, admin, identifier):
    for user, methods in ((alice, ("GET", "PUT", "DELETE")), (admin, ("GET", "PUT"))):
        for method in methods:
            response = user(method, f"/{identifier}")
            assert response.status_code == 404
            assert response.json["message"].startswith("No actor found with identifier: ")


def test_for_an_admin_an_unknown_actor_is_deleted_already(admin):
    response = admin.delete("/AbC3dEf5GhIjK")
    assert response.status_code == 200
    assert response.json["message"] == "Actor deleted successfully."
    assert response.json["result"] is None


def test_another_tenants_actor_does_not_exist(alice, caller):
    actor = alice.post(json={"image": "x"}).json["result"]["id"]
    assert caller("alice", tenant="BIOLOGY").get(f"/{actor}").status_code == 404


def test_deleting_ends_what_waits_and_stops_what_runs(alice, database):
    with database.begin() as session:
        actor = add_actor(session)
        waiting = add_execution(session, actor)
        add_message(session, waiting)
        array = add_array(session, actor)
        worker = add_worker(session, array)
        running = add_execution(
            session,
            actor,
            status=ExecutionStatus.RUNNING,
            array_id=array.id,
            worker_id=worker.id,
        )
        planned = add_execution(session, actor, array_id=array.id)
        ended = add_array(session, actor, status=ArrayStatus.ENDED, ended_at=actor.create_time)
    response = alice.delete(f"/{actor.id}")
    assert response.status_code == 200
    assert response.json["result"] is None
    assert response.json["message"].startswith("Actor deleted successfully, though Abaco is still")
    with database.read() as session:
        first = session.get(Execution, waiting.seq)
        assert (first.status, first.reason) == (ExecutionStatus.ERROR, "actor deleted")
        assert first.finish_time is not None
        assert session.get(Message, waiting.id) is None
        assert session.get(Execution, running.seq).status is ExecutionStatus.RUNNING
        assert session.get(Execution, planned.seq).status is ExecutionStatus.SUBMITTED
        assert session.get(Array, array.id).stop_requested
        assert not session.get(Array, ended.id).stop_requested
        assert session.query(Permission).count() == 0
        assert session.get(Actor, actor.id).status is ActorStatus.SHUTTING_DOWN
    assert alice.get(f"/{actor.id}").status_code == 404
    assert alice.delete(f"/{actor.id}").status_code == 404
    assert alice.get().json["result"] == []


def test_deleting_leaves_nothing_that_leads_to_the_actor(alice, database):
    with database.begin() as session:
        actor, other = add_actor(session), add_actor(session)
        waiting = add_execution(session, actor)
        add_message(session, waiting)
        session.add(MessagePart(execution_id=waiting.id, number=0, data=b"x"))
        ran = add_execution(
            session, actor, status=ExecutionStatus.COMPLETE, finish_time=actor.create_time
        )
        kept = add_execution(session, other)
        for execution in (ran, kept):
            expires = actor.create_time + timedelta(days=1)
            session.add(Log(execution_id=execution.id, text="x", expires_at=expires))
            session.add(
                Result(execution_id=execution.id, number=0, payload=b"x", expires_at=expires)
            )
        for one in (actor, other):
            about = {"tenant": "PHYSICS", "owner": "alice", "create_time": actor.create_time}
            session.add(Alias(alias=f"to-{one.id}", actor_id=one.id, **about))
            session.flush()
            uses = {"roles": [], "level": Level.READ, "max_uses": -1, "remaining_uses": -1}
            session.add(Nonce(id=f"PHYSICS_{one.id}", actor_id=one.id, **about, **uses))
            session.add(Nonce(id=f"PHYSICS_2{one.id}", alias=f"to-{one.id}", **about, **uses))
    assert alice.delete(f"/{actor.id}").status_code == 200
    assert alice.get(f"/to-{actor.id}").status_code == 404
    assert alice.get(f"/to-{other.id}").status_code == 200
    with database.read() as session:
        assert session.query(Message).count() == session.query(MessagePart).count() == 0
        for table in (Log, Result):
            assert [row.execution_id for row in session.query(table)] == [kept.id]
        assert [row.actor_id for row in session.query(Alias)] == [other.id]
        assert {row.id for row in session.query(Nonce)} == {
            f"PHYSICS_{other.id}",
            f"PHYSICS_2{other.id}",
        }
        assert session.query(Execution).count() == 3


def test_a_deletion_that_meets_a_harvest_waits_and_does_not_deadlock(alice, database):
    """The harvest holds a log and then wants the actor, whose mean run time it writes."""
    with database.begin() as session:
        actor = add_actor(session)
        execution = add_execution(session, actor)
        expires = START + timedelta(days=1)
        session.add(Log(execution_id=execution.id, text="so far", expires_at=expires))
    answers = []
    deletion = Thread(target=lambda: answers.append(alice.delete(f"/{actor.id}")))
    with database.begin() as session:
        session.get_one(Log, execution.id).text = "all of it"
        session.flush()
        deletion.start()
        deletion.join(0.3)
        assert deletion.is_alive(), "the deletion waits for the harvest"
        session.get_one(Actor, actor.id).mean_run_s = 1.0
    deletion.join(30)
    assert answers[0].status_code == 200
    with database.read() as session:
        assert session.query(Log).count() == 0
        assert session.get(Actor, actor.id).status is ActorStatus.SHUTTING_DOWN


def test_deleting_an_idle_actor(alice, bob, database):
    actor = alice.post(json={"image": "x"}).json["result"]["id"]
    with database.begin() as session:
        add_permission(session, session.get(Actor, actor), "bob", Level.EXECUTE)
    assert bob.delete(f"/{actor}").status_code == 400
    assert alice.delete(f"/{actor}").json["message"] == "Actor deleted successfully."
