"""Workers that wait for messages, keep their order, leave and are replaced, on the real cluster."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bridge.sandbox.demo import Client
from tests.cluster import Cluster, wait_for

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

ADMIN = ("--role", "Internal/abaco-admin", "--role", "Internal/everyone")


def workers(client: Client, actor: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.call("GET", f"/{actor}/workers")
    return found


def test_an_admin_asks_for_workers_and_sends_one_away(cluster: Cluster) -> None:
    client = cluster.client()
    admin = Client(cluster.sandbox.url, cluster.service.token("bob", *ADMIN))
    actor = cluster.actor(client, "sleeper")
    assert workers(client, actor) == []

    answer = admin.send("POST", f"/{actor}/workers", json={"num": 2})
    assert answer.json()["message"].startswith("Scheduled 2 new worker(s) to start.")
    wait_for(lambda: len(workers(client, actor)) == 2, 8, "two workers to be listed")
    wait_for(
        lambda: {one["status"] for one in workers(client, actor)} == {"READY"}, 60, "READY workers"
    )
    for one in workers(client, actor):
        assert one["location"]
        assert one["cid"]
        assert one["lastHealthCheckTime"] != "None"
    repeated = admin.send("POST", f"/{actor}/workers", json={"num": 2})
    assert repeated.json()["message"] == f"Actor {actor} already had 2 worker(s)."

    first, second = (one["id"] for one in workers(client, actor))
    client.call("DELETE", f"/{actor}/workers/{first}")
    wait_for(
        lambda: [one["id"] for one in workers(client, actor)] == [second],
        4,
        "one worker to be left",
    )
    queue = ["squeue", "--noheader", "--states=RUNNING", "--user=alice"]
    wait_for(
        lambda: len(cluster.sandbox.run("login", queue).stdout.splitlines()) == 1, 30, "it to leave"
    )

    (one,) = cluster.post(client, actor, "0")
    [done] = cluster.final(client, actor)
    assert (done["id"], done["workerId"]) == (one, second)
    client.call("DELETE", f"/{actor}")
    cluster.idle()


def test_a_warm_worker_takes_what_comes(cluster: Cluster) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "sleeper")
    since = cluster.now()
    ids = cluster.post(client, actor, "0")
    cluster.final(client, actor)
    took = []
    for _ in range(5):
        time.sleep(1)
        begun = time.monotonic()
        (one,) = cluster.post(client, actor, "0")
        ids.append(one)
        path = f"/{actor}/executions/{one}"
        wait_for(lambda p=path: client.call("GET", p)["status"] == "COMPLETE", 30, "the message")  # type: ignore[misc]
        took.append(time.monotonic() - begun)
    print("seconds on a warm worker:", ", ".join(f"{one:.1f}" for one in took))

    executions = cluster.final(client, actor)
    assert len({execution["workerId"] for execution in executions}) == 1
    assert cluster.starts(ids) == dict.fromkeys(ids, 1)
    assert len(cluster.jobs(since)) == 1
    assert sorted(took)[2] < 5  # the median: others may have the node's processors for a moment
    cluster.idle()


def test_a_stateful_actor_counts_its_messages(cluster: Cluster) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "state-counter", stateless=False)
    since = cluster.now()
    begun = time.monotonic()
    ids = cluster.post(client, actor, *["one more"] * 8)
    executions = cluster.final(client, actor)
    print(f"seconds for each message in order: {(time.monotonic() - begun) / 8:.1f}")

    assert [e["status"] for e in executions] == ["COMPLETE"] * 8
    assert [cluster.log(client, actor, one).strip() for one in ids] == [str(n) for n in range(1, 9)]
    assert client.call("GET", f"/{actor}/state")["state"]["count"] == 8
    starts = [e["startTime"] for e in executions]
    ends = [e["finishTime"] for e in executions]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert len({e["workerId"] for e in executions}) == 1
    assert len(cluster.jobs(since)) == 1
    cluster.idle()


def test_an_update_lets_what_runs_conclude(cluster: Cluster) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "sleeper")
    ids = cluster.post(client, actor, *["8"] * 8)
    cluster.running(client, actor, 2)
    rows = client.call("GET", f"/{actor}/executions")["executions"]
    before = {row["id"] for row in rows if row["status"] == "RUNNING"}
    image = cluster.sandbox.ensure_image("sleeper")
    client.call("PUT", f"/{actor}", json={"image": image, "force": True})
    executions = cluster.final(client, actor)

    assert [e["status"] for e in executions] == ["COMPLETE"] * 8
    assert cluster.starts(ids) == dict.fromkeys(ids, 1)
    old = {e["workerId"] for e in executions if e["id"] in before}
    # What was about to start when the order came runs on an old worker too.
    assert sum(e["workerId"] in old for e in executions) < 8
    cluster.idle()
