"""An owner who does to spool and agent whatever she can, on the real cluster; bob goes on working.

What each attack is answered with is in tests/attacks.md; more of them, one by one, are tried in
tests/unit/scheduler/test_hostile_owner.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.sandbox.demo import Client
from bridge.sessions.patience import ALLOWED_S, FORGOTTEN, MOST_S
from tests.cluster import Cluster, wait_for

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

SPOILER = "/tmp/spoiler.py"
MOST_MIB = 150  # that the scheduler may grow by
SOON_S = 45  # for a message of bob's on a busy machine, the start of its job included
WAIT_S = 30  # for an agent that says nothing (bridge.sessions.agent)
# An owner whose traps took long to read on a busy machine is left alone (bridge.sessions.patience).
ALONE_S = (MOST_S - ALLOWED_S) / FORGOTTEN


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> Client:
    program = (Path(__file__).parent / "spoiler.py").read_bytes()
    cluster.sandbox.put("login", SPOILER, program)
    return cluster.client()


@pytest.fixture(scope="module")
def bob(cluster: Cluster) -> Client:
    return cluster.client("bob")


@pytest.fixture(scope="module")
def bobs(cluster: Cluster, bob: Client) -> Iterator[str]:
    """An actor of bob's that echoes, and has done so before."""
    actor = cluster.actor(bob, "echo")
    cluster.log(bob, actor, cluster.post(bob, actor, "first")[0])
    yield actor
    bob.call("DELETE", f"/{actor}")


@pytest.fixture
def hers(cluster: Cluster, alice: Client) -> Iterator[tuple[str, str]]:
    """An actor of alice's and an execution of it that runs for longer than tests wait for it."""
    actor = cluster.actor(alice, "sleeper")
    [execution] = cluster.post(alice, actor, f"{ALONE_S + 100:.0f}")
    cluster.running(alice, actor)
    yield actor, execution
    alice.call("DELETE", f"/{actor}")


def memory_mib(cluster: Cluster) -> float:
    """Return the most that the scheduler has had in memory."""
    pid = cluster.service.pid("scheduler")
    status = cluster.sandbox.run("login", ["cat", f"/proc/{pid}/status"]).stdout
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def shadow(cluster: Cluster) -> str:
    argv = ["sh", "-c", "sha256sum /etc/shadow; stat -c '%u %g %a %s' /etc/shadow /work/bob/mine"]
    return cluster.sandbox.run("login", argv).stdout


def test_a_spool_full_of_traps(
    cluster: Cluster, alice: Client, bob: Client, bobs: str, hers: tuple[str, str]
) -> None:
    run = cluster.sandbox.run
    run("login", ["sh", "-c", "umask 077; echo secret-of-bob > /work/bob/mine"], user="bob")
    own = cluster.actor(bob, "sleeper")
    [slow] = cluster.post(bob, own, "15")
    wait_for(lambda: alive(cluster, "bob"), 60, "bob's job to run")
    before, files = memory_mib(cluster), shadow(cluster)
    find = ["find", "/scratch/alice/.bridge", "-name", "array.json", "-newermt", "-3 minutes"]
    spools = [str(Path(path).parent) for path in run("login", find).stdout.splitlines()]
    for spool in spools:
        run("login", ["python3", SPOILER, "plant", spool, slow], user="alice")
    assert spools

    began = time.monotonic()
    for number in range(3):
        [one] = cluster.post(bob, bobs, f"while she tries {number}")
        shown = cluster.log(bob, bobs, one)
        assert shown.startswith(f"Contents of MSG: while she tries {number}\n")
    print(f"three messages of bob's meanwhile: {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 3 * SOON_S

    # Hers waits for an hour for what cannot be read, or until she takes the traps away.
    for spool in spools:
        run("login", ["python3", SPOILER, "clear", spool], user="alice")
    actor, execution = hers
    ended = cluster.end(alice, actor, execution, ALONE_S + 60)
    assert ended["status"] == "ERROR", ended
    assert ended["finalState"]["Error"]
    told = alice.call("GET", f"/{actor}/executions/{execution}/logs")["logs"]
    assert "root:" not in told
    assert "secret-of-bob" not in told

    ended = cluster.end(bob, own, slow)
    assert (ended["status"], ended["exitCode"]) == ("COMPLETE", 0)
    assert bob.call("GET", f"/{own}/executions/{slow}/logs")["logs"] == "slept 15\n"
    assert bob.send("GET", f"/{own}/executions/{slow}/results").content == b""
    bob.call("DELETE", f"/{own}")
    assert shadow(cluster) == files
    print(f"the scheduler's memory: {before:.0f} MiB before, {memory_mib(cluster):.0f} after")
    assert memory_mib(cluster) - before < MOST_MIB
    log = cluster.service.log("scheduler")
    assert "secret-of-bob" not in log
    assert "root:" not in log


def alive(cluster: Cluster, username: str) -> bool:
    queue = ["squeue", "-hu", username, "-tR", "-o", "%T"]
    return "RUNNING" in cluster.sandbox.run("login", queue).stdout


@pytest.mark.usefixtures("hers", "alice")
def test_agents_that_she_stops(cluster: Cluster, bob: Client, bobs: str) -> None:
    """Each round would wait for them; after the first time they are left alone."""
    run = cluster.sandbox.run
    with ThreadPoolExecutor(1) as pool:
        stopper = pool.submit(
            run, "login", ["python3", SPOILER, "stop", "45"], user="alice", timeout_s=120
        )
        took = []
        for number in range(3):
            began = time.monotonic()
            [one] = cluster.post(bob, bobs, f"{number}")
            cluster.end(bob, bobs, one)
            took.append(time.monotonic() - began)
        assert int(stopper.result().stdout) >= 1
    print("seconds for bob's messages:", ", ".join(f"{one:.1f}" for one in took))
    assert max(took) < WAIT_S + SOON_S
    assert sorted(took)[1] < SOON_S
    assert "an agent answers too slowly and is left alone" in cluster.service.log("scheduler")
    cluster.service.stop("scheduler")  # what is owed is forgotten, and her job ends soon
    cluster.start()
