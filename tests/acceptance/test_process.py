"""Messages to a process that stays, from the client to the node and back."""

from __future__ import annotations

import pytest

from bridge.errors import SandboxError
from tests.cluster import Cluster

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

COUNT = 40
PROCESS = {"reuse": "process"}


def test_digits_by_a_process_that_stays(cluster: Cluster) -> None:
    client = cluster.client()
    pictures = dict(cluster.sandbox.digits()[:COUNT])
    before = len(cluster.sandbox.container_starts())
    actor = cluster.actor(client, "digits-classifier", batch=PROCESS)
    assert client.call("GET", f"/{actor}")["batch"]["reuse"] == "process"

    paths = [path.replace("/work/alice/", "/work/") for path in pictures]
    messages = [*paths[: COUNT // 2], "/work/no/such.png", *paths[COUNT // 2 :]]
    document = [{"message": path} for path in messages]
    answer = client.call("POST", f"/{actor}/messages/batch", json=document)
    ids = [one["executionId"] for one in answer["executions"]]
    ended = {one["id"]: one for one in cluster.final(client, actor)}

    bad = ended[ids[COUNT // 2]]
    assert (bad["status"], bad["exitCode"]) == ("COMPLETE", 2)
    good = [one for one in ids if one != bad["id"]]
    assert {(ended[one]["status"], ended[one]["exitCode"]) for one in good} == {("COMPLETE", 0)}
    right = 0
    for execution, label in zip(good, pictures.values(), strict=True):
        logs = client.call("GET", f"/{actor}/executions/{execution}/logs")["logs"]
        assert len(logs.splitlines()) == 5, logs
        right += logs.startswith(f"{label} (score = ")
    assert right > 0.9 * COUNT
    # One container for each worker: the bad message ended with 2 by its answer, no process did.
    processes = {(one["workerId"], one["finalState"]["Pid"]) for one in ended.values()}
    assert len(processes) == len({worker for worker, _ in processes}) < COUNT / 2
    assert len(cluster.sandbox.container_starts()) == before + len(processes)
    assert {one["executor"] for one in ended.values()} == {"alice"}
    assert all(one["cpu"] > 0 for one in ended.values())


def test_an_image_that_is_not_made_for_it_is_refused(cluster: Cluster) -> None:
    with pytest.raises(SandboxError) as refused:
        cluster.actor(cluster.client(), "echo", batch=PROCESS)

    assert "has no label org.abaco-bridge.reuse=process" in str(refused.value)
