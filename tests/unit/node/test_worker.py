"""A worker on its spool, with the fake runtime: what it takes, runs, says and leaves."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest

from bridge.node.deadline import Deadline
from bridge.node.identity import read_identity
from bridge.node.journal import Journal
from bridge.node.messages import parse_message
from bridge.node.signals import Signals
from bridge.node.spool import Spool
from bridge.node.worker import Worker
from tests.unit.node.conftest import names


def kinds(records):
    return [record["t"] for record in records]


def finished(records):
    return {record["id"]: record for record in records if record["t"] == "finished"}


def test_messages_run_in_order_and_each_is_journaled(spool, make_message):
    spool.write()
    spool.add(2, make_message("c", "third"))
    spool.add(1, make_message("a", "first"), make_message("b", "second"))

    records = spool.work()

    assert kinds(records) == ["joined", *["started", "finished"] * 3, "left"]
    assert spool.starts() == ["a", "b", "c"]
    assert [r["log"] for r in records if r["t"] == "finished"] == ["first", "second", "third"]
    joined, left = records[0], records[-1]
    assert (joined["worker"], joined["job"], joined["array_job"]) == ("0.0", 100, 100)
    assert (left["why"], left["remaining"]) == ("empty", [])
    assert names(spool.root / "claimed") == ["000001.0.0.jsonl", "000002.0.0.jsonl"]


def test_a_finished_record_has_all_its_fields(spool, make_message):
    spool.write("echo out; echo err >&2; exit 7")
    spool.add(1, make_message("a"))

    record = finished(spool.work())["a"]

    assert record["exit_code"] == 7
    assert record["runtime_error"] is None
    assert record["ended_by"] is None
    assert record["log"] == "out\nerr\n"
    assert (record["log_bytes"], record["log_truncated"]) == (8, False)
    assert record["pid"] > 0
    assert record["cpu_ns"] > 0
    assert record["max_rss_kib"] > 0
    assert record["io_bytes"] > 8
    assert record["started_at"] <= record["at"]


def test_a_message_wins_over_the_array_and_the_worker_over_both(spool, make_message):
    spool.write('echo "$A $B $_abaco_worker_id"', environment={"A": "array", "B": "array"})
    spool.add(1, make_message("a", B="message", _abaco_worker_id="forged"))

    said = finished(spool.work())["a"]["log"].split()

    assert said[:2] == ["array", "message"]
    assert len(said[2]) == 13


def test_competing_workers_run_everything_once(spool):
    spool.write(["true"])
    ids = spool.add_messages(60, per_chunk=3)

    workers = [spool.start(task) for task in range(3)]
    for worker in workers:
        assert worker.wait(60) == 0

    assert sorted(spool.starts()) == sorted(ids)
    assert sorted(r["id"] for r in spool.all_records("finished")) == sorted(ids)


# What is said of a message's end is on the disk together with the next one's start, if there is one
# in the chunk: then that one has not begun, and is lost.
KILLED_AT = [("owned", 3, 0), ("joined", 3, 0), ("claimed", 3, 0), ("started", 3, 1), ("ran", 3, 1),
             ("finished", 3, 1), ("finished", 1, 0)]  # fmt: skip


@pytest.mark.parametrize(("point", "per_chunk", "losses"), KILLED_AT)
def test_a_worker_killed_anywhere_loses_nothing_and_repeats_nothing(
    spool, point, per_chunk, losses
):
    """The bridge's part is played here: fence, give back what was not started, start another."""
    spool.write(["true"])
    ids = spool.add_messages(6, per_chunk=per_chunk)

    killed = spool.start(BRIDGE_NODE_SIGNAL_AT=f"{point}:{int(signal.SIGKILL)}")
    assert killed.wait(20) == -signal.SIGKILL

    give_back(spool, "0.0")
    spool.work(task=1)

    starts = spool.starts()
    assert len(starts) == len(set(starts))
    started = [r["id"] for r in spool.all_records("started")]
    done = [r["id"] for r in spool.all_records("finished")]
    assert sorted(started) == sorted(ids)
    lost = set(started) - set(done)  # the bridge ends these with the reason that Slurm gives
    assert len(lost) == losses


def give_back(spool, worker):
    journal = spool.root / "journal"
    if (journal / f"{worker}.jsonl").exists():
        (journal / f"{worker}.jsonl").rename(journal / f"{worker}.fenced")
    begun = {r["id"] for r in spool.records(worker, "fenced") if r["t"] == "started"}
    for path in (spool.root / "claimed").glob(f"*.{worker}.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.unlink()
        spool.add(900, *(line for line in lines if line["id"] not in begun))


@pytest.mark.parametrize("point", ["joined", "claimed", "started", "ran", "finished"])
def test_a_fenced_worker_starts_nothing_that_its_journal_does_not_show(spool, point):
    spool.write(["true"])
    spool.add_messages(6, per_chunk=3)

    worker = spool.start(BRIDGE_NODE_SIGNAL_AT=f"{point}:{int(signal.SIGSTOP)}")
    _, status = os.waitpid(worker.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    journal = spool.root / "journal"
    (journal / "0.0.jsonl").rename(journal / "0.0.fenced")
    begun = [r["id"] for r in spool.records("0.0", "fenced") if r["t"] == "started"]
    worker.send_signal(signal.SIGCONT)

    assert worker.wait(20) == 3
    assert spool.starts() == begun
    assert names(journal) == ["0.0.fenced"]


def test_a_worker_whose_name_is_taken_does_nothing(spool):
    spool.write(["true"])
    spool.add_messages(1, per_chunk=1)
    (spool.root / "journal" / "0.0.jsonl").touch()

    assert spool.start().wait(20) == 3
    assert spool.starts() == []
    assert names(spool.root / "inbox") == ["000001.jsonl"]


def test_a_second_array_job_leaves_without_a_trace(spool):
    spool.write(["true"])
    spool.add_messages(1, per_chunk=1)
    (spool.root / "owner").write_text("99")
    before = names(spool.root)

    assert spool.start(job=100).wait(20) == 0
    assert spool.starts() == []
    assert names(spool.root / "journal") == []
    assert names(spool.root) == before


def test_stop_is_followed_between_messages(spool, make_message, wait_until):
    spool.write('[ "$MSG" = hello ] || exec sleep 0.2; exec sleep 0.2')
    spool.add(1, *(make_message(name) for name in "abc"))

    worker = spool.start()
    wait_until(spool.starts)
    (spool.root / "stop").touch()

    assert worker.wait(20) == 0
    assert spool.starts() == ["a"]
    assert spool.records()[-1]["why"] == "stop"
    assert spool.records()[-1]["remaining"] == ["b", "c"]


def test_cancel_ends_the_running_message_alone(spool, make_message, wait_until):
    spool.write('[ "$MSG" = quick ] || exec sleep 60')
    spool.add(1, make_message("slow"), make_message("next", "quick"))

    worker = spool.start()
    wait_until(spool.starts)
    (spool.root / "cancel" / "slow").touch()

    assert worker.wait(20) == 0
    ends = finished(spool.records())
    assert (ends["slow"]["ended_by"], ends["slow"]["exit_code"]) == ("cancel", 143)
    assert (ends["next"]["ended_by"], ends["next"]["exit_code"]) == (None, 0)


def test_a_message_cancelled_before_its_turn_never_starts(spool, make_message):
    spool.write(["true"])
    spool.add(1, make_message("a"), make_message("b"))
    (spool.root / "cancel" / "a").touch()

    records = spool.work()

    assert spool.starts() == ["b"]
    assert [r["id"] for r in records if r["t"] == "started"] == ["b"]
    assert (finished(records)["a"]["ended_by"], finished(records)["a"]["exit_code"]) == (
        "cancel",
        143,
    )


def test_sigterm_ends_the_container_and_says_what_is_left(spool, make_message, wait_until):
    up = spool.root / "up"
    spool.write(f'trap "" TERM; touch {up}; while :; do sleep 0.05; done', kill_grace_s=30)
    spool.add(1, *(make_message(name) for name in "abc"))

    worker = spool.start()
    wait_until(up.exists)
    begun = time.monotonic()
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(20) == 0
    assert time.monotonic() - begun < 4.5  # Slurm's KillWait may be 5 s
    end = finished(spool.records())["a"]
    assert (end["ended_by"], end["exit_code"]) == ("signal", 137)
    assert spool.records()[-1]["why"] == "signal"
    assert spool.records()[-1]["remaining"] == ["b", "c"]


def test_a_worker_killed_outright_takes_its_container_with_it(spool, make_message, wait_until):
    spool.write(
        f"echo $$ > {spool.root}/pid.new; mv {spool.root}/pid.new {spool.root}/pid; sleep 60"
    )
    spool.add(1, make_message("a"))

    worker = spool.start()
    wait_until((spool.root / "pid").exists)
    actor = int((spool.root / "pid").read_text())
    worker.kill()

    wait_until(lambda: not Path(f"/proc/{actor}").exists())


def test_a_killed_keeper_ends_its_message_and_not_the_worker(spool, make_message):
    spool.write('[ "$MSG" = hello ] || { kill -9 $PPID; exec sleep 60; }')
    spool.add(1, make_message("a", "kill"), make_message("b"))

    ends = finished(spool.work())

    assert (ends["a"]["exit_code"], ends["a"]["runtime_error"]) == (137, None)
    assert ends["b"]["exit_code"] == 0


def test_max_run_time_ends_a_message(spool, make_message):
    spool.write("exec sleep 60", max_run_time_s=0.5)
    spool.add(1, make_message("a"))

    end = finished(spool.work())["a"]

    assert (end["ended_by"], end["exit_code"]) == ("time_limit", 143)


def test_a_worker_near_the_end_of_its_time_takes_nothing(spool):
    spool.write(["true"])
    spool.add_messages(2, per_chunk=2)

    records = spool.work(SLURM_JOB_END_TIME=str(int(time.time()) + 3))

    assert kinds(records) == ["joined", "left"]
    assert records[-1]["why"] == "time"
    assert names(spool.root / "inbox") == ["000001.jsonl"]


def test_a_message_at_the_end_of_the_time_is_ended_before_slurm_does_it(spool, make_message):
    spool.write("exec sleep 60")
    spool.add(1, make_message("a"), make_message("b"))

    records = spool.work(SLURM_JOB_END_TIME=str(int(time.time()) + 7))

    assert finished(records)["a"]["ended_by"] == "time_limit"
    assert (records[-1]["why"], records[-1]["remaining"]) == ("time", ["b"])


def test_an_idle_worker_takes_what_comes_later(spool, make_message, wait_until):
    spool.write(["true"], idle_timeout_s=30)
    spool.add(1, make_message("a"))

    worker = spool.start()
    wait_until(lambda: "finished" in kinds(spool.records()))
    spool.add(2, make_message("b"))
    wait_until(lambda: len(finished(spool.records())) == 2, timeout_s=3)
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(20) == 0
    assert spool.records()[-1]["why"] == "signal"


def test_an_idle_worker_leaves_when_its_patience_ends(spool):
    spool.write(["true"], idle_timeout_s=0.5)

    begun = time.monotonic()
    assert spool.work()[-1]["why"] == "empty"
    assert time.monotonic() - begun > 0.5


def test_lines_that_are_no_message_are_noted_and_passed_over(spool, make_message):
    spool.write(["true"])
    spool.add(1, "not json", make_message("a"), "[]", '{"id": "../x"}', "", make_message("b"))

    records = spool.work()

    assert [r["error"][:19] for r in records if r["t"] == "bad_line"] == [
        "000001.jsonl line 1",
        "000001.jsonl line 3",
        "000001.jsonl line 4",
    ]
    assert spool.starts() == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        {"msg": 5},
        {"env": []},
        {"env": {"A": 1}},
        {"env": {"A=B": "1"}},
        {"env": {"A": "nul\0"}},
        {"data": "not base64!"},
    ],
)
def test_a_malformed_message_with_an_id_ends_with_a_reason(spool, make_message, content):
    spool.write(["true"])
    spool.add(1, {"id": "bad", **content}, make_message("good"))

    records = spool.work()

    assert finished(records)["bad"]["runtime_error"].startswith("The message is malformed")
    assert finished(records)["good"]["exit_code"] == 0
    assert spool.starts() == ["good"]


def test_without_a_runtime_the_messages_are_left_to_others(spool):
    spool.write(["true"], apptainer="no-such-apptainer")
    spool.add_messages(1, per_chunk=1)

    worker = spool.start()

    assert worker.wait(20) == 2
    left = spool.records()[-1]
    assert (left["t"], left["why"]) == ("left", "broken")
    assert "no-such-apptainer" in left["error"]
    assert names(spool.root / "inbox") == ["000001.jsonl"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"version": 99}, "protocol version"),
        ({"binds": [["/a", "/b", "rx"]]}, "binds"),
        ({"sif": None}, "sif"),
        ({"kill_grace_s": -1}, "kill_grace_s"),
        ({"environment": {"SECRET": ["hunter2"]}}, "environment"),
    ],
)
def test_a_bad_array_is_refused_with_the_field(spool, fields, said):
    spool.write(**fields)

    worker = spool.start()
    _, errors = worker.communicate(timeout=20)

    assert worker.returncode == 2
    assert said in errors.decode()
    assert "hunter2" not in errors.decode()


def test_nothing_is_left_in_the_temporary_directory(spool):
    spool.write(["true"])
    spool.add(1, {"id": "a", "data": "aGVsbG8="})

    spool.work()

    assert spool.starts() == ["?"]
    assert not list(spool.root.parent.glob("bridge-worker-*"))


def test_no_descriptor_of_the_job_reaches_the_actor(spool, make_message):
    spool.write("ls /proc/self/fd")
    spool.add(1, make_message("a"))
    leak = os.open("/etc/hostname", os.O_RDONLY)

    records = spool.work(handles=(leak,))

    os.close(leak)
    assert finished(records)["a"]["log"].split() == ["0", "1", "2", "3"]  # 3 is what ls reads


def test_a_file_server_that_hiccups_ends_no_container(spool, monkeypatch):
    spool.write()
    folder = Spool(str(spool.root))
    journal = Journal(folder.path("journal"), "0.0")
    deadline = Deadline({}, 3600, 0)
    identity = read_identity({"SLURM_JOB_ID": "100"}).worker(0)
    worker = Worker(folder, folder.read_array(), identity, journal, None, Signals(), deadline)

    def fail(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(journal, "check", fail)

    assert worker.look_around(parse_message(b'{"id":"a"}'), time.monotonic(), True) is None
    monkeypatch.undo()
    assert worker.look_around(parse_message(b'{"id":"a"}'), time.monotonic(), True).why == "fenced"


def test_a_chunk_for_which_the_time_is_too_short_stays_in_the_inbox(spool, make_message):
    """Another worker may have the time, and else the bridge takes it back as it is."""
    spool.write(["true"], time_limit_s=100, max_run_time_s=200)
    spool.add_messages(2, per_chunk=1)

    left = spool.work()[-1]
    assert (left["why"], left["remaining"]) == ("time", [])
    assert len(list((spool.root / "inbox").iterdir())) == 1


def test_an_order_to_leave_is_for_one_task_and_all_its_restarts(spool, make_message):
    spool.write(["true"])
    spool.add_messages(2, per_chunk=1)
    (spool.root / "leave" / "1").touch()

    left = spool.work(1, restart=1)[-1]
    assert (left["why"], left["remaining"]) == ("leave", [])
    assert spool.starts() == []

    spool.work(11)
    assert spool.starts() == ["m0", "m1"]
