"""``/actors/<id>/workers``: contract 3.14, 4.3."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.core.statuses import ArrayStatus, Level, WorkerStatus
from bridge.db import Actor, Array, ArrayTask, Worker
from bridge.node.names import worker_id
from tests.factories.rows import START, add_actor, add_array, add_image, add_permission, add_worker

PREFIXES = ("/actors/v2", "/v3/actors")
UNKNOWN = "No actor found with id: Zz1."
DENIED = "Not authorized -- you do not have access to this actor."


@pytest.fixture
def actor(database):
    """An actor of alice's; bob may run it, carol may read it, the admin has no entry."""
    with database.begin() as session:
        actor = add_actor(session)
        add_permission(session, actor, "bob", Level.EXECUTE)
        add_permission(session, actor, "carol", Level.READ)
    return actor


@pytest.fixture
def path(actor):
    return f"/{actor.id}/workers"


@pytest.fixture
def array(database, actor):
    """A submitted array of three tasks: one runs a message, one waits for some, one is to start."""
    with database.begin() as session:
        array = add_array(
            session, actor, task_count=3, status=ArrayStatus.SUBMITTED, array_job_id=7
        )
        add_task(session, array, 0, status=WorkerStatus.BUSY)
        add_task(session, array, 1, last_execution_time=START + timedelta(seconds=2))
    return array


def add_task(session, array: Array, index: int, restart: int = 0, **changes) -> Worker:
    name = f"{index}.{restart}"
    values = {
        "id": worker_id(array.id, name), "name": name, "host": "c1", "job_id": 8,
        "last_health_check_time": START + timedelta(seconds=3),
    }  # fmt: skip
    return add_worker(session, array, **values | changes)


def ids(array: Array, *names: str) -> list[str]:
    return [worker_id(array.id, name) for name in names]


def listed(caller, path: str) -> list[str]:
    return [worker["id"] for worker in caller.get(path).json["result"]]


class TestList:
    def test_without_workers(self, alice, path):
        response = alice.get(path)
        assert response.status_code == 200
        assert response.content_type == "application/json"
        assert response.json["message"] == "Workers retrieved successfully."
        assert response.json["result"] == []

    def test_each_is_an_array_task(self, alice, path, array):
        busy, ready, waiting = alice.get(path).json["result"]
        assert busy == {
            "id": worker_id(array.id, "0.0"),
            "tenant": "PHYSICS",
            "status": "BUSY",
            "image": "debian",
            "ch_name": f"worker_{worker_id(array.id, '0.0')}",
            "location": "c1",
            "cid": "7_0",
            "host_id": "c1",
            "host_ip": "",
            "create_time": "2026-01-01T00:00:00.000Z",
            "last_execution_time": "None",
            "last_health_check_time": "2026-01-01T00:00:03.000Z",
        }
        assert (ready["status"], ready["cid"]) == ("READY", "7_1")
        assert ready["last_execution_time"] == "2026-01-01T00:00:02.000Z"
        assert waiting == {
            "id": worker_id(array.id, "2.0"),
            "tenant": "PHYSICS",
            "status": "REQUESTED",
            "image": "debian",
            "ch_name": f"worker_{worker_id(array.id, '2.0')}",
            "location": None,
            "cid": None,
            "host_id": None,
            "host_ip": "",
            "create_time": "2026-01-01T00:00:00.000Z",
            "last_execution_time": "None",
            "last_health_check_time": "None",
        }

    def test_camel(self, caller, path, array):
        busy, _, waiting = caller("carol", prefix="/actors/v2").get(path).json["result"]
        assert busy["chName"] == f"worker_{busy['id']}"
        assert (busy["hostId"], busy["lastExecutionTime"]) == ("c1", "None")
        assert "location" not in waiting
        assert waiting["createTime"] == "2026-01-01T00:00:00.000Z"

    def test_one_that_is_not_submitted_counts(self, database, alice, actor, path):
        with database.begin() as session:
            array = add_array(session, actor, task_count=2)
        assert listed(alice, path) == ids(array, "0.0", "1.0")

    @pytest.mark.parametrize(
        "changes",
        [
            {"status": ArrayStatus.CLOSING},
            {"status": ArrayStatus.ENDED, "ended_at": START},
            {"leaving_at": START},
            {"stop_requested": True},
            {"drain_requested": True},
        ],
        ids=str,
    )
    def test_what_takes_nothing_more_is_not_listed(self, database, alice, actor, path, changes):
        with database.begin() as session:
            add_array(session, actor, **changes)
        assert listed(alice, path) == []

    def test_who_left_and_what_ended_is_not_listed(self, database, alice, path, array):
        with database.begin() as session:
            busy = session.get_one(Worker, worker_id(array.id, "0.0"))
            busy.status, busy.dead_reason = WorkerStatus.SHUTTING_DOWN, "The worker left: empty."
            session.add(ArrayTask(array_id=array.id, task_index=2, ended_at=START))
        assert listed(alice, path) == ids(array, "1.0")

    @pytest.mark.parametrize(
        "changes",
        [
            {"dead_reason": "Slurm requeued the array task while this ran.", "fenced_at": START},
            {"dead_reason": "The worker left: signal.", "status": WorkerStatus.SHUTTING_DOWN},
        ],
        ids=["fenced", "preempted"],
    )
    def test_a_task_that_slurm_takes_back_is_another_worker(
        self, database, alice, path, array, changes
    ):
        with database.begin() as session:
            worker = session.get_one(Worker, worker_id(array.id, "0.0"))
            for name, value in changes.items():
                setattr(worker, name, value)
        assert listed(alice, path) == ids(array, "0.1", "1.0", "2.0")
        with database.begin() as session:
            add_task(session, array, 0, restart=1)
        assert listed(alice, path) == ids(array, "0.1", "1.0", "2.0")

    def test_an_older_image_is_named(self, database, alice, actor, path):
        with database.begin() as session:
            image = add_image(session, reference="docker.io/library/old:1")
            add_array(session, actor, image_id=image.id)
        assert alice.get(path).json["result"][0]["image"] == "docker.io/library/old:1"

    def test_in_pages(self, alice, path, array):
        assert listed(alice, f"{path}?limit=1&skip=1") == ids(array, "1.0")
        assert listed(alice, f"{path}?limit=0") == []

    def test_another_actor_s_are_not_shown(self, database, alice, path, array):
        with database.begin() as session:
            other = add_actor(session)
        assert listed(alice, f"/{other.id}/workers") == []


class TestOne:
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_is_shown(self, caller, path, array, prefix):
        wanted = worker_id(array.id, "2.0")
        response = caller("carol", prefix=prefix).get(f"{path}/{wanted}")
        assert response.json["message"] == "Worker retrieved successfully."
        assert response.json["result"]["id"] == wanted
        assert response.json["result"]["status"] == "REQUESTED"

    @pytest.mark.parametrize("wanted", ["nosuch", "%00", "x" * 200])
    def test_that_is_not_there(self, alice, path, array, wanted):
        response = alice.get(f"{path}/{wanted}")
        assert (response.status_code, response.json["message"]) == (404, "Worker not found.")


class TestEnsure:
    def asked(self, database, actor) -> int:
        with database.read() as session:
            return session.get_one(Actor, actor.id).workers_asked

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_what_is_missing_is_asked_for(self, database, caller, actor, path, array, prefix):
        admin = caller("root_admin", "Internal/abaco-admin", prefix=prefix)
        response = admin.post(path, json={"num": 5})
        assert (response.status_code, response.json["result"]) == (200, None)
        assert response.json["message"] == (
            "Scheduled 2 new worker(s) to start. Previously, there were 3 workers."
        )
        assert self.asked(database, actor) == 5

    def test_twice_is_once(self, database, admin, actor, path):
        admin.post(path, data={"num": "4"})
        admin.post(path, data={"num": "2"})
        assert self.asked(database, actor) == 4

    @pytest.mark.parametrize("body", [{}, {"num": 0}, {"num": None}, {"num": "1"}])
    def test_one_where_no_number_is_given(self, database, admin, actor, path, body):
        response = admin.post(path, json=body)
        assert response.json["message"].startswith("Scheduled 1 new worker(s)")
        assert self.asked(database, actor) == 1

    def test_those_that_are_there_stay(self, database, admin, actor, path, array):
        response = admin.post(path, json={"num": 3})
        assert response.json["message"] == f"Actor {actor.id} already had 3 worker(s)."
        assert self.asked(database, actor) == 0
        with database.read() as session:
            assert session.get_one(Array, array.id).is_standing

    @pytest.mark.parametrize("num", [-1, "x", 2**31, 1.5, True, [1]])
    def test_what_is_no_number(self, database, admin, actor, path, num):
        response = admin.post(path, json={"num": num})
        assert response.status_code == 400
        assert response.json["message"].startswith("Invalid num: got ")
        assert self.asked(database, actor) == 0

    def test_more_than_one_array_may_have(self, admin, path):
        response = admin.post(path, json={"num": 101})
        assert response.status_code == 400
        assert "expected at most 100 on this cluster" in response.json["message"]

    def test_admins_alone_may(self, database, alice, actor, path):
        response = alice.post(path, json={"num": 1})
        assert (response.status_code, response.json["message"]) == (
            400, "Not authorized -- only admins are authorized to update workers.",
        )  # fmt: skip
        assert self.asked(database, actor) == 0


class TestDelete:
    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize("name", ["0.0", "2.0"])
    def test_it_is_listed_no_more(self, database, caller, path, array, prefix, name):
        alice = caller("alice", prefix=prefix)
        [wanted] = ids(array, name)
        response = alice.delete(f"{path}/{wanted}")
        assert (response.status_code, response.json["result"]) == (200, None)
        assert response.json["message"] == "Worker scheduled to be stopped."
        assert wanted not in listed(alice, path)
        assert len(listed(alice, path)) == 2
        assert alice.get(f"{path}/{wanted}").status_code == 404
        with database.read() as session:
            task = session.get_one(ArrayTask, (array.id, int(name[0])))
        assert (task.leave_requested_at, task.leave_ordered_at) == (START, None)

    def test_twice(self, alice, path, array):
        [wanted] = ids(array, "0.0")
        alice.delete(f"{path}/{wanted}")
        assert alice.delete(f"{path}/{wanted}").status_code == 404

    def test_a_task_of_which_something_is_known(self, database, alice, path, array):
        with database.begin() as session:
            session.add(ArrayTask(array_id=array.id, task_index=0))
        [wanted] = ids(array, "0.0")
        assert alice.delete(f"{path}/{wanted}").status_code == 200


ROUTES = [
    ("GET", "", "dave"), ("GET", "/x", "dave"), ("POST", "", "bob"), ("DELETE", "/x", "bob"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "below", "username"), ROUTES)
@pytest.mark.parametrize("prefix", PREFIXES)
class TestRefusals:
    def test_whoever_has_a_lower_level(self, caller, path, prefix, method, below, username):
        response = caller(username, prefix=prefix)(method, path + below)
        assert (response.status_code, response.json["message"]) == (400, DENIED)

    def test_an_actor_that_is_not_there(self, caller, prefix, method, below, username):
        response = caller(username, prefix=prefix)(method, "/Zz1/workers" + below)
        assert (response.status_code, response.json["message"]) == (404, UNKNOWN)

    def test_another_tenant_s_actor(self, caller, path, prefix, method, below, username):
        stranger = caller("carol", "Internal/abaco-admin", tenant="BIOLOGY", prefix=prefix)
        assert stranger(method, path + below).status_code == 404


@pytest.mark.parametrize(
    ("method", "below"),
    [("PUT", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/x"), ("PUT", "/x")],
)
def test_other_methods(alice, path, method, below):
    response = alice(method, path + below)
    assert (response.status_code, response.json["status"]) == (405, "error")


def test_an_actor_whose_cluster_the_site_no_longer_has(database, admin) -> None:
    with database.begin() as session:
        lost = add_actor(session, cluster="beta")
    response = admin.post(f"/{lost.id}/workers", json={"num": 1})
    assert response.status_code == 400
    assert "no cluster beta any more" in response.json["message"]
