"""Workers with nothing to do beside one that is at work; one that is kept for a hint's sake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from bridge.core.statuses import ArrayStatus
from bridge.db import Actor, Array
from bridge.scheduler.surplus import AFTER
from tests.unit.scheduler.test_feeding import IDLE_S, idle, tasks, use_cluster
from tests.unit.scheduler.world import GOOD, Hand, World

LONG_S = AFTER.total_seconds()


def busy(world: World, actor: Actor, count: int = 4) -> tuple[Hand, str, list[Hand]]:
    """Have an array at work; return who runs the last message, which, and who is done."""
    ids = world.post(actor, count)
    world.tick(2)
    hands = [world.hand(index) for index in range(count)]
    for hand in hands:
        hand.claim()
        hand.begin()
    world.tick(0.5)
    for hand, one in zip(hands[1:], ids[1:], strict=True):
        hand.finish(one)
    world.tick(0.5)
    assert world.statuses(ids[1:]) == [GOOD] * (count - 1)
    return hands[0], ids[0], hands[1:]


def left(world: World) -> list[int]:
    return [task.index for task in tasks(world, world.array())]


def test_others_leave_and_one_stays_for_a_while(each_world: World) -> None:
    world = each_world
    actor = world.actor(mean_run_s=600)
    hand, one, others = busy(world, actor)
    assert left(world) == [0, 1, 2, 3]
    world.tick(LONG_S)
    world.tick(0.5)
    assert left(world) == [0, 1]
    assert [other.is_told_to_leave() for other in others] == [False, True, True]
    assert not hand.is_told_to_leave()

    [more] = world.post(actor)
    world.tick(0.5)
    others[0].claim()
    others[0].finish(others[0].begin())
    world.tick(0.5)
    assert world.statuses([more]) == [GOOD]
    world.ticks(3, IDLE_S / 2)
    assert left(world) == [0]
    assert others[0].is_told_to_leave()
    assert not hand.is_told_to_leave()
    hand.finish(one)
    world.tick(0.5)
    assert world.statuses([one]) == [GOOD]


def test_none_leaves_that_something_waits_for(world: World) -> None:
    actor = world.actor(mean_run_s=600)
    ids = world.post(actor, 4)
    world.tick(2)
    hand = world.hand()
    hand.claim()
    hand.begin()
    world.hand(1)
    world.ticks(3, LONG_S)
    assert left(world) == [0, 1, 2, 3]  # three chunks lie in the inbox
    assert world.statuses(ids)[1:] != [GOOD] * 3


def test_tasks_that_wait_in_slurm_s_queue_need_not_start(world: World) -> None:
    ids = world.post(world.actor(mean_run_s=600), 4)
    world.tick(2)
    hand, other = world.hand(0), world.hand(1)
    for one in (other, hand):
        one.claim()
        one.begin()
    for _ in ids[2:]:  # by the same worker, quickly
        other.claim()
    other.finish(ids[0])
    for _ in ids[2:]:
        other.finish(other.begin())
    world.tick(LONG_S)
    world.tick(LONG_S)
    [job] = world.slurm.jobs.values()
    assert [task.state for task in job.tasks] == ["RUNNING", "RUNNING", "CANCELLED", "CANCELLED"]
    assert left(world) == [0, 1]


def test_workers_that_an_admin_asked_for_stay(world: World) -> None:
    busy(world, world.actor(mean_run_s=600))
    with world.database.begin() as session:
        session.execute(update(Array).values(is_standing=True))
    world.ticks(3, LONG_S)
    assert left(world) == [0, 1, 2, 3]


class TestSync:
    SYNC_S = 600  # the site's default

    def test_one_worker_is_kept_for_longer(self, world: World) -> None:
        plain = idle(world, world.actor())
        actor = world.actor(hints=["mine", "sync"])
        world.post(actor)
        world.tick(2)
        world.work_all()
        world.ticks(2, IDLE_S + 5)
        world.work_all()
        world.ticks(3, 5)
        found = {array.id: array for array in world.arrays()}
        assert found[plain.id].status is ArrayStatus.ENDED

        [one] = world.post(actor)
        world.tick(0.1)
        world.work_all()
        world.tick(0.5)
        assert world.statuses([one]) == [GOOD]
        assert len(world.arrays()) == 2
        begun = world.clock.now()
        while world.arrays(live=True):
            world.tick(10)
            world.work_all()
        kept = world.clock.now() - begun
        assert timedelta(seconds=self.SYNC_S) <= kept <= timedelta(seconds=self.SYNC_S + 40)

    @pytest.mark.parametrize(
        ("idle_s", "sync_s", "hints", "waits"),
        [(0, 600, ["sync"], True), (0, 600, [], False), (0, 0, ["sync"], False)],
    )
    def test_where_none_waits_otherwise(
        self, world: World, idle_s: float, sync_s: float, hints: list[Any], waits: bool
    ) -> None:
        changes = {"idle_timeout_s": idle_s, "sync_idle_timeout_s": sync_s}
        use_cluster(world, world.context.cluster.model_copy(update=changes))
        actor = world.actor(hints=hints)
        idle_ids = world.post(actor)
        world.tick(2)
        hand = world.hand()
        hand.claim()
        hand.finish(hand.begin())
        world.tick(1)
        world.tick(1)
        assert world.statuses(idle_ids) == [GOOD]
        assert hand.is_told_to_leave() is not waits
