"""An owner may do in the spool whatever an owner can; nobody else may notice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.core.statuses import ArrayStatus
from tests.unit.scheduler.world import BAD, GOOD, QUEUED, Hand, World, finished

Plant = Callable[[Path], None]
STRANGE = [
    "\u00b2" * 6, "\u0660" * 6 + ".0.0.jsonl", "000001.", "x", "000001.\udcff.jsonl", "0.0.fenced",
    "9999999.9999.jsonl", "99999999.0.jsonl", "-1.-1.jsonl", "a\nb",
]  # fmt: skip


def strange_names(root: Path) -> None:
    for folder in ("inbox", "claimed", "returned", "journal", "logs", "cancel"):
        for name in STRANGE:
            (root / folder / name).write_bytes(b"\xff\0\n")


def fifos(root: Path) -> None:
    for name in ("5.0.jsonl", "6.0.fenced"):
        os.mkfifo(root / "journal" / name)
    os.mkfifo(root / "inbox" / "000099.jsonl")


def links(root: Path) -> None:
    for folder, name in (("journal", "5.0.jsonl"), ("claimed", "000009.5.0.jsonl")):
        (root / folder / name).symlink_to("/etc/passwd")
    (root / "journal" / "6.0.jsonl").symlink_to("/dev/zero")
    (root / "logs" / "link").symlink_to("/etc/shadow")


def folders(root: Path) -> None:
    for folder in ("journal", "inbox", "claimed"):
        (root / folder / "000007.jsonl").mkdir()
    (root / "journal" / "5.0.jsonl").mkdir()


def a_flood(root: Path) -> None:
    (root / "journal" / "5.0.jsonl").write_bytes(b"[" * 3_000_000)
    (root / "journal" / "6.0.jsonl").write_bytes(b"{}\n" * 300_000)


def forged_ends(root: Path) -> None:
    lines = [
        finished(f"x{n}", 1e9, at=1e18, log=None, exit_code=10**30, cpu_ns=-1) for n in range(500)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (root / "journal" / "5.0.jsonl").write_text(text + '{"t":"left","why":"\\u0000","at":1}\n')


def nothing_left(root: Path) -> None:
    shutil.rmtree(root)


def a_file_instead(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("gone")


def a_link_instead(root: Path) -> None:
    shutil.rmtree(root)
    root.symlink_to("/etc")


@pytest.mark.parametrize(
    "plant",
    [strange_names, fifos, links, folders, a_flood, forged_ends, nothing_left, a_file_instead,
     a_link_instead],
)  # fmt: skip
def test_nobody_else_notices(world: World, plant: Plant) -> None:
    mallorys = world.post(world.actor(owner="mallory"), 3)
    world.tick(2)
    [array] = world.arrays()
    hand = world.hand()
    hand.claim()
    hand.begin()
    plant(Path(array.spool))

    alices = world.post(world.actor(), 5)
    for _ in range(10):
        world.tick(2)
        for job in list(world.slurm.jobs.values()):
            if job.username == "alice" and job.tasks[0].state == "PENDING":
                world.slurm.start(job.id)
                Hand(world, job.id, 0).run()
    assert world.statuses(alices) == [GOOD] * 5

    for job in list(world.slurm.jobs.values()):
        for task in job.tasks:
            task.state = "FAILED"
    for _ in range(8):
        world.tick(1000)
    ended = next(a for a in world.arrays() if a.id == array.id)
    assert ended.status is ArrayStatus.ENDED
    assert world.starts[mallorys[0]] == 1
    assert world.statuses(mallorys[:1]) == [BAD]
    assert set(world.statuses(mallorys)) <= {BAD, QUEUED}
    assert Path("/etc/passwd").exists()


def test_a_forged_start_of_somebody_else_s_message(world: World) -> None:
    world.post(world.actor(owner="mallory"))
    [victim] = world.post(world.actor(owner="alice"))
    world.tick(2)
    mallorys = next(a for a in world.arrays() if a.username == "mallory")
    hand = world.hand(array=mallorys)
    hand.journal.write({"t": "started", "id": victim}, finished(victim, 1e9, log="pwned"))
    world.ticks(3)

    assert world.statuses([victim]) == [QUEUED]


def test_a_forged_log_cannot_be_read_from_elsewhere(world: World) -> None:
    [one] = world.post(world.actor(owner="mallory"))
    world.tick(2)
    hand = world.hand()
    hand.claim()
    hand.begin()
    (hand.root / "logs" / one).symlink_to("/etc/passwd")
    hand.finish(one, log=None)
    world.ticks(2)

    assert world.statuses([one]) == [GOOD]
    assert "daemon" not in world.log(one)
    assert "could not be read" in world.log(one)
