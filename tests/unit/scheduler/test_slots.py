"""Array tasks with several workers, where a site gives whole nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.core.statuses import WorkerStatus
from bridge.db import Array
from bridge.launcher.context import job_name
from bridge.scheduler.sharing import reclaim
from bridge.scheduler.usage import core_count, used_today
from bridge.services.workers import find_live_tasks, request_leave
from bridge.sites.cluster import WholeNode
from tests.unit.scheduler.world import BAD, QUEUED, RUNNING, Hand, World

NODE = WholeNode(cpus=4, memory_mib=3500)  # three workers, by their memory


@pytest.fixture
def world(world: World) -> World:
    """A world whose cluster gives whole nodes."""
    use(world, NODE)
    return world


def use(world: World, node: WholeNode, **changes: Any) -> None:
    site = world.context.site
    cluster = site.clusters["alpha"].model_copy(update={"whole_node": node, **changes})
    site = site.model_copy(update={"clusters": {"alpha": cluster}})
    world.context = replace(world.context, site=site)


def start(world: World, workers: int = 5) -> tuple[Array, list[Hand]]:
    """Have an array of two tasks with three and two workers; return these, joined."""
    world.post(world.actor(mean_run_s=600, max_workers=workers), workers)
    world.tick(2)
    array = world.array()
    job = world.slurm.job_named(job_name(array.id))
    for task in job.tasks:
        world.slurm.start(job.id, task.index)
    hands = [Hand(world, job.id, index // 3, index).join() for index in range(workers)]
    world.tick()
    return array, hands


def live(world: World, array: Array) -> list[int]:
    with world.database.read() as session:
        tasks = find_live_tasks(session, [array])[array.id]
    return [task.index for task in tasks if not task.is_leaving]


def leave(world: World, array: Array, *indices: int) -> None:
    with world.database.begin() as session:
        row = session.get_one(Array, array.id, with_for_update=True)
        for task in find_live_tasks(session, [row])[array.id]:
            if task.index in indices:
                request_leave(session, task, world.clock.now())


def test_an_array_asks_for_whole_tasks(world: World) -> None:
    world.post(world.actor(mean_run_s=600, max_workers=5), 5)
    world.tick(2)

    asked = world.slurm.job_named(job_name(world.array().id)).directives
    assert (asked["array"], asked["cpus-per-task"], asked["mem"]) == ("0-1", "3", "3072M")
    assert asked["exclusive"] == ""
    told = json.loads((Path(world.array().spool) / "array.json").read_text())
    assert (told["slots"], told["workers"], told["memory_mib"]) == (3, 5, 960)


def test_a_node_that_is_held_is_filled(world: World) -> None:
    world.post(world.actor(mean_run_s=60, max_workers=5), 4)
    world.tick(2)

    assert world.array().task_count == 3  # one would do


def test_few_workers_ask_for_no_more_than_they_need(world: World) -> None:
    use(world, WholeNode(cpus=4, memory_mib=3500, exclusive=False))
    world.post(world.actor(mean_run_s=600, max_workers=2), 9)
    world.tick(2)

    asked = world.slurm.job_named(job_name(world.array().id)).directives
    assert (asked["array"], asked["cpus-per-task"], asked["mem"]) == ("0-0", "2", "2048M")
    assert "exclusive" not in asked


def test_an_ended_task_takes_its_own_workers_with_it_alone(world: World) -> None:
    array, hands = start(world)
    for hand in hands:
        hand.claim()
    started = {hand.worker: hand.begin() for hand in hands if hand.worker != 1}
    world.tick()
    world.slurm.end(hands[0].job_id, 0, "NODE_FAIL", "1:0")
    world.ticks(4, 5)

    assert [world.statuses([started[index]])[0] for index in (0, 2)] == [BAD, BAD]
    assert [world.statuses([started[index]])[0] for index in (3, 4)] == [RUNNING, RUNNING]
    assert "NODE_FAIL" in world.execution(started[0]).reason
    assert world.statuses(hands[1].todo) == [QUEUED]  # claimed, and never started
    assert live(world, array) == [3, 4]
    assert {name for name, row in world.workers().items() if row.settled} == {"0.0", "1.0", "2.0"}


def test_a_requeued_task_fences_all_its_former_workers(world: World) -> None:
    array, hands = start(world)
    world.slurm.requeue(hands[0].job_id, 0)
    world.ticks(2, 10)

    gone = {name for name, row in world.workers().items() if row.fenced_at is not None}
    assert gone == {"0.0", "1.0", "2.0"}
    assert live(world, array) == [0, 1, 2, 3, 4]  # Slurm will start the task again


def test_a_slot_that_was_killed_is_lost_alone(world: World) -> None:
    array, hands = start(world)
    for hand in hands:
        hand.claim()
    started = {hand.worker: hand.begin() for hand in hands}
    hands[1].leave_alone("killed")
    world.tick()

    assert world.statuses([started[1]]) == [BAD]
    assert world.execution(started[1]).reason == "The worker left: killed."
    assert world.statuses([started[0], started[2]]) == [RUNNING, RUNNING]
    assert live(world, array) == [0, 2, 3, 4]


def test_a_task_that_waits_is_cancelled_when_none_of_its_workers_is_wanted(world: World) -> None:
    world.post(world.actor(mean_run_s=600, max_workers=5), 5)
    world.tick(2)
    array = world.array()
    job = world.slurm.job_named(job_name(array.id))

    leave(world, array, 1, 3)
    world.tick()
    assert [task.state for task in job.tasks] == ["PENDING", "PENDING"]
    assert (Path(array.spool) / "leave" / "1").exists()

    leave(world, array, 4)
    world.tick()
    assert [task.state for task in job.tasks] == ["PENDING", "CANCELLED"]
    assert live(world, array) == [0, 2]


def test_those_who_share_a_task_with_one_that_waits_may_wait_too(world: World) -> None:
    array, hands = start(world)
    for hand in hands:
        hand.claim()
        hand.finish(hand.begin())
    world.ticks(3)

    assert [hand.is_told_to_leave() for hand in hands] == [False, False, False, True, True]
    assert live(world, array) == [0, 1, 2]


def test_whoever_has_to_give_workers_back_gives_tasks(world: World) -> None:
    array, hands = start(world)
    with world.database.begin() as session:
        for name, row in world.workers().items():
            fresh = session.merge(row)
            fresh.create_time = world.clock.now().replace(second=0 if name == "4.0" else 1)

    assert reclaim(world.database, array.id, 3, world.clock.now()) == 3

    assert live(world, array) == [1, 2]  # the second task whole, and one more of the first
    assert len(hands) == 5


def test_a_worker_holds_its_part_of_the_task_until_the_last_has_left(world: World) -> None:
    use(world, NODE, idle_timeout_s=10_000)
    array, hands = start(world)
    began = world.clock.now()
    hands[4].claim()
    hands[3].leave_alone()
    world.tick()
    assert world.workers()["3.0"].status is WorkerStatus.SHUTTING_DOWN
    world.clock.push(99)

    with world.database.read() as session:
        used = used_today(session, world.clock.now())

    held_s = (world.clock.now() - began).total_seconds()
    assert used == {("PHYSICS", "alice"): pytest.approx(8 * held_s, rel=0.05)}
    assert (core_count(array, 0), core_count(array, 1)) == (4 / 3, 2.0)


def test_what_is_not_exclusive_holds_what_it_asked_for(world: World) -> None:
    use(world, WholeNode(cpus=4, memory_mib=3500, exclusive=False))
    array, _ = start(world)

    assert (core_count(array, 0), core_count(array, 1)) == (1.0, 1.5)
