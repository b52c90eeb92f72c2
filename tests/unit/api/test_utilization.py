"""``/actors/utilization`` (abaco_contract.md 3.15)."""

from __future__ import annotations

import pytest

from bridge.core.statuses import ArrayStatus, WorkerStatus
from tests.factories.rows import START, add_actor, add_array, add_worker

PREFIXES = ("/actors", "/actors/v2", "/v3/actors")
KEYS = ["currentActors", "totalActors", "workers", "commandQueue"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_keys_are_camel_case_under_every_prefix(caller, prefix):
    response = caller("carol", prefix=prefix).get("/utilization")
    assert response.status_code == 200
    assert response.json["status"] == "success"
    assert response.json["result"] == dict.fromkeys(KEYS, 0)


def test_counts_are_of_all_tenants(alice, database):
    with database.begin() as session:
        add_actor(session, deleted_at=START)
        add_actor(session, tenant="BIOLOGY")
        actor = add_actor(session)
        add_array(session, actor)
        live = add_array(session, actor, status=ArrayStatus.SUBMITTED, array_job_id=1)
        ended = add_array(session, actor, status=ArrayStatus.ENDED, ended_at=START)
        for number, status in enumerate(WorkerStatus):
            add_worker(session, live, name=f"{number}.0", status=status)
        add_worker(session, ended)
    working = len(set(WorkerStatus) - {WorkerStatus.SHUTTING_DOWN})
    assert alice.get("/utilization").json["result"] == {
        "currentActors": 2,
        "totalActors": 3,
        "workers": working,
        "commandQueue": 1,
    }


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_get(caller, prefix, method):
    response = caller(prefix=prefix)(method, "/utilization")
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nobody_unknown(app, prefix):
    response = app.test_client().get(f"{prefix}/utilization")
    assert (response.status_code, response.json["result"]) == (400, None)
