"""How containers and workers end on a real node, and that nothing survives them."""

from __future__ import annotations

import time

import pytest

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.parametrize("node", ["none", "image"], indirect=True),
]

IGNORES_TERM = 'trap "" TERM; echo up; while :; do sleep 0.1; done'


def test_actors_that_would_stay_are_ended(node):
    scripts = {
        "polite": "trap 'echo bye; exit 7' TERM; while :; do sleep 0.1; done",
        "plain": "exec sleep 600",
        "deaf": IGNORES_TERM,
        "stopped": "kill -STOP $$",
        "silent": "exec >&- 2>&-; trap '' TERM; while :; do sleep 0.1; done",
        "flood": "exec cat /dev/zero",
        "daemons": "for i in 1 2 3; do setsid sh -c 'trap \"\" TERM; sleep 600' & done; sleep 600",
    }
    messages = [{"id": name, "env": {}, "msg": text} for name, text in scripts.items()]
    root = node.spool('eval "$MSG"', messages, max_run_time_s=1)

    begun = time.monotonic()
    ends = node.work(root)

    assert time.monotonic() - begun < len(scripts) * 7
    assert {end["ended_by"] for end in ends.values()} == {"time_limit"}
    assert {end["runtime_error"] for end in ends.values()} == {None}
    assert (ends["polite"]["exit_code"], ends["polite"]["log"]) == (7, "bye\n")
    assert ends["plain"]["exit_code"] == 143
    assert ends["deaf"]["exit_code"] == 137
    assert node.left_running() == ""


def test_what_an_actor_leaves_in_the_background_ends_with_it(node):
    script = "for i in 1 2 3; do setsid sh -c 'trap \"\" TERM; sleep 600' & done; echo done"

    ends = node.work(node.spool(script, [{"id": "a", "env": {}, "msg": ""}]))

    assert (ends["a"]["exit_code"], ends["a"]["log"]) == (0, "done\n")
    assert node.left_running() == ""


def start(node, root):
    """Start a worker in the background and wait until its first actor is up."""
    pid = node.sandbox.start(node.name, node.worker(root), user="alice", log_path=f"{root}/out")
    node.wait_for(lambda: is_up(node, root))
    return pid


def is_up(node, root):
    """Whether the first actor has made its file."""
    return "up" in node.run("ls", f"{root}/logs").split()


@pytest.mark.parametrize("signal", ["TERM", "INT", "XCPU"])
def test_a_worker_told_to_end_says_what_it_knows(node, signal):
    root = waiting(node)
    pid = start(node, root)

    assert "touch /logs/up" in node.left_running()
    begun = time.monotonic()
    node.run("kill", f"-{signal}", str(pid))
    node.wait_for(lambda: not node.left_running())

    assert time.monotonic() - begun < 6
    assert node.finished(root)["a"]["ended_by"] == "signal"
    left = node.records(root)[-1]
    assert (left["t"], left["why"], left["remaining"]) == ("left", "signal", ["b"])


def waiting(node):
    """Return a spool whose first actor says that it is up and ignores SIGTERM."""
    messages = [{"id": name, "env": {}, "msg": ""} for name in "ab"]
    root = node.next_root()
    script = "touch /logs/up; " + IGNORES_TERM
    return node.spool(script, messages, root=root, binds=[[f"{root}/logs", "/logs", "rw"]])


@pytest.mark.parametrize("whom", ["worker", "keeper", "runtime"])
def test_killing_any_process_leaves_no_other(node, whom):
    root = waiting(node)
    worker = start(node, root)
    keeper = children(node, worker)[-1]  # the first is the template's
    pid = {"worker": worker, "keeper": keeper, "runtime": children(node, keeper)[0]}[whom]

    node.run("kill", "-KILL", str(pid))
    if whom != "worker":
        node.wait_for(lambda: "a" in node.finished(root))
        assert node.finished(root)["a"]["exit_code"] == 137
        node.run("kill", "-TERM", str(worker))

    node.wait_for(lambda: not node.left_running())


def children(node, pid):
    """Return a process's children."""
    return [int(word) for word in node.run("cat", f"/proc/{pid}/task/{pid}/children").split()]


def test_scancel_lets_the_worker_speak(node):
    root = waiting(node)
    worker = " ".join(node.worker(root))
    script = f"#!/bin/sh\nexec {worker}\n"
    words = [
        "sbatch",
        "--parsable",
        "--array=0-0",
        "--chdir=/",
        f"--output={root}/out",
        "--nodelist=c1",
    ]
    array_job = node.sandbox.run("login", words, user="alice", stdin=script.encode()).stdout.strip()
    node.wait_for(lambda: is_up(node, root), timeout_s=60)

    node.sandbox.run("login", ["scancel", array_job], user="alice")
    node.wait_for(lambda: node.records(root)[-1]["t"] == "left")

    joined = node.records(root)[0]
    assert (joined["worker"], str(joined["array_job"])) == ("0.0", array_job)
    assert node.finished(root)["a"]["ended_by"] == "signal"
    node.wait_for(lambda: not node.left_running())
