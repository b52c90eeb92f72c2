"""From the queue to its end, where nothing goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

from bridge.core.statuses import ArrayStatus
from bridge.scheduler.journals import harvest_tick
from tests.factories.statements import recorded_scans
from tests.unit.scheduler.world import GOOD, QUEUED, RUNNING, World


def test_a_message_is_run_and_its_log_read(each_world: World) -> None:
    world = each_world
    [one] = world.post(world.actor())

    world.tick(2)
    hand = world.hand()
    hand.claim()
    assert hand.begin() == one
    world.tick()
    assert world.statuses([one]) == [RUNNING]

    hand.finish(one, exit_code=3, log="hello\n")
    hand.leave()
    world.ticks(3)

    execution = world.execution(one)
    assert (execution.status, execution.exit_code, world.log(one)) == (GOOD, 3, "hello\n")
    assert [array.status for array in world.arrays()] == [ArrayStatus.ENDED]
    assert world.messages() == 0


def test_many_messages_are_run_once_each(world: World) -> None:
    actor = world.actor()
    ids = world.post(actor, 150)

    world.run_dry()

    assert world.statuses(ids) == [GOOD] * 150
    assert world.starts == dict.fromkeys(ids, 1)
    assert len(world.arrays()) == 1


def test_no_history_is_read(world: World) -> None:
    """Of the tables that only grow every statement reads by an index."""
    actor = world.actor()
    ids = world.post(actor, 20)
    with recorded_scans(world.database) as scans:
        world.run_dry()
    assert world.statuses(ids) == [GOOD] * 20
    assert not {"executions", "messages", "arrays", "workers", "logs", "results"}.intersection(
        scans
    )


def test_a_burst_is_one_array(world: World) -> None:
    actor = world.actor()
    first = world.post(actor, 3)
    world.tick(0.5)
    second = world.post(actor, 3)
    world.tick(0.5)
    assert world.arrays() == []

    world.tick(1)

    assert [array.message_count for array in world.arrays()] == [6]
    assert world.statuses(first + second) == [QUEUED] * 6


def test_an_array_is_one_actor_s(world: World) -> None:
    actors = [world.actor(), world.actor(), world.actor(owner="bob")]
    for actor in actors:
        world.post(actor, 2)

    world.tick(2)

    assert {array.actor_id for array in world.arrays()} == {actor.id for actor in actors}
    assert {job.username for job in world.slurm.jobs.values()} == {"alice", "bob"}


def test_a_stateful_actor_runs_one_message_after_the_other(world: World) -> None:
    actor = world.actor(stateless=False)
    ids = world.post(actor, 15)

    world.run_dry()

    assert list(world.starts) == ids
    assert len(world.arrays()) == 1
    assert {array.task_count for array in world.arrays()} == {1}


def test_no_actor_has_more_workers_than_it_may(world: World) -> None:
    actor = world.actor(max_workers=2, mean_run_s=1000)
    world.post(actor, 5)
    world.tick(2)
    world.post(actor, 5)
    world.tick(2)

    assert [array.task_count for array in world.arrays()] == [2]


def test_the_spool_is_as_the_protocol_says(world: World) -> None:
    ids = world.post(world.actor(), 2)
    world.tick(2)

    array = world.array()
    root = Path(array.spool)
    assert sorted(path.name for path in root.iterdir()) == [
        "array.json", "cancel", "claimed", "inbox", "journal", "leave", "logs", "payload",
        "results", "returned", "staged",
    ]  # fmt: skip
    assert root.stat().st_mode & 0o777 == 0o700
    chunks = sorted((root / "inbox").iterdir())
    lines = [json.loads(line) for chunk in chunks for line in chunk.read_text().splitlines()]
    assert list(lines[0]) == ["shared"]
    assert [line["id"] for line in lines[1:]] == ids
    assert json.loads((root / "array.json").read_text())["array"] == array.id


def test_the_program_is_there_for_the_workers(world: World) -> None:
    world.post(world.actor())
    world.tick(2)

    assert Path(world.context.program_path("alice")).read_bytes() == b"the program"


def test_the_spool_goes_when_the_array_ends(world: World) -> None:
    world.post(world.actor())
    world.tick(2)
    array = world.array()
    world.run_dry()

    assert not Path(array.spool).exists()
    assert Path(world.context.program_path("alice")).exists()


def test_a_large_message_travels_in_a_file(world: World) -> None:
    [one] = world.post(
        world.actor(), content_type="application/octet-stream", payload=b"x" * 70_000
    )
    world.tick(2)

    array = world.array()
    assert (Path(array.spool) / "payload" / one).read_bytes() == b"x" * 70_000


def test_the_journals_of_all_workers_are_read_in_one_exchange(world: World) -> None:
    ids = world.post(world.actor(mean_run_s=600), 3)
    world.tick(2)
    for index in range(3):
        hand = world.hand(index)
        hand.claim()
        hand.finish(hand.begin())
    before = len(world.sessions.asked)
    harvest_tick(world.context)

    verbs = [verb for verb, _ in world.sessions.asked[before:]]
    assert verbs == ["list", "read_each"]
    assert world.statuses(ids) == [GOOD] * 3
    assert {worker.journal_offset > 0 for worker in world.workers().values()} == {True}
