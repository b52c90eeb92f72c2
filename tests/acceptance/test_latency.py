"""How long a user waits, at most, where nothing else is going on; bounds, not a benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bridge.sandbox.demo import Client
from tests.cluster import Cluster, wait_for

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

READY_S = 30.0
COMPLETE_S = 15.0
ENDED_S = 10.0


def measure(what: str, done: Callable[[], bool], begun: float, most_s: float) -> None:
    """Wait until `done`; fail where that took longer than it may."""
    wait_for(done, most_s * 4, what)
    took = time.monotonic() - begun
    print(f"{what}: {took:.1f} s of {most_s:.0f}")
    assert took <= most_s, f"{what} took {took:.1f} s, {most_s:.0f} s is the most"


def status(client: Client, path: str) -> str:
    found: str = client.call("GET", path)["status"]
    return found


def test_a_user_does_not_wait_long(cluster: Cluster) -> None:
    client = cluster.client()
    client.call("DELETE", f"/{cluster.actor(client, 'sleeper')}")  # its image is on the cluster now
    cluster.idle()

    begun = time.monotonic()
    actor = client.call("POST", json={"image": cluster.sandbox.ensure_image("sleeper")})["id"]
    measure("READY", lambda: status(client, f"/{actor}") == "READY", begun, READY_S)

    begun = time.monotonic()
    (cold,) = cluster.post(client, actor, "2")
    path = f"/{actor}/executions/{cold}"
    measure("COMPLETE", lambda: status(client, path) == "COMPLETE", begun, COMPLETE_S)

    begun = time.monotonic()
    (warm,) = cluster.post(client, actor, "2")
    path = f"/{actor}/executions/{warm}"
    measure("COMPLETE when warm", lambda: status(client, path) == "COMPLETE", begun, COMPLETE_S)

    (endless,) = cluster.post(client, actor, "600")
    path = f"/{actor}/executions/{endless}"
    wait_for(lambda: status(client, path) == "RUNNING", 30, "the execution to run")
    begun = time.monotonic()
    answer = client.send("DELETE", path)
    assert answer.status_code == 200
    assert answer.json()["message"] == f"Issued force quit command for execution {endless}."
    measure("force quit", lambda: status(client, path) == "COMPLETE", begun, ENDED_S)
    ended = client.call("GET", path)
    assert ended["exitCode"] in (137, 143)
    client.call("DELETE", f"/{actor}")
