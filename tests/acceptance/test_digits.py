"""The main job: hundreds of digits, one message each, and what it must not do on the way."""

from __future__ import annotations

from collections import Counter

import pytest

from bridge.sandbox.demo import run_demo
from tests.acceptance.watching import watched
from tests.cluster import Cluster

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]


def test_digits_as_their_owner(cluster: Cluster) -> None:
    owners: Counter[str] = Counter()
    begun = cluster.now()  # what other files' tests left there, traps among it, is older

    def look_at_spool(queued: int, running: int, done: int, count: int) -> None:
        if running and not owners:
            argv = ["find", "/scratch/alice/.bridge", "-newermt", begun, "-printf", "%u %m %y\n"]
            owners.update(cluster.sandbox.run("login", argv, user="alice").stdout.splitlines())

    with watched(cluster) as opened:
        report = run_demo(cluster.sandbox, print, look_at_spool)

    assert report.executions == report.complete == 600
    assert report.accuracy > 0.9
    assert report.sbatch_calls <= 4
    assert report.user == "alice"
    assert report.container_starts == 600
    assert {row.split("|")[2] for row in report.sacct} <= {"COMPLETED", "CANCELLED"}

    starts = Counter(line.split()[-1] for line in cluster.sandbox.container_starts())
    del starts["-"]  # what each worker makes the messages' after
    assert len(starts) == 600
    assert set(starts.values()) == {1}

    assert owners
    assert all(line.startswith("alice ") for line in owners), owners
    assert all(line.split()[1] in ("700", "600", "711") for line in owners), owners

    assert opened.by(2001)  # the watch sees what alice opens
    assert opened.by(0) == []


def test_every_execution_tells_what_it_used(cluster: Cluster) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "digits-classifier")
    (path, label) = cluster.sandbox.digits()[0]
    cluster.post(client, actor, path.replace("/work/alice/", "/work/"), "/work/no/such.png")
    good, bad = cluster.final(client, actor)
    assert (good["status"], good["exitCode"]) == ("COMPLETE", 0)
    assert good["cpu"] > 1_000_000
    assert good["io"] > 10_000
    assert good["executor"] == "alice"
    assert set(good["finalState"]) == {
        "Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "Pid", "ExitCode",
        "Error", "StartedAt", "FinishedAt",
    }  # fmt: skip
    assert good["workerId"]
    logs = client.call("GET", f"/{actor}/executions/{good['id']}/logs")["logs"]
    assert logs.startswith(f"{label} (score = ")
    assert len(logs.splitlines()) == 5
    assert (bad["status"], bad["exitCode"]) == ("COMPLETE", 2)
    assert bad["finalState"]["ExitCode"] == 2
