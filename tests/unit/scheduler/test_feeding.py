"""Messages for arrays that run, workers that wait for them, and those that are to leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bridge.core.statuses import ArrayStatus
from bridge.db import Actor, Array, ArrayTask
from bridge.errors import BridgeError, CommandTimeout, FileRefused, SlurmUnavailable
from bridge.scheduler.idle import CRAMPED_IDLE_S
from bridge.services.workers import LiveTask, find_live_tasks
from bridge.sites import Site
from tests.unit.scheduler.world import BAD, GOOD, Hand, World

IDLE_S = 30  # the site's default


def change(world: World, actor: Actor, **values: Any) -> None:
    """Change an actor, as an update does."""
    with world.database.begin() as session:
        session.execute(update(Actor).where(Actor.id == actor.id).values(**values))


def tasks(world: World, array: Array) -> list[LiveTask]:
    with world.database.read() as session:
        found = find_live_tasks(session, [session.get_one(Array, array.id)])[array.id]
    return [task for task in found if not task.is_leaving]


def idle(world: World, actor: Actor, count: int = 1) -> Array:
    """Have an array run its messages; return it with what it has left to do: nothing."""
    ids = world.post(actor, count)
    world.tick(2)
    world.work_all()
    world.tick()
    assert world.statuses(ids) == [GOOD] * count
    return world.array()


def test_the_life_of_workers_on_either_database(each_world: World) -> None:
    """Planned, fed, told to leave one by one, asked for, drained, ended."""
    world = each_world
    actor = world.actor(mean_run_s=600)
    first = idle(world, actor, 3)
    ids = world.post(actor)
    world.tick()
    world.work_all()
    world.tick()
    assert world.statuses(ids) == [GOOD]
    assert {world.execution(one).array_id for one in ids} == {first.id}
    assert len(tasks(world, world.array())) == 1

    change(world, actor, workers_asked=3)
    world.tick()
    world.work_all()
    assert [array.task_count for array in world.arrays()] == [3, 2]
    ids += world.post(actor, 12)
    world.ticks(2)
    TestDraining().drain(world, actor)
    world.ticks(3)
    world.run_dry(90)
    assert world.statuses(ids) == [GOOD] * 13
    assert {world.starts[one] for one in ids} == {1}
    assert {array.status for array in world.arrays()} == {ArrayStatus.ENDED}


class TestFeeding:
    def test_a_message_goes_to_the_worker_that_waits(self, world: World) -> None:
        actor = world.actor()
        array = idle(world, actor)
        [one] = world.post(actor)
        world.tick(0.1)  # at once: no burst is waited for
        world.work_all()
        world.tick(0.5)

        assert world.statuses([one]) == [GOOD]
        assert world.execution(one).array_id == array.id
        assert world.slurm.calls["submit"] == 1
        found = world.array()
        assert (found.chunk_count, found.fed_chunks, found.message_count) == (2, 2, 2)
        assert found.staged_as is None

    def test_nothing_is_listed_for_it(self, world: World) -> None:
        actor = world.actor()
        idle(world, actor)
        world.sessions.asked.clear()
        world.post(actor, 20)
        world.tick(0.1)

        inbox = [about for verb, about in world.sessions.asked if "journal" not in str(about)]
        assert [verb for verb, about in world.sessions.asked if about in inbox] == ["put", "rename"]

    def test_what_is_more_than_it_can_do_soon_waits(self, world: World) -> None:
        actor = world.actor(mean_run_s=1000)
        idle(world, actor)
        ids = world.post(actor, 5)
        world.tick(0.1)

        assert world.queued() == 4
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 5

    def test_a_long_queue_goes_through_one_array(self, world: World) -> None:
        actor = world.actor(mean_run_s=0.5, max_workers=1)
        ids = [*world.post(actor, 40)]
        world.tick(2)
        for _ in range(5):
            ids += world.post(actor, 20)
            world.work_all()
            world.tick()
        world.run_dry()

        assert world.statuses(ids) == [GOOD] * 140
        assert world.starts == dict.fromkeys(ids, 1)
        assert len(world.arrays()) == 1

    def test_an_array_that_has_had_its_share_is_replaced(self, world: World) -> None:
        cluster = world.context.cluster.model_copy(update={"max_messages_per_array": 3})
        use_cluster(world, cluster)
        actor = world.actor(max_workers=1)
        first = idle(world, actor, 2)
        ids = world.post(actor, 4)
        world.run_dry()

        assert world.statuses(ids) == [GOOD] * 4
        counts = [array.message_count for array in world.arrays()]
        assert counts == [3, 3]
        assert world.execution(ids[0]).array_id == first.id

    def test_no_array_is_fed_where_none_is_to_wait(self, world: World) -> None:
        use_cluster(world, world.context.cluster.model_copy(update={"idle_timeout_s": 0}))
        actor = world.actor()
        world.post(actor)
        world.tick(2)
        document = json.loads((Path(world.array().spool) / "array.json").read_text())
        assert document["idle_timeout_s"] == 0
        world.work_all()
        world.post(actor)
        world.tick(2)
        world.run_dry()
        assert [array.message_count for array in world.arrays()] == [1, 1]

    @pytest.mark.parametrize(
        "change_it",
        [
            lambda world, actor: change(world, actor, default_environment={"A": "1"}),
            lambda world, actor: change(world, actor, revision=2),
            lambda world, actor: change(world, actor, max_cpus=3_000_000_000),
            lambda world, actor: change(world, actor, stateless=False),
        ],
        ids=["environment", "forced", "limits", "stateful"],
    )
    def test_a_changed_actor_gets_new_workers(
        self, world: World, change_it: Callable[[World, Actor], None]
    ) -> None:
        actor = world.actor()
        old = idle(world, actor)
        change_it(world, actor)
        [one] = world.post(actor)
        world.tick(2)

        assert world.execution(one).array_id not in (old.id, None)
        world.run_dry()
        assert world.statuses([one]) == [GOOD]

    @pytest.mark.parametrize("verb", ["put", "rename"])
    def test_a_way_that_is_blocked_is_tried_again(self, world: World, verb: str) -> None:
        actor = world.actor()
        array = idle(world, actor)
        fail_once(world, verb, CommandTimeout("slow"))
        [one] = world.post(actor)
        world.ticks(2)
        world.work_all()
        world.tick()

        assert world.statuses([one]) == [GOOD]
        assert world.execution(one).array_id == array.id

    def test_a_disk_that_is_full_ends_in_an_array_of_its_own(self, world: World) -> None:
        actor = world.actor()
        array = idle(world, actor)

        def full(verb: str, about: object) -> None:
            if verb == "put" and ("/staged/" in str(about) or "/inbox/" in str(about)):
                raise FileRefused("Disk quota exceeded", kind="refused")

        world.sessions.fail = full
        [one] = world.post(actor)
        world.ticks(8, 2)

        assert world.statuses([one]) == [BAD]
        assert world.execution(one).reason == "Disk quota exceeded"
        assert len(world.arrays()) == 2
        assert array.id == world.arrays()[0].id

    def test_who_left_meanwhile_keeps_nothing(self, world: World) -> None:
        actor = world.actor()
        idle(world, actor)
        world.leave_all()
        ids = world.post(actor, 2)
        world.run_dry()

        assert world.statuses(ids) == [GOOD] * 2
        assert world.starts[ids[0]] == 1


class TestIdleWorkers:
    def test_one_stays_for_a_while(self, world: World) -> None:
        actor = world.actor(mean_run_s=600)
        array = idle(world, actor, 4)
        assert array.task_count == 4
        world.tick()
        world.work_all()
        world.ticks(2)

        assert [task.index for task in tasks(world, world.array())] == [0]
        world.ticks(1, IDLE_S - 6)
        assert world.array().status is ArrayStatus.SUBMITTED
        world.ticks(1, 6)
        world.work_all()
        world.ticks(3)
        assert world.arrays(live=True) == []
        [job] = world.slurm.jobs.values()
        assert {task.state for task in job.tasks} == {"COMPLETED"}
        assert world.slurm.calls["cancel"] == 0

    def test_one_that_does_not_leave_is_not_waited_for(self, world: World) -> None:
        idle(world, world.actor())
        world.ticks(2, IDLE_S)
        world.ticks(5, 10)
        assert world.arrays(live=True) == []
        assert {task.state for job in world.slurm.jobs.values() for task in job.tasks} == {
            "CANCELLED"
        }

    def test_tasks_that_have_not_started_are_cancelled_alone(self, world: World) -> None:
        ids = world.post(world.actor(mean_run_s=600), 4)
        world.tick(2)
        hand = world.hand()
        for _ in ids:
            hand.claim()
            hand.finish(hand.begin())
        world.ticks(3)

        [job] = world.slurm.jobs.values()
        states = [task.state for task in job.tasks]
        assert states == ["RUNNING", "CANCELLED", "CANCELLED", "CANCELLED"]
        assert [task.index for task in tasks(world, world.array())] == [0]
        assert world.slurm.calls["cancel_waiting"] == 1

    def test_a_message_keeps_it_from_leaving(self, world: World) -> None:
        actor = world.actor()
        array = idle(world, actor)
        for _ in range(4):
            world.ticks(1, IDLE_S - 5)
            [one] = world.post(actor)
            world.tick(0.5)
            world.work_all()
            world.tick(0.5)
            assert world.statuses([one]) == [GOOD]
        assert world.array().id == array.id

    def test_it_makes_room_for_its_owner_s_other_array(self, world: World) -> None:
        idle(world, world.actor())
        world.post(world.actor())  # for which Slurm has no room
        world.tick(2)
        bobs = world.actor(owner="bob")
        world.post(bobs)
        world.tick(2)
        world.work_of("bob")
        for _ in range(3):
            world.tick(CRAMPED_IDLE_S)
            world.work_of("bob")
        assert [a.username for a in world.arrays() if a.leaving_at] == ["alice"]

    def test_slurm_s_limit_lets_it_leave_too(self, world: World) -> None:
        first = idle(world, world.actor())
        world.post(world.actor())
        from_now = world.clock.now() + timedelta(seconds=60)
        world.tick(2)
        with world.database.begin() as session:
            session.execute(
                update(Array)
                .where(Array.id != first.id)
                .values(status=ArrayStatus.PLANNED, retry_at=from_now)
            )
        world.ticks(2, CRAMPED_IDLE_S)
        assert [a.id for a in world.arrays() if a.leaving_at] == [first.id]

    def test_orders_wait_for_a_way(self, world: World) -> None:
        ids = world.post(world.actor(mean_run_s=600), 4)
        world.tick(2)
        world.work_all()
        world.slurm.is_up = False
        with pytest.raises(SlurmUnavailable):
            world.tick()
        assert world.statuses(ids) == [GOOD] * 4
        with world.database.read() as session:
            ordered = [task.leave_ordered_at for task in session.query(ArrayTask)]
        assert ordered == [None] * 3
        world.slurm.is_up = True
        world.tick()
        world.work_all()
        world.tick()
        assert len(tasks(world, world.array())) == 1


class TestDraining:
    """The actor has another image: what runs concludes, the rest runs on the new one."""

    def drain(self, world: World, actor: Actor) -> None:
        with world.database.begin() as session:
            session.execute(update(Array).values(drain_requested=True))
            session.execute(update(Actor).where(Actor.id == actor.id).values(revision=2))

    def running(self, world: World, count: int) -> tuple[Actor, list[str], Hand, str]:
        actor = world.actor(mean_run_s=300)
        ids = world.post(actor, count)
        world.tick(2)
        hand = world.hand()
        hand.claim()
        one = hand.begin()
        world.tick()
        return actor, ids, hand, one

    def test_what_nobody_claimed_goes_back_at_once(self, world: World) -> None:
        actor, ids, hand, one = self.running(world, 5)
        old = world.array()
        self.drain(world, actor)
        world.ticks(2, 0.5)
        assert world.queued() + len(world.arrays(live=True)) > 1
        world.ticks(2, 2)
        new = [world.execution(other).array_id for other in ids if other != one]
        assert old.id not in new
        assert None not in new

        hand.finish(one)
        assert hand.is_told_to_leave()
        hand.leave("stop")
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 5
        assert world.starts == dict.fromkeys(ids, 1)
        assert world.execution(one).array_id == old.id

    def test_what_was_claimed_and_not_started_goes_back_when_the_worker_leaves(
        self, world: World
    ) -> None:
        actor = world.actor(mean_run_s=0.1)
        ids = world.post(actor, 10)
        world.tick(2)
        hand = world.hand()
        hand.claim()
        one = hand.begin()
        world.tick()
        self.drain(world, actor)
        world.ticks(3)
        assert world.queued() == 0
        hand.finish(one)
        hand.leave("stop")
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 10
        assert world.starts == dict.fromkeys(ids, 1)

    def test_one_that_was_not_submitted_gives_everything_back(self, world: World) -> None:
        ids = world.post(world.actor(), 3)
        world.tick_until_killed("planned")
        with world.database.begin() as session:
            session.execute(update(Array).values(drain_requested=True))
        world.tick()
        assert world.slurm.calls["submit"] == 0
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 3

    def test_an_idle_one_ends(self, world: World) -> None:
        actor = world.actor()
        idle(world, actor)
        self.drain(world, actor)
        world.ticks(2)
        world.work_all()
        world.ticks(2)
        assert world.arrays(live=True) == []


class TestStandingWorkers:
    """Those that an admin asked for."""

    def test_are_an_array_without_messages(self, world: World) -> None:
        actor = world.actor()
        change(world, actor, workers_asked=3)
        world.tick(0.5)

        array = world.array()
        assert (array.task_count, array.message_count, array.is_standing) == (3, 0, True)
        assert array.status is ArrayStatus.SUBMITTED
        assert len(tasks(world, array)) == 3
        world.ticks(5, 10)
        assert len(world.arrays()) == 1

    def test_take_messages_and_stay(self, world: World) -> None:
        actor = world.actor()
        change(world, actor, workers_asked=2)
        world.tick(0.5)
        world.work_all()
        ids = world.post(actor, 6)
        for _ in range(3):
            world.tick(60)
            world.work_all()
        world.tick(60)
        assert world.statuses(ids) == [GOOD] * 6
        assert len(tasks(world, world.array())) == 2

        world.tick(600)
        world.work_all()
        world.ticks(3)
        assert world.arrays(live=True) == []

    def test_those_there_count(self, world: World) -> None:
        actor = world.actor()
        idle(world, actor)
        change(world, actor, workers_asked=3)
        world.tick(0.5)
        assert [array.task_count for array in world.arrays()] == [1, 2]
        change(world, actor, workers_asked=3)
        world.tick(0.5)
        assert len(world.arrays()) == 2

    def test_wait_for_the_image(self, world: World) -> None:
        actor = world.actor(status="SUBMITTED", workers_asked=1)
        world.tick()
        assert world.arrays() == []
        change(world, actor, status="READY")
        world.tick()
        assert len(world.arrays()) == 1

    def test_are_none_where_the_site_forbids_them(self, world: World) -> None:
        world.actor(workers_asked=1, queue="gone")
        world.tick()
        assert world.arrays() == []

    def test_one_is_told_to_leave(self, world: World) -> None:
        actor = world.actor()
        change(world, actor, workers_asked=2)
        world.tick(0.5)
        world.work_all()
        with world.database.begin() as session:
            now = world.clock.now()
            session.add(ArrayTask(array_id=world.array().id, task_index=1, leave_requested_at=now))
        world.tick()
        world.work_all()
        world.tick()
        assert [task.index for task in tasks(world, world.array())] == [0]


def use_cluster(world: World, cluster: Any) -> None:
    site: Site = world.context.site.model_copy(update={"clusters": {"alpha": cluster}})
    object.__setattr__(world.context, "site", site)


def fail_once(world: World, verb: str, error: BridgeError) -> None:
    def fail(asked: str, about: object) -> None:
        if asked == verb and "/staged/" in str(about):
            world.sessions.fail = lambda _verb, _about: None
            raise error

    world.sessions.fail = fail
