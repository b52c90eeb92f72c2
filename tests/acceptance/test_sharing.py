"""Two tenants share the workers of the real cluster, and the trail says who did what."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, wait_for

pytestmark = pytest.mark.sandbox


@pytest.fixture
def tight(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with two workers for all; afterwards as it was."""
    cluster.start(max_workers=2)
    yield cluster
    cluster.start()


def test_a_first_message_does_not_wait_for_another_s_queue(tight: Cluster) -> None:
    alice, carol = tight.client(), tight.client("carol")
    greedy, late = tight.actor(alice, "sleeper"), tight.actor(carol, "echo")
    ids = tight.post(alice, greedy, *["3"] * 24)
    tight.running(alice, greedy, 2)

    (first,) = tight.post(carol, late, "hello")

    def is_told() -> bool:
        found: str = carol.call("GET", f"/{late}")["statusMessage"]
        return found.startswith("Messages wait: the 2 workers of cluster sandbox are shared")

    wait_for(is_told, 20, "the reason why carol's message waits")
    assert tight.end(carol, late, first)["status"] == "COMPLETE"
    rows = alice.call("GET", f"/{greedy}/executions")["executions"]
    assert any(row["status"] == "SUBMITTED" for row in rows)

    assert {row["status"] for row in tight.final(alice, greedy)} == {"COMPLETE"}
    assert tight.starts([*ids, first]) == dict.fromkeys([*ids, first], 1)

    argv = ["bridge", "audit", "--user", "carol", "--limit", "10"]
    lines = tight.sandbox.run(
        "login", argv, user="bridge", env=tight.service.environment
    ).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    acts = {(one["action"], one["object"], one["via"]) for one in found}
    assert ("actor.create", f"actor {late}", "token") in acts
    assert any(
        one["action"] == "array.submit" and f"actor {late}" in one["detail"] for one in found
    )
