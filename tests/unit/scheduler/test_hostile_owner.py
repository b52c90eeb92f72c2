"""An owner may do in the spool whatever an owner can; nobody else may notice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bridge.core.statuses import ArrayStatus
from bridge.db import Log, Result
from bridge.scheduler import workers
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


def empty_lines(root: Path) -> None:
    (root / "journal" / "1.0.jsonl").write_bytes(b"\n" * 30_000_000)


def a_hole(root: Path) -> None:
    for name in ("1.0.jsonl", "2.0.jsonl"):
        os.truncate(os.open(root / "journal" / name, os.O_CREAT | os.O_WRONLY), 1 << 40)


def a_hole_in_its_own(root: Path) -> None:
    os.truncate(root / "journal" / "0.0.jsonl", 1 << 42)


def more_workers_than_tasks(root: Path) -> None:
    for n in range(1, 1200):
        (root / "journal" / f"{n % 4}.{n}.jsonl").write_bytes(b'{"t":"left","why":"","at":0}\n')
        (root / "claimed" / f"000001.{n % 4}.{n}.jsonl").write_bytes(b"")
        (root / "inbox" / f"{n:06}.jsonl").write_bytes(b"")


def its_own_again_and_again(root: Path) -> None:
    one = begun_one(root)
    for at, code in ((1e11, 7), (-1e9, 10**18), (0, 2**62), (1e308, 1), (2**53, 0)):
        forge(root, {"t": "started", "id": one, "at": at})
        end = finished(one, at, exit_code=code, cpu_ns=2**62, io_bytes=2**62, max_rss_kib=2**62)
        forge(root, {**end, "at": at, "ended_by": "x" * 10**5, "runtime_error": "y" * 10**5})


def forged_ends(root: Path) -> None:
    lines = [
        finished(f"x{n}", 1e9, at=1e18, log=None, exit_code=10**30, cpu_ns=-1) for n in range(500)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (root / "journal" / "5.0.jsonl").write_text(text + '{"t":"left","why":"\\u0000","at":1}\n')


def begun_one(root: Path) -> str:
    """Return the execution that mallory's worker has begun."""
    lines = (root / "journal" / "0.0.jsonl").read_text().splitlines()
    return str(next(r["id"] for r in map(json.loads, lines) if r["t"] == "started"))


def forge(root: Path, *records: dict[str, object]) -> None:
    with (root / "journal" / "0.0.jsonl").open("a") as file:
        file.writelines(json.dumps({"at": 1e9, **record}) + "\n" for record in records)


def forged_results(root: Path) -> None:
    one = begun_one(root)
    (root / "results" / one).write_bytes(b"x" * 5000)
    runs: list[object] = [
        {"first": 0, "offset": 0, "lengths": [2**62]},
        {"first": 0, "offset": 2**62, "lengths": [1, 1]},
        {"first": 0, "offset": -5, "lengths": [1]},
        {"first": 0, "offset": 4000, "lengths": [60 << 20]},
        {"first": 2**29, "data": ["AAAA"] * 1000},
        {"first": 0, "lengths": [1] * 10**5, "offset": 0},
        "x" * 10**6,
        [[[[]]]],
    ]
    forge(root, *({"t": "progress", "id": one, "log": "x" * 10**5, "results": r} for r in runs))


def a_million_results(root: Path) -> None:
    one = begun_one(root)
    batch = ["eHh4"] * 1000
    for first in range(0, 10**6, 1000):
        forge(root, {"t": "progress", "id": one, "log": "",
                     "results": {"first": first, "data": batch}})  # fmt: skip


def links_for_results(root: Path) -> None:
    one = begun_one(root)
    (root / "results" / one).symlink_to("/etc/passwd")
    run = {"first": 0, "offset": 0, "lengths": [10]}
    forge(root, *[{"t": "progress", "id": one, "log": "", "results": run}] * 300)


def forged_states(root: Path) -> None:
    one = begun_one(root)
    for state in ("[" * 500_000, '"' + "x" * 900_000 + '"', "NaN", "1" * 500_000, 7, {}, "\0"):
        forge(root, {"t": "finished", **finished("nobody", 1e9), "id": one + "?", "state": state})


def nothing_left(root: Path) -> None:
    shutil.rmtree(root)


def a_file_instead(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("gone")


def a_link_instead(root: Path) -> None:
    shutil.rmtree(root)
    root.symlink_to("/etc")


@pytest.fixture(autouse=True)
def few_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that a test reaches soon."""
    monkeypatch.setattr(workers, "MOST_RESTARTS", 20)


@pytest.mark.parametrize(
    "plant",
    [strange_names, fifos, links, folders, a_flood, empty_lines, a_hole, a_hole_in_its_own,
     more_workers_than_tasks, its_own_again_and_again, forged_ends, forged_results,
     a_million_results,
     links_for_results, forged_states, nothing_left, a_file_instead, a_link_instead],
)  # fmt: skip
def test_nobody_else_notices(world: World, plant: Plant) -> None:
    limits = world.context.site.limits.model_copy(update={"max_result_bytes": 1 << 20})
    site = world.context.site.model_copy(update={"limits": limits})
    world.context = replace(world.context, site=site)
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
                Hand(world, job.id, 0).join().run_rest()
    assert world.statuses(alices) == [GOOD] * 5

    for job in list(world.slurm.jobs.values()):
        for task in job.tasks:
            task.state = "FAILED"
    for _ in range(8):
        world.tick(1000)
    ended = next(a for a in world.arrays() if a.id == array.id)
    assert ended.status is ArrayStatus.ENDED
    assert world.starts[mallorys[0]] == 1
    assert len(world.workers()) <= 40
    if plant is not more_workers_than_tasks:  # who forges claims has messages run again: her own
        assert world.statuses(mallorys[:1]) == [BAD]
    assert set(world.statuses(mallorys)) <= {BAD, QUEUED}
    assert Path("/etc/passwd").exists()
    with world.database.read() as session:
        kept = session.execute(select(func.count(), func.sum(func.length(Result.payload)))).one()
    assert kept[0] <= 1024
    assert (kept[1] or 0) <= 1 << 20


def test_a_forged_start_of_somebody_else_s_message(world: World) -> None:
    world.post(world.actor(owner="mallory"))
    [victim] = world.post(world.actor(owner="alice"))
    world.tick(2)
    mallorys = next(a for a in world.arrays() if a.username == "mallory")
    hand = world.hand(array=mallorys)
    results = {"first": 0, "data": ["cHduZWQ="]}
    hand.journal.write(
        {"t": "started", "id": victim},
        {"t": "progress", "id": victim, "log": "pwned", "results": results},
        finished(victim, 1e9, log="pwned", results=results, state="666"),
    )
    world.ticks(3)

    assert world.statuses([victim]) == [QUEUED]
    with world.database.read() as session:
        assert session.scalars(select(Result)).all() == []
        assert session.get(Log, victim) is None


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
