"""``/actors/admin`` and what is below it (abaco_contract.md 3.16)."""

from __future__ import annotations

import pytest

from bridge.core.statuses import ArrayStatus, ExecutionStatus, WorkerStatus
from bridge.services import admin as service
from tests.factories.rows import START, add_actor, add_array, add_execution, add_worker
from tests.factories.statements import recorded_statements
from tests.unit.api.conftest import ADMIN

PREFIXES = ("/actors", "/actors/v2", "/v3/actors")
PATHS = ("/admin", "/admin/workers", "/admin/executions")
DONE = ExecutionStatus.COMPLETE


@pytest.fixture
def scene(database):
    """Two actors of PHYSICS, a deleted one, and one of BIOLOGY; ids by name."""
    with database.begin() as session:
        busy = add_actor(session, name="busy", owner="alice", state={"a_b": 1}, stateless=False)
        idle = add_actor(session, name="idle", owner="bob", create_time=START.replace(hour=1))
        gone = add_actor(session, name="gone", deleted_at=START)
        other = add_actor(session, name="other", tenant="BIOLOGY")
        array = add_array(session, busy, status=ArrayStatus.SUBMITTED, array_job_id=7, task_count=2)
        add_worker(session, array, status=WorkerStatus.BUSY, host="c1")
        used = {"status": DONE, "finish_time": START}
        add_execution(session, busy, runtime=5, cpu=2**62, io=3, **used)
        add_execution(session, busy, runtime=6, cpu=2**62, io=4, **used)
        add_execution(session, busy)
        add_execution(session, gone, runtime=100, cpu=7, io=1, **used)
        add_execution(session, other, runtime=1000, **used)
        return {actor.name: actor.id for actor in (busy, idle, gone, other)}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("roles", [(), ("Internal/abaco-privileged",)])
def test_admins_alone(caller, prefix, path, roles):
    response = caller("alice", *roles, prefix=prefix).get(path)
    assert response.status_code == 400
    assert response.json["message"] == "Abaco Admin role required."
    assert response.json["result"] is None


@pytest.mark.parametrize("path", PATHS)
def test_nobody_unknown(app, path):
    assert app.test_client().get("/actors" + path).status_code == 400


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_get(caller, prefix, path, method):
    response = caller("root_admin", ADMIN, prefix=prefix)(method, path)
    assert response.status_code == 405


class TestActors:
    def test_in_snake_case(self, caller, scene):
        response = caller("root_admin", ADMIN, prefix="/v3/actors").get("/admin")
        assert response.status_code == 200
        busy, idle = response.json["result"]
        assert (busy["id"], idle["id"]) == (scene["busy"], scene["idle"])
        assert busy["tenant"] == "PHYSICS"
        assert busy["db_id"] == f"PHYSICS_{scene['busy']}"
        assert busy["state"] == {"a_b": 1}
        assert (busy["messages"], busy["executions"], busy["runtime"]) == (1, 3, 11)
        assert [(w["status"], w["last_execution_time"]) for w in busy["workers"]] == [
            ("BUSY", "None"), ("REQUESTED", "None"),
        ]  # fmt: skip
        assert (idle["messages"], idle["executions"], idle["runtime"]) == (0, 0, 0)
        assert (idle["workers"], idle["max_workers"]) == ([], None)

    def test_in_camel_case(self, caller, scene):
        response = caller("root_admin", ADMIN, prefix="/actors/v2").get("/admin")
        busy, idle = response.json["result"]
        assert busy["dbId"] == f"PHYSICS_{scene['busy']}"
        assert busy["defaultEnvironment"] == {}
        assert busy["state"] == {"a_b": 1}
        assert busy["workers"][0]["chName"].startswith("worker_")
        assert "maxWorkers" not in idle

    def test_another_tenants_are_that_tenants_admins(self, caller, scene):
        found = caller("root_admin", ADMIN, tenant="BIOLOGY").get("/admin").json["result"]
        assert [actor["id"] for actor in found] == [scene["other"]]

    def test_pages(self, caller, scene, monkeypatch):
        admin = caller("root_admin", ADMIN)

        def ids(query):
            return [actor["id"] for actor in admin.get(f"/admin?{query}").json["result"]]

        both = [scene["busy"], scene["idle"]]
        assert [ids("limit=1"), ids("skip=1"), ids("limit=0"), ids("skip=2")] == [
            both[:1], both[1:], [], [],
        ]  # fmt: skip
        monkeypatch.setattr(service, "MAX_PAGE", 1)
        assert ids("limit=1000") == both[:1]
        for query in ("limit=-1", "limit=x", "skip=1.5"):
            assert admin.get(f"/admin?{query}").status_code == 400

    def test_the_number_of_statements_does_not_grow(self, caller, scene, database):
        admin = caller("root_admin", ADMIN)
        counts = []
        for _ in range(2):
            with recorded_statements(database) as statements:
                admin.get("/admin")
            counts.append(len(statements))
            with database.begin() as session:
                for _ in range(5):
                    actor = add_actor(session)
                    add_worker(session, add_array(session, actor))
                    add_execution(session, actor)
        assert counts[0] == counts[1]


class TestWorkers:
    @pytest.mark.parametrize(
        ("prefix", "key"), [("/actors/v2", "actorDbid"), ("/v3/actors", "actor_dbid")]
    )
    def test_with_their_actors(self, caller, scene, prefix, key):
        response = caller("root_admin", ADMIN, prefix=prefix).get("/admin/workers")
        assert response.status_code == 200
        result = response.json["result"]
        assert result["summary"] == {
            "total_workers": 2,
            "ready_workers": 0,
            "requested_workers": 1,
            "error_workers": 0,
            "busy_workers": 1,
            "actors_no_workers": 1,
        }
        assert [worker[key] for worker in result["workers"]] == [f"PHYSICS_{scene['busy']}"] * 2
        assert [worker["status"] for worker in result["workers"]] == ["BUSY", "REQUESTED"]

    def test_of_another_tenant_none(self, caller, scene):
        result = caller("root_admin", ADMIN, tenant="BIOLOGY").get("/admin/workers").json["result"]
        assert result["workers"] == []
        assert result["summary"]["actors_no_workers"] == 1


class TestExecutions:
    @pytest.mark.parametrize(
        ("prefix", "key"),
        [("/actors/v2", "totalExecutionCpu"), ("/v3/actors", "total_execution_cpu")],
    )
    def test_sums(self, caller, scene, prefix, key):
        response = caller("root_admin", ADMIN, prefix=prefix).get("/admin/executions")
        assert response.status_code == 200
        result = response.json["result"]
        assert result["summary"] == {
            "total_actors_all": 3,
            "total_actors_all_with_executions": 2,
            "total_executions_all": 4,
            "total_execution_runtime_all": 111,
            "total_execution_cpu_all": 2**63 + 7,
            "total_execution_io_all": 8,
            "total_actors_existing": 2,
            "total_actors_existing_with_executions": 1,
            "total_executions_existing": 3,
            "total_execution_runtime_existing": 11,
            "total_execution_cpu_existing": 2**63,
            "total_execution_io_existing": 7,
        }
        assert [actor[key] for actor in result["actors"]] == [2**63, 0]
        assert result["actors"][0]["owner"] == "alice"

    def test_of_an_empty_tenant(self, admin):
        result = admin.get("/admin/executions").json["result"]
        assert set(result["summary"].values()) == {0}
        assert result["actors"] == []
