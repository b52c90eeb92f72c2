"""Workers that share an array task, on the real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.sandbox.demo import Client
from tests.cluster import Cluster, wait_for

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

ADMIN = ("--role", "Internal/abaco-admin", "--role", "Internal/everyone")


@pytest.fixture
def whole(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster as one that gives whole nodes; afterwards as it was."""
    cluster.start(whole_node="{ cpus = 2, memory_mib = 1000 }")
    yield cluster
    cluster.start()


def workers(client: Client, actor: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.call("GET", f"/{actor}/workers")
    return found


def kill(cluster: Cluster, worker: str) -> None:
    """Kill the one process of a worker of alice's, by its name, on its node."""
    journals = f"cat /scratch/alice/.bridge/sandbox/*/journal/{worker}.jsonl"
    lines = cluster.sandbox.run("login", ["sh", "-c", journals], user="alice").stdout.splitlines()
    [joined] = [record for record in map(json.loads, lines) if record["t"] == "joined"]
    cluster.sandbox.run(joined["host"], ["kill", "-9", str(joined["pid"])], user="alice")


def test_two_workers_share_a_node_and_one_outlives_the_other(whole: Cluster) -> None:
    client = whole.client()
    admin = Client(whole.sandbox.url, whole.service.token("bob", *ADMIN))
    actor = whole.actor(client, "sleeper")
    since = whole.now()
    admin.send("POST", f"/{actor}/workers", json={"num": 2})
    wait_for(
        lambda: [one["status"] for one in workers(client, actor)] == ["READY"] * 2, 60, "workers"
    )
    both = workers(client, actor)
    assert len({one["id"] for one in both}) == 2
    assert len({(one["location"], one["cid"]) for one in both}) == 1
    queue = ["squeue", "--noheader", "--user=alice", "--format=%t %h"]
    assert whole.sandbox.run("login", queue).stdout.split() == ["R", "NO"]  # nobody else's node

    ids = whole.post(client, actor, "5", "5")
    whole.running(client, actor, 2)
    kill(whole, "1.0")

    ended = {done["status"]: done for done in whole.final(client, actor)}
    assert set(ended) == {"COMPLETE", "ERROR"}
    assert {done["workerId"] for done in ended.values()} == {one["id"] for one in both}
    assert [one["id"] for one in workers(client, actor)] == [ended["COMPLETE"]["workerId"]]
    (last,) = whole.post(client, actor, "0")
    assert whole.end(client, actor, last)["workerId"] == ended["COMPLETE"]["workerId"]
    assert whole.starts([*ids, last]) == dict.fromkeys([*ids, last], 1)
    assert [len(tasks) for tasks in whole.jobs(since).values()] == [1]
    client.call("DELETE", f"/{actor}")
    whole.idle()
