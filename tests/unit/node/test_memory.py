"""What processes use, and what the kernel says of the job's memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bridge.node import memory
from bridge.node.memory import MemoryWatch, OomCount, read_pss_kib, read_rss_kib
from bridge.node.processes import glance_at_descendants, list_descendants

TAKE = "import sys; block = bytearray(%d << 20); print(flush=True); sys.stdin.read()"


@pytest.fixture
def taker():
    """What starts a process that has so many MiB, and perhaps forks of it that share them."""
    started = []

    def start(mib, forks=0):
        script = TAKE % mib
        if forks:
            fork = f"import os\nfor _ in range({forks}):\n if os.fork() == 0: break\n"
            script = script.replace("print(", f"exec({fork!r}); print(", 1)
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        for _ in range(forks + 1):
            process.stdout.readline()
        return process

    yield start
    for process in started:
        process.communicate()


def test_what_a_process_has(taker):
    pid = taker(50).pid

    assert 50 << 10 < read_rss_kib(pid) < 100 << 10
    assert 50 << 10 < read_pss_kib(pid) < 100 << 10


def test_a_process_that_is_gone_has_nothing():
    assert read_rss_kib(2**22) == read_pss_kib(2**22) == 0


def test_children_count_and_what_they_share_counts_once(taker):
    taker(60, forks=3)

    watch = MemoryWatch(200, os.getpid(), 0)
    assert not watch.is_over()  # their RSS together is 240 MiB and more
    assert watch.used_kib > 60 << 10
    assert MemoryWatch(60, os.getpid(), 0).is_over()


def test_what_the_runtime_takes_is_not_the_actor_s(taker):
    taker(60)

    assert MemoryWatch(50, os.getpid(), 0).is_over()
    assert not MemoryWatch(50, os.getpid(), 32).is_over()


def test_a_glance_sees_who_is_below(taker):
    pid = taker(1, forks=2).pid

    seen = glance_at_descendants(os.getpid())
    assert set(seen) == set(list_descendants(os.getpid()))
    assert len(glance_at_descendants(pid)) == 2
    assert glance_at_descendants(2**22) == []


def test_without_lists_of_children_the_whole_node_is_looked_at(taker, monkeypatch):
    pid = taker(1).pid
    monkeypatch.setattr("os.path.exists", lambda _: False)

    assert pid in glance_at_descendants(os.getpid())


def test_samples_come_faster_the_sooner_the_limit_may_come(monkeypatch):
    now = [100.0]
    used = [0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(memory, "glance_at_descendants", lambda _: [1])
    monkeypatch.setattr(memory, "read_rss_kib", lambda _: used[0])
    monkeypatch.setattr(memory, "read_pss_kib", lambda _: used[0])
    watch = MemoryWatch(100, 1, 0)
    pauses = []
    for used[0] in (0, 10 << 10, 50 << 10, 90 << 10, 99 << 10, 99 << 10, 101 << 10):
        now[0] = watch.due_at
        is_over = watch.is_over()
        pauses.append(round(watch.due_at - now[0], 2))

    assert pauses[0] == pauses[1] == 1.0
    assert pauses[2] > pauses[3] >= 0.1
    assert pauses[5] == 1.0
    assert is_over
    assert watch.sentence == "Killed: its processes used 101 MiB of memory, the limit is 100 MiB."


@pytest.mark.parametrize(
    ("listing", "name", "text"),
    [
        ("0::/job_1/task\n", "job_1/task/memory.events", "low 0\noom 5\noom_kill 3\n"),
        (
            "9:cpu,memory:/slurm/uid_1/job_2\n1:name=systemd:/x\n0::/x\n",
            "memory/slurm/uid_1/job_2/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_the_kernel_s_count(tmp_path, listing, name, text):
    (tmp_path / "listing").write_text(listing)
    count = OomCount(str(tmp_path / "listing"), str(tmp_path))
    assert count.read() == 0
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    assert count.read() == 3


def test_without_cgroups_nothing_is_known(tmp_path):
    assert OomCount(str(tmp_path / "none")).read() == 0
    (tmp_path / "listing").write_text("1:name=systemd:/\n")
    assert OomCount(str(tmp_path / "listing"), str(tmp_path)).read() == 0
