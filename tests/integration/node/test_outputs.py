"""Results, state and memory of real containers, and one container for each task of a message."""

from __future__ import annotations

import base64
import json
import shlex
import time

import pytest

pytestmark = pytest.mark.sandbox

# What agavepy and tapipy do: connect, and one send for each result.
SEND = """\
import os, socket, time
client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
client.connect("/_abaco_results.sock")
send = client.send
"""
RUN = ["python3", "-c", "import os; exec(os.environ['MSG'])"]


def work(node, scripts, **fields):
    """Run Python scripts, each in a container; return the spool and the records."""
    messages = [{"id": name, "env": {}, "msg": SEND + text} for name, text in scripts.items()]
    root = node.spool(RUN, messages, sif=node.python_sif, **fields)
    node.work(root)
    return root, node.records(root)


def payloads(node, root, records, name="a"):
    """Return the results as the bridge reads them."""
    found = []
    for batch in (r["results"] for r in records if r.get("id") == name and r.get("results")):
        if "data" in batch:
            found += [base64.b64decode(one) for one in batch["data"]]
            continue
        data, end = node.sandbox.get(node.name, f"{root}/results/{name}"), batch["offset"]
        for length in batch["lengths"]:
            found.append(data[end : end + length])
            end += length
    return found


def test_results_are_whole_and_in_order(node):
    scripts = {
        "many": "for n in range(200): send(b'%d' % n)",
        "large": "send(bytes(range(256)) * 800); send(b''); send(b'\\0')",
        "none": "pass",
        "child": "if os.fork() == 0: send(b'child'); os._exit(0)\nos.wait(); send(b'parent')",
    }

    root, records = work(node, scripts, max_result_bytes=64 << 20)

    assert payloads(node, root, records, "many") == [b"%d" % n for n in range(200)]
    assert payloads(node, root, records, "large") == [bytes(range(256)) * 800, b"\0"]
    assert payloads(node, root, records, "none") == []
    assert payloads(node, root, records, "child") == [b"child", b"parent"]
    assert {r["runtime_error"] for r in records if r["t"] == "finished"} == {None}


def test_who_sends_is_not_held_up(node):
    text = "begun = time.time()\nfor n in range(5000): send(b'x' * 100)\nprint(time.time() - begun)"

    root, records = work(node, {"a": text}, max_result_bytes=64 << 20)

    assert len(payloads(node, root, records)) == 5000
    [end] = [r for r in records if r["t"] == "finished"]
    assert float(end["log"]) < 5


def test_what_stays_behind_sends_nothing_into_the_next(node):
    left = "if os.fork() == 0:\n os.setsid()\n while 1: send(b'from a'); time.sleep(0.01)"
    root, records = work(
        node, {"a": left, "b": "time.sleep(1); send(b'from b')"}, max_result_bytes=64 << 20
    )

    assert payloads(node, root, records, "b") == [b"from b"]


def test_what_runs_is_told_of_before_it_ends(node):
    message = {
        "id": "a",
        "env": {},
        "msg": SEND + "print('so far', flush=True); send(b'first'); time.sleep(600)",
    }
    root = node.spool(RUN, [message], sif=node.python_sif)
    pid = node.sandbox.start(node.name, node.worker(root), user="alice", log_path=f"{root}/out")
    node.wait_for(lambda: any(r["t"] == "progress" for r in node.records(root)))
    begun = time.monotonic()
    node.write({f"{root}/cancel/a": ""})
    node.wait_for(lambda: "a" in node.finished(root))
    took_s = time.monotonic() - begun

    told = [r for r in node.records(root) if r["t"] == "progress"]
    assert "".join(r["log"] for r in told) == "so far\n"
    assert payloads(node, root, node.records(root)) == [b"first"]
    end = node.finished(root)["a"]
    assert (end["ended_by"], end["log"]) == ("cancel", "so far\n")
    assert took_s < 8
    node.wait_for(lambda: not node.left_running())
    assert pid


def test_a_deaf_actor_is_cancelled_in_time(node):
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"
    message = {"id": "a", "env": {}, "msg": SEND + script + "\nwhile 1: time.sleep(1)"}
    root = node.spool(RUN, [message], sif=node.python_sif, kill_grace_s=10)
    node.sandbox.start(node.name, node.worker(root), user="alice", log_path=f"{root}/out")
    node.wait_for(lambda: any(r["t"] == "progress" for r in node.records(root)))
    begun = time.monotonic()
    node.write({f"{root}/cancel/a": ""})
    node.wait_for(lambda: "a" in node.finished(root))

    assert time.monotonic() - begun < 8.5
    assert node.finished(root)["a"]["exit_code"] == 137
    node.wait_for(lambda: not node.left_running())


def test_the_state_file_goes_round(node):
    count = (
        "import json\nwith open('/_abaco_state.json') as f: state = json.load(f)\n"
        "with open('/_abaco_state.json', 'w') as f: json.dump({'n': state['n'] + 1}, f)\n"
    )
    messages = [
        {"id": "a", "env": {}, "msg": count, "state": '{"n": 1}'},
        {"id": "b", "env": {}, "msg": count, "state": '{"n": 5}'},
        {"id": "c", "env": {}, "msg": "pass", "state": '{"n": 5}'},
        {"id": "d", "env": {}, "msg": "import os; print(os.path.exists('/_abaco_state.json'))"},
    ]
    ends = node.work(node.spool(RUN, messages, sif=node.python_sif))

    states = [ends[name]["state"] for name in "abc"]
    assert [state and json.loads(state) for state in states] == [{"n": 2}, {"n": 6}, None]
    assert ends["d"]["log"] == "False\n"


def test_what_takes_too_much_memory_is_killed(node):
    scripts = {
        "hog": "x = bytearray(600 << 20); time.sleep(60)",
        "slow": "x = []\nfor _ in range(60): x.append(bytearray(10 << 20)); time.sleep(0.05)",
        "forks": "n = 6\nwhile n and os.fork(): n -= 1\nx = bytearray(100 << 20); time.sleep(60)",
        "shared": "x = bytearray(150 << 20)\nn = 4\nwhile n and os.fork(): n -= 1\ntime.sleep(3)",
        "modest": "x = bytearray(100 << 20); time.sleep(2)",
    }

    _, records = work(node, scripts, memory_mib=300)

    ends = {r["id"]: r for r in records if r["t"] == "finished"}
    for name in ("hog", "slow", "forks"):
        assert (ends[name]["exit_code"], ends[name]["ended_by"]) == (137, "memory"), name
        assert "the limit is 300 MiB" in ends[name]["notes"]
        assert ends[name]["oom_killed"]
    for name in ("shared", "modest"):
        assert (ends[name]["exit_code"], ends[name]["ended_by"]) == (0, None), name
    assert node.left_running() == ""


def test_what_a_killed_worker_left_on_its_node_goes_with_the_next(node):
    message = {"id": "a", "env": {}, "msg": "print('up', flush=True); import time; time.sleep(600)"}
    root = node.spool(RUN, [message], sif=node.python_sif)
    pid = node.sandbox.start(node.name, node.worker(root), user="alice", log_path=f"{root}/out")
    node.wait_for(lambda: any(r["t"] == "progress" for r in node.records(root)))
    node.run("kill", "-KILL", str(pid))
    node.wait_for(lambda: not node.left_running())
    assert places(node)

    work(node, {"a": "pass"})

    assert not places(node)


def places(node):
    """Return the directories of alice's workers on the node."""
    find = ["find", "/tmp", "-maxdepth", "1", "-user", "alice", "-name", "bridge-worker-*"]
    return node.run(*find).split()


def test_without_gpus_the_option_for_them_does_no_harm(node):
    _, records = work(node, {"a": "send(b'x'); print('up')"}, gpus=True)

    [end] = [r for r in records if r["t"] == "finished"]
    assert (end["log"], end["runtime_error"]) == ("up\n", None)


def submit(node, root, *options):
    """Have Slurm run a worker as the bridge has it run; return the job's id."""
    worker = shlex.join(node.worker(root))
    script = f"#!/bin/sh\nexec {worker}\n"
    words = ["sbatch", "--parsable", "--array=0-0", "--chdir=/", "--export=NIL",
             f"--output={root}/out", *options]  # fmt: skip
    return node.sandbox.run("login", words, user="alice", stdin=script.encode()).stdout.strip()


def wait_left(node, root):
    node.wait_for(lambda: any(r["t"] == "left" for r in node.records(root)), timeout_s=90)


class TestMpi:
    """A message of two tasks on two nodes."""

    def test_each_task_runs_on_its_node_and_knows_its_rank(self, node):
        script = "echo $SLURM_PROCID $SLURM_NTASKS $(hostname) $MSG $A; exit $SLURM_PROCID"
        messages = [{"id": n, "env": {"A": "x"}, "msg": f"hi {n}"} for n in "ab"]
        root = node.spool(script, messages, ntasks=2)
        submit(node, root, "--nodes=2", "--ntasks=2")
        wait_left(node, root)

        for name, end in node.finished(root).items():
            said = [line for line in end["log"].splitlines() if not line.startswith("srun:")]
            assert sorted(said) == [f"0 2 c1 hi {name} x", f"1 2 c2 hi {name} x"]
            assert (end["exit_code"], end["runtime_error"]) == (1, None)
        assert not places(node)

    @pytest.mark.parametrize("deaf", [False, True])
    def test_cancelling_it_ends_all_tasks(self, node, deaf):
        script = ("trap '' TERM; " if deaf else "") + "echo up; while :; do sleep 0.2; done"
        root = node.spool(script, [{"id": "a", "env": {}, "msg": ""}], ntasks=2)
        submit(node, root, "--nodes=2", "--ntasks=2")
        node.wait_for(
            lambda: (
                "".join(r["log"] for r in node.records(root) if r["t"] == "progress").count("up")
                == 2
            ),
            timeout_s=90,
        )
        begun = time.monotonic()
        node.write({f"{root}/cancel/a": ""})
        wait_left(node, root)

        assert time.monotonic() - begun < 9
        assert node.finished(root)["a"]["ended_by"] == "cancel"
        for name in ("c1", "c2"):
            find = ["pgrep", "-u", "alice", "-f", "sleep 0.2"]
            assert node.sandbox.run(name, find, check=False).stdout == ""

    def test_what_cannot_start_is_said(self, node):
        root = node.spool(["/no/such"], [{"id": "a", "env": {}, "msg": ""}], ntasks=2)
        submit(node, root, "--nodes=2", "--ntasks=2")
        wait_left(node, root)

        end = node.finished(root)["a"]
        assert end["runtime_error"] == "command not found in the image: /no/such"
