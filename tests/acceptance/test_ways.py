"""The main job with each way of becoming the owner and of asking Slurm, chosen by the site file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.sandbox.demo import run_demo
from bridge.sandbox.service import KEYS, BridgeService
from tests.cluster import Cluster

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

COUNT = 20


@pytest.fixture(params=["sudo", "ssh"])
def service(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[BridgeService]:
    service = BridgeService(cluster.sandbox, session=request.param)
    cluster.start(service)
    yield service
    cluster.start()


def users_of(cluster: Cluster, words: str) -> set[str]:
    """Return who runs the processes on the login node whose command line has these words."""
    lines = cluster.sandbox.run("login", ["ps", "-eo", "user:32,args"]).stdout.splitlines()
    return {line.split()[0] for line in lines if words in line}


def test_digits_and_a_stop_by_each_way(cluster: Cluster, service: BridgeService) -> None:
    report = run_demo(cluster.sandbox, print, lambda *_: None, service, COUNT)

    assert report.complete == report.executions == COUNT
    assert report.accuracy > 0.8
    assert report.user == "alice"
    assert report.container_starts == COUNT
    assert users_of(cluster, "bridge scheduler") == {"bridge"}  # no spawner, no root
    assert "Traceback" not in service.log("scheduler")

    client = cluster.client("bob")
    actor = cluster.actor(client, "sleeper")
    (execution,) = cluster.post(client, actor, "600")
    cluster.running(client, actor)
    client.call("DELETE", f"/{actor}/executions/{execution}")
    ended = cluster.end(client, actor, execution)
    assert ended["status"] in ("ERROR", "COMPLETE")
    assert ended["executor"] == "bob"


def test_digits_and_a_stop_through_slurmrestd(cluster: Cluster) -> None:
    service = BridgeService(cluster.sandbox, slurm="slurmrestd")
    cluster.start(service)
    try:
        report = run_demo(cluster.sandbox, print, lambda *_: None, service, COUNT)
        assert report.complete == report.executions == COUNT
        assert report.user == "alice"
        assert report.container_starts == COUNT

        client = cluster.client("bob")
        actor = cluster.actor(client, "sleeper")
        cluster.post(client, actor, "600")
        cluster.running(client, actor)
        client.call("DELETE", f"/{actor}")
        cluster.idle()  # the job is cancelled, by bob

        log = service.log("scheduler")
        assert "slurmrestd of Slurm" in log
        assert "Traceback" not in log
        assert "eyJ" not in log  # how every token begins
        key = ["cat", f"{KEYS}/jwt_hs256.key"]
        assert cluster.sandbox.run("login", key, user="bridge", check=False).returncode != 0
    finally:
        cluster.start()
