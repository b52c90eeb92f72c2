"""What a worker's journal says of results, state, progress and memory, with the fake runtime."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path

import pytest

from bridge.node.journal import MAX_LINE_BYTES
from tests.unit.node.conftest import message

SEND = """\
import socket, sys, time
client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
client.connect("/_abaco_results.sock")
"""
PYTHON = [sys.executable, "-c"]


def finished(records, name="a"):
    [record] = [r for r in records if r["t"] == "finished" and r["id"] == name]
    return record


def payloads(spool, records, name="a"):
    """Return the results as the bridge reads them."""
    found = []
    for batch in (r["results"] for r in records if r.get("id") == name and r.get("results")):
        assert batch["first"] == len(found)
        if "data" in batch:
            found += [base64.b64decode(one) for one in batch["data"]]
        else:
            data, end = (spool.root / "results" / name).read_bytes(), batch["offset"]
            for length in batch["lengths"]:
                found.append(data[end : end + length])
                end += length
    return found


def test_results_reach_the_journal(spool):
    spool.write([*PYTHON, SEND + "client.send(b'one'); client.send(bytes(range(256)))"])
    spool.add(1, message("a"))

    records = spool.work()

    assert payloads(spool, records) == [b"one", bytes(range(256))]
    assert finished(records)["notes"] == ""
    assert not list((spool.root / "results").iterdir())


def test_many_and_large_ones_come_whole_and_in_order(spool):
    script = SEND + "for n in range(1500): client.send(b'%d' % n * (1 + n % 3 * 40))"
    spool.write([*PYTHON, script], max_result_bytes=1 << 30)
    spool.add(1, message("a"))

    records = spool.work()

    assert payloads(spool, records) == [b"%d" % n * (1 + n % 3 * 40) for n in range(1500)]


def test_a_message_gets_nothing_of_the_one_before(spool):
    spool.write([*PYTHON, SEND + "client.send(sys.argv[0].encode()); import os\n"
                 "client.send(os.environ['MSG'].encode())"])  # fmt: skip
    spool.add(1, message("a", "for a"), message("b", "for b"))

    records = spool.work()

    assert payloads(spool, records, "a")[1] == b"for a"
    assert payloads(spool, records, "b")[1] == b"for b"


def test_what_is_not_taken_is_said(spool):
    spool.write([*PYTHON, SEND + "for n in range(3): client.send(b'x' * 600)"],
                max_result_bytes=2048)  # fmt: skip
    spool.add(1, message("a"))

    records = spool.work()

    assert len(payloads(spool, records)) == 2
    assert "Results that were not taken: 1 (600 bytes)" in finished(records)["notes"]


def test_what_a_running_actor_has_said_is_told_before_its_end(spool, wait_until):
    script = SEND + (
        "client.send(b'first')\nprint('so far \\u017elu\\u0165', flush=True)\n"
        "import os\nwhile not os.path.exists(os.environ['MSG']): time.sleep(0.05)\n"
        "client.send(b'last')\nprint('the end')"
    )
    go = spool.root / "go"
    spool.write([*PYTHON, script])
    spool.add(1, message("a", str(go), PYTHONIOENCODING="utf-8"))

    worker = spool.start()
    wait_until(lambda: any(r["t"] == "progress" for r in spool.records()))
    [progress] = [r for r in spool.records() if r["t"] == "progress"]
    go.touch()
    assert worker.wait(20) == 0

    assert progress["log"] == "so far \u017elu\u0165\n"
    assert progress["results"]["data"] == [base64.b64encode(b"first").decode()]
    records = spool.records()
    assert finished(records)["log"] == "so far \u017elu\u0165\nthe end\n"
    assert payloads(spool, records) == [b"first", b"last"]


def test_a_state_goes_in_and_comes_back(spool):
    script = (
        "import json\nwith open('/_abaco_state.json', 'r+') as file:\n"
        " state = json.load(file); state['n'] += 1\n"
        " file.seek(0); json.dump(state, file); file.truncate()"
    )
    spool.write([*PYTHON, script])
    spool.add(1, {**message("a"), "state": '{"n": 1}'}, {**message("b"), "state": '{"n": 41}'})

    records = spool.work()

    assert json.loads(finished(records, "a")["state"]) == {"n": 2}
    assert json.loads(finished(records, "b")["state"]) == {"n": 42}


def test_a_state_that_was_not_touched_is_not_reported(spool):
    spool.write("exit 3")
    spool.add(1, {**message("a"), "state": '{"n": 1}'}, message("b"))

    records = spool.work()

    assert (finished(records, "a")["state"], finished(records, "a")["notes"]) == (None, "")
    mounts = Path(f"{spool.sif}.mounts").read_text()
    assert mounts.count("destination=/_abaco_state.json") == 1


def test_a_state_that_is_none_is_said(spool):
    spool.write("printf '{' > /_abaco_state.json")
    spool.add(1, {**message("a"), "state": "{}"})

    end = finished(spool.work())

    assert end["state"] is None
    assert end["notes"].startswith("The state was not taken: it is no JSON")


def test_a_message_over_its_memory_is_killed_alone(spool):
    script = (
        "import os, time\nif os.environ['MSG'] == 'hog': x = bytearray(400 << 20)\ntime.sleep(1)"
    )
    spool.write([*PYTHON, script], memory_mib=200, kill_grace_s=60)
    spool.add(1, message("a", "hog"), message("b", "modest"))

    records = spool.work()

    end = finished(records, "a")
    assert (end["exit_code"], end["ended_by"], end["oom_killed"]) == (137, "memory", True)
    assert end["runtime_error"] is None
    assert "the limit is 200 MiB" in end["notes"]
    modest = finished(records, "b")
    assert (modest["exit_code"], modest["ended_by"], modest["oom_killed"]) == (0, None, False)


def test_the_longest_record_is_within_its_bound(spool):
    script = SEND + (
        "for n in range(64): client.send(bytes(1024))\n"
        "sys.stdout.buffer.write(bytes(65536))\n"
        "import json\njson.dump('\\x00' * 24000, open('/_abaco_state.json', 'w'))"
    )
    spool.write([*PYTHON, script])
    spool.add(1, {**message("a"), "state": "{}"})

    records = spool.work()

    end = finished(records)
    assert len(end["log"]) == 65536
    assert len(json.loads(end["state"])) == 24000
    assert len(payloads(spool, records)) == 64
    lines = (spool.root / "journal" / "0.0.jsonl").read_bytes().splitlines()
    assert max(map(len, lines)) < MAX_LINE_BYTES


def test_gpus_are_shown_as_slurm_gave_them(spool):
    spool.write('echo "$CUDA_VISIBLE_DEVICES"', gpus=True)
    spool.add(1, message("a"))

    assert finished(spool.work(CUDA_VISIBLE_DEVICES="1,3"))["log"] == "1,3\n"


def test_without_gpus_nothing_is_said_of_them(spool):
    spool.write('echo "${CUDA_VISIBLE_DEVICES-none}"')
    spool.add(1, message("a"))

    assert finished(spool.work(CUDA_VISIBLE_DEVICES="1,3"))["log"] == "none\n"


SRUN = """\
import itertools, os, subprocess, sys
options = list(itertools.takewhile(lambda word: word.startswith("--"), sys.argv[1:]))
command = sys.argv[1 + len(options):]
count = int(options[0].split("=")[1])
assert os.environ["SLURM_JOB_ID"] and "--export=ALL" in options
codes = []
for rank in range(count):
    env = dict(os.environ, SLURM_PROCID=str(rank), PMI_RANK=str(rank))
    codes.append(subprocess.call(command, env=env))
sys.exit(max(codes))
"""


@pytest.fixture
def srun(tmp_path):
    """A PATH with a program named srun that runs the tasks one after another."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    program = folder / "srun"
    program.write_text(f"#!{sys.executable} -I\n{SRUN}")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


class TestMpi:
    """Several tasks of one message."""

    def test_each_task_is_a_container_that_knows_its_rank(self, spool, srun):
        spool.write('echo "$SLURM_PROCID $PMI_RANK $MSG $TMPDIR"; exit $SLURM_PROCID', ntasks=3)
        spool.add(1, message("a", "hi"), message("b", "ho"))

        records = spool.work(PATH=srun)

        end = finished(records)
        assert end["log"] == "0 0 hi \n1 1 hi \n2 2 hi \n"
        assert (end["exit_code"], end["runtime_error"]) == (2, None)
        assert finished(records, "b")["log"] == "0 0 ho \n1 1 ho \n2 2 ho \n"
        assert spool.starts() == ["a"] * 3 + ["b"] * 3
        assert not list(spool.root.parent.glob("bridge-worker-*"))

    def test_what_a_message_brings_lies_where_all_nodes_see_it(self, spool, srun):
        spool.write("cat /_abaco_binary_data; echo 7 > /_abaco_state.json", ntasks=2)
        spool.add(1, {"id": "a", "data": base64.b64encode(b"data").decode(), "state": "{}"})

        end = finished(spool.work(PATH=srun))

        assert (end["log"], end["state"]) == ("datadata", "7")
        mounts = Path(f"{spool.sif}.mounts").read_text().splitlines()
        assert all(str(spool.root / "payload") in line for line in mounts)
        assert "results.sock" not in "".join(mounts)

    def test_a_runtime_that_fails_everywhere_is_no_exit_code(self, spool, srun):
        spool.sif.write_text("FATAL:   no such image\n")
        spool.write("true", ntasks=2)
        spool.add(1, message("a"))

        assert finished(spool.work(PATH=srun))["runtime_error"].startswith("no such image")

    def test_without_srun_the_messages_are_left_to_others(self, spool):
        spool.write("true", ntasks=2)
        spool.add(1, message("a"))

        worker = spool.start(PATH="/nowhere")
        assert worker.wait(20) == 2
        assert "srun is not on this node" in spool.records()[-1]["error"]
