"""Processes killed at the worst moments: nothing lost, nothing twice."""

from __future__ import annotations

import time

import pytest

from tests.cluster import Cluster, wait_for

pytestmark = pytest.mark.sandbox

ONE_EACH = 6


@pytest.mark.parametrize("point", ["planned", "before_sbatch", "after_sbatch", "adopted"])
def test_scheduler_killed_while_submitting(cluster: Cluster, point: str) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "echo")
    service = cluster.service
    service.stop("scheduler")
    since = cluster.now()
    service.start("scheduler", {"BRIDGE_CRASH_AT": point})
    ids = cluster.post(client, actor, *(f"message {number}" for number in range(ONE_EACH)))
    wait_for(lambda: not service.is_running("scheduler"), 60, f"the scheduler to die at {point}")

    service.start("scheduler")
    executions = cluster.final(client, actor)
    assert [execution["status"] for execution in executions] == ["COMPLETE"] * ONE_EACH
    assert cluster.starts(ids) == dict.fromkeys(ids, 1)
    assert len(cluster.jobs(since)) == 1


def test_slurmctld_forgets_the_job_it_acknowledged(cluster: Cluster) -> None:
    sandbox = cluster.sandbox
    client = cluster.client()
    actor = cluster.actor(client, "echo")
    # slurmctld saves its state every five seconds: let it have saved that earlier jobs have ended,
    # else it takes them for running when it comes back, and their processors with them.
    time.sleep(7)
    # Nothing starts meanwhile, so that what is forgotten has not run.
    sandbox.run("head", ["scontrol", "update", "partitionname=normal", "state=inactive"])
    sandbox.run("head", ["scontrol", "update", "partitionname=normal", "state=down"])
    before = cluster.service.log("scheduler").count('"submitted"')
    ids = cluster.post(client, actor, *(f"message {number}" for number in range(ONE_EACH)))
    wait_for(
        lambda: cluster.service.log("scheduler").count('"submitted"') > before, 30, "a submission"
    )
    sandbox.run("head", ["pkill", "-9", "-x", "slurmctld"])
    lost = int(cluster.service.log("scheduler").rpartition('"job": ')[2].partition("}")[0])
    sandbox.start_daemon("head", "slurmctld")
    sandbox.run("head", ["scontrol", "update", "partitionname=normal", "state=up"])
    script = ["sbatch", "--parsable", "-p", "debug", "--chdir=/tmp", "--wrap", "sleep 12; true"]
    neighbour = sandbox.run("login", script, user="bob").stdout.strip()

    executions = cluster.final(client, actor)
    assert [execution["status"] for execution in executions] == ["COMPLETE"] * ONE_EACH
    assert cluster.starts(ids) == dict.fromkeys(ids, 1)

    def neighbour_state() -> str:
        argv = ["sacct", "-aXnP", "-j", neighbour, "-o", "State"]
        return sandbox.run("login", argv).stdout.strip()

    wait_for(lambda: neighbour_state() not in ("PENDING", "RUNNING", ""), 60, "the neighbour's job")
    assert neighbour_state() == "COMPLETED"
    print(f"job {lost} was acknowledged and lost; the neighbour's job got id {neighbour}")


def test_worker_killed(cluster: Cluster) -> None:
    cluster.idle()  # a worker that waits for more is alice's too
    client = cluster.client()
    actor = cluster.actor(client, "sleeper")
    ids = cluster.post(client, actor, *["3"] * 8)
    cluster.running(client, actor, 3)
    find = ["pgrep", "-o", "-u", "alice", "-f", "worker /scratch/alice"]
    node = next(
        node
        for node in cluster.sandbox.nodes
        if cluster.sandbox.run(node, find, check=False).returncode == 0
    )
    pid = cluster.sandbox.run(node, find).stdout.strip()
    cluster.sandbox.run(node, ["kill", "-9", pid])

    executions = cluster.final(client, actor)
    failed = [execution for execution in executions if execution["status"] == "ERROR"]
    assert len(failed) == 1
    assert "Slurm ended the worker (FAILED" in failed[0]["finalState"]["Error"]
    assert node in failed[0]["finalState"]["Error"]
    assert [e["exitCode"] for e in executions if e not in failed] == [0] * 7
    assert cluster.starts(ids) == dict.fromkeys(ids, 1)


def test_node_down(cluster: Cluster) -> None:
    cluster.idle()
    client = cluster.client()
    actor = cluster.actor(client, "sleeper")
    ids = cluster.post(client, actor, *["4"] * 10)
    cluster.running(client, actor, 4)
    update = ["scontrol", "update", "nodename=c2"]
    cluster.sandbox.run("head", [*update, "state=down", "reason=test"])
    try:
        executions = cluster.final(client, actor)
    finally:
        # It comes back by itself when its slurmd registers again; then there is nothing to resume.
        cluster.sandbox.run("head", [*update, "state=resume"], check=False)
    failed = [execution for execution in executions if execution["status"] == "ERROR"]
    assert 1 <= len(failed) <= 2  # what ran on c2 at that moment
    assert all("Slurm" in execution["finalState"]["Error"] for execution in failed), failed
    assert sum(execution["status"] == "COMPLETE" for execution in executions) == 10 - len(failed)
    assert cluster.starts(ids) == dict.fromkeys(ids, 1)


def test_actor_deleted_while_it_runs(cluster: Cluster) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "sleeper")
    cluster.post(client, actor, *["60"] * 6)
    cluster.running(client, actor, 2)
    client.call("DELETE", f"/{actor}")

    def nothing_left() -> bool:
        running = ["pgrep", "-u", "alice", "-f", "sleep 60"]
        return all(
            cluster.sandbox.run(node, running, check=False).returncode != 0
            for node in cluster.sandbox.nodes
        )

    wait_for(nothing_left, 30, "the containers to end")
    queue = ["squeue", "--noheader", "--user=alice"]

    def queued() -> str:
        return cluster.sandbox.run("login", queue).stdout

    wait_for(lambda: not queued(), 60, f"Slurm's queue to empty: {queued()}")
