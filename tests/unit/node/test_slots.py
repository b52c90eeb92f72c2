"""Several workers in one array task, as Slurm starts them: processes, signals, journals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from bridge.node.cpus import divide_cpus, parse_cpus, read_topology

# Waits until the others have come as well: only workers that run at the same time get past it.
MEET = 'touch "{here}/$_abaco_execution_id"; until [ $(ls {here} | wc -l) -ge {count} ]; do :; done'


@pytest.fixture
def meeting(spool) -> Path:
    """A directory where messages meet."""
    path = spool.root / "meeting"
    path.mkdir()
    return path


def finished(spool, worker):
    return [r for r in spool.records(worker) if r["t"] == "finished"]


def last(spool, worker):
    return spool.records(worker)[-1]


def test_slots_work_at_the_same_time_each_on_its_own_cpus(spool, meeting):
    script = MEET.format(here=meeting, count=2) + "; grep Cpus_allowed_list /proc/self/status"
    spool.write(script, slots=2, workers=2)
    spool.add_messages(2, per_chunk=1)

    worker = spool.start()

    assert worker.wait(30) == 0
    found = [parse_cpus(finished(spool, name)[0]["log"].split()[1]) for name in ("0.0", "1.0")]
    allowed = os.sched_getaffinity(0)
    assert found == divide_cpus(allowed, 2, read_topology(allowed))
    assert [last(spool, name)["why"] for name in ("0.0", "1.0")] == ["empty", "empty"]
    pids = {record["pid"] for record in spool.all_records("joined")}
    assert len(pids) == 2
    assert worker.pid not in pids


def test_each_slot_sees_its_part_of_the_gpus(spool, meeting):
    script = MEET.format(here=meeting, count=2) + "; echo $CUDA_VISIBLE_DEVICES"
    spool.write(script, slots=2, workers=2, gpus=True)
    spool.add_messages(2, per_chunk=1)

    assert spool.start(CUDA_VISIBLE_DEVICES="0,1,2,3").wait(30) == 0

    assert [finished(spool, name)[0]["log"] for name in ("0.0", "1.0")] == ["0,1\n", "2,3\n"]


def test_workers_are_counted_through_the_array(spool):
    spool.write(["true"], slots=2, workers=3)
    spool.add_messages(4, per_chunk=1)

    assert spool.start(task=1, restart=2).wait(30) == 0

    assert [path.name for path in (spool.root / "journal").iterdir()] == ["2.2.jsonl"]
    assert len(finished(spool, "2.2")) == 4


def test_a_task_that_no_worker_belongs_to_is_refused(spool):
    spool.write(["true"], slots=2, workers=3)
    spool.add_messages(1, per_chunk=1)

    worker = spool.start(task=2)
    _, errors = worker.communicate(timeout=30)

    assert worker.returncode == 2
    assert b"array task 2 has none of 3 workers, 2 a task" in errors
    assert spool.starts() == []


def test_sigterm_ends_all_slots_with_their_last_words(spool, meeting, wait_until):
    spool.write(f'touch "{meeting}/$_abaco_execution_id"; exec sleep 60', slots=3, workers=3)
    spool.add_messages(6, per_chunk=2)

    worker = spool.start()
    wait_until(lambda: len(list(meeting.iterdir())) == 3)
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(30) == 0
    for name in ("0.0", "1.0", "2.0"):
        assert finished(spool, name)[0]["ended_by"] == "signal"
        assert last(spool, name)["why"] == "signal"
        assert len(last(spool, name)["remaining"]) == 1


def test_a_killed_slot_is_reported_alone_and_takes_its_container_with_it(
    spool, meeting, wait_until
):
    go = spool.root / "go"
    script = f"""\
trap "" TERM
echo $$ > "{meeting}/$_abaco_execution_id"
until [ -e {go} ]; do sleep 0.02; done
"""
    spool.write(script, slots=2, workers=2)
    spool.add_messages(2, per_chunk=1)

    worker = spool.start()
    wait_until(lambda: len(list(meeting.iterdir())) == 2)
    [joined] = [r for r in spool.records("1.0") if r["t"] == "joined"]
    [started] = [r for r in spool.records("1.0") if r["t"] == "started"]
    journal = spool.root / "journal" / "1.0.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"t":"fini')  # where it was when it was killed
    os.kill(joined["pid"], signal.SIGKILL)
    wait_until(lambda: b'"left"' in journal.read_bytes())
    actor = int((meeting / started["id"]).read_text())
    assert not Path(f"/proc/{actor}").exists()
    assert worker.poll() is None
    go.touch()

    assert worker.wait(30) == 2
    told = json.loads(journal.read_bytes().splitlines()[-1])
    assert (told["why"], told["error"]) == ("killed", "the worker was killed by signal 9")
    assert finished(spool, "0.0")[0]["exit_code"] == 0
    assert last(spool, "0.0")["why"] == "empty"


def test_a_slot_that_was_fenced_off_says_nothing_and_the_others_go_on(spool):
    spool.write(["true"], slots=2, workers=2)
    spool.add_messages(4, per_chunk=1)
    (spool.root / "journal" / "1.0.jsonl").touch()

    assert spool.start().wait(30) == 3

    assert len(finished(spool, "0.0")) == 4
    assert spool.records("1.0") == []


def test_slots_end_when_the_one_that_waits_for_them_is_killed(spool, meeting, wait_until):
    spool.write(f'touch "{meeting}/$_abaco_execution_id"; exec sleep 60', slots=2, workers=2)
    spool.add_messages(2, per_chunk=1)

    worker = spool.start()
    wait_until(lambda: len(list(meeting.iterdir())) == 2)
    worker.kill()

    wait_until(lambda: len(spool.all_records("left")) == 2)
    assert {record["why"] for record in spool.all_records("left")} == {"signal"}


def test_idle_slots_take_what_comes_and_follow_orders(spool, meeting, wait_until):
    script = MEET.format(here=meeting, count=2)
    spool.write(script, slots=3, workers=3, idle_timeout_s=60)
    worker = spool.start()
    wait_until(lambda: len(spool.all_records("joined")) == 3)

    spool.add_messages(2, per_chunk=1)
    wait_until(lambda: len(spool.all_records("finished")) == 2)
    (spool.root / "stop").touch()

    assert worker.wait(30) == 0
    assert [record["why"] for record in spool.all_records("left")] == ["stop"] * 3


def test_an_array_of_another_job_is_left_without_a_trace(spool):
    spool.write(["true"], slots=2, workers=2)
    spool.add_messages(1, per_chunk=1)
    (spool.root / "owner").write_text("7")

    assert spool.start().wait(30) == 0

    assert list((spool.root / "journal").iterdir()) == []
