"""The scheduler is killed at any moment: nothing is lost, nothing runs twice, one job runs it."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import replace

import pytest

from bridge.core.statuses import ArrayStatus
from bridge.db import Actor
from bridge.errors import BridgeError
from bridge.node.journal import Fenced
from bridge.node.spool import SpoolError
from bridge.scheduler.close import close_array
from bridge.scheduler.idle import start_leaving
from tests.unit.scheduler.world import BAD, GOOD, Hand, Killed, World

POINTS = ("planned", "before_sbatch", "after_sbatch", "adopted")
FEED_POINTS = ("bound", "written", "staged", "fed")


def check(world: World, ids: list[str]) -> None:
    """Nothing lost, nothing twice, and Slurm has one job that could have run each."""
    assert world.statuses(ids) == [GOOD] * len(ids)
    assert world.starts == dict.fromkeys(ids, 1)
    names = Counter(job.name for job in world.slurm.jobs.values())
    assert set(names.values()) <= {1}
    assert not world.arrays(live=True)
    assert world.messages() == 0


@pytest.mark.parametrize("point", POINTS)
def test_at_each_point_of_a_submission(world: World, point: str) -> None:
    ids = world.post(world.actor(mean_run_s=300), 5)
    world.tick_until_killed(point)

    world.run_dry()

    check(world, ids)
    used = {world.execution(one).array_id for one in ids}
    assert len(used) == 1


@pytest.mark.parametrize("point", ["after_sbatch", "adopted"])
def test_what_slurm_has_is_not_submitted_again(world: World, point: str) -> None:
    ids = world.post(world.actor(), 3)
    world.tick_until_killed(point)
    world.run_dry()

    check(world, ids)
    assert world.slurm.calls["submit"] == 1
    assert len(world.arrays()) == 1


@pytest.mark.parametrize("point", ["after_sbatch", "adopted"])
def test_it_may_have_run_before_the_scheduler_is_back(world: World, point: str) -> None:
    ids = world.post(world.actor(), 3)
    world.tick_until_killed(point)
    world.work_all()
    world.leave_all()
    world.clock.push(7200)
    for job in list(world.slurm.jobs):
        world.slurm.purge(job)  # slurmctld has forgotten it by then
    world.run_dry()

    check(world, ids)
    assert world.slurm.calls["submit"] == 1


@pytest.mark.parametrize("first", POINTS)
@pytest.mark.parametrize("second", POINTS)
def test_twice(world: World, first: str, second: str) -> None:
    ids = world.post(world.actor(), 3)
    world.tick_until_killed(first)
    ids += world.post(world.actor(), 3)
    world.tick_until_killed(second)
    world.run_dry()

    check(world, ids)


@pytest.mark.parametrize("point", POINTS)
def test_and_slurm_forgets_what_it_acknowledged(world: World, point: str) -> None:
    ids = world.post(world.actor(), 3)
    world.slurm.losing = 1
    world.tick_until_killed(point)
    world.run_dry()

    check(world, ids)


@pytest.mark.parametrize("verb", ["rename", "list", "read_each", "put", "remove", "mkdir"])
@pytest.mark.parametrize("nth", range(1, 5))
def test_between_any_two_steps_on_files(world: World, verb: str, nth: int) -> None:
    """A worker died in the middle of its work; the scheduler dies while it tidies up."""
    ids = world.post(world.actor(mean_run_s=300), 4)
    world.tick(2)
    hand = world.hand()
    hand.claim()
    running = hand.begin()
    world.tick()
    world.slurm.end(1, 0, "NODE_FAIL", "1:0")
    count = {"left": nth}

    def kill(asked: str, _about: object) -> None:
        if asked == verb:
            count["left"] -= 1
            if count["left"] == 0:
                raise Killed

    world.sessions.fail = kill
    for _ in range(30):
        try:
            world.tick(2)
        except Killed:
            break
        world.work_all()
    world.sessions.fail = lambda _verb, _about: None
    world.run_dry()

    assert world.execution(running).status is BAD
    assert [world.execution(one).status for one in ids if one != running] == [GOOD] * 3
    assert world.starts == dict.fromkeys(ids, 1)


class TestFeeding:
    """A chunk for an array that runs comes to its workers once, whoever brings it."""

    def warm(self, world: World) -> tuple[Actor, list[str]]:
        """Return an actor with a worker that waits, and what that has done."""
        actor = world.actor()
        ids = world.post(actor, 2)
        world.tick(2)
        world.work_all()
        world.tick()
        assert world.statuses(ids) == [GOOD] * 2
        with world.database.begin() as session:
            session.get_one(Actor, actor.id).mean_run_s = 0.01
        return actor, ids

    @pytest.mark.parametrize("point", FEED_POINTS)
    def test_at_each_point(self, world: World, point: str) -> None:
        actor, ids = self.warm(world)
        ids += world.post(actor, 3)
        world.tick_until_killed(point)
        world.run_dry()

        check(world, ids)
        assert len(world.arrays()) == 1

    @pytest.mark.parametrize("point", FEED_POINTS)
    def test_what_is_there_is_run_before_the_scheduler_is_back(
        self, world: World, point: str
    ) -> None:
        actor, ids = self.warm(world)
        ids += world.post(actor, 3)
        world.tick_until_killed(point)
        world.work_all()
        world.leave_all()
        world.run_dry()

        check(world, ids)

    @pytest.mark.parametrize("first", FEED_POINTS)
    @pytest.mark.parametrize("second", FEED_POINTS)
    def test_twice(self, world: World, first: str, second: str) -> None:
        actor, ids = self.warm(world)
        for point in (first, second):
            ids += world.post(actor, 2)
            with contextlib.suppress(AssertionError):  # the second may find nothing left to do
                world.tick_until_killed(point)
        world.run_dry()

        check(world, ids)

    @pytest.mark.parametrize("point", FEED_POINTS)
    def test_a_stateful_actor_s_order_outlives_it(self, world: World, point: str) -> None:
        actor = world.actor(stateless=False)
        ids = world.post(actor, 4)
        world.tick()
        world.work_all()
        world.tick_until_killed(point)
        world.work_all()
        world.leave_all()
        world.run_dry()

        check(world, ids)
        assert list(world.starts) == ids

    @pytest.mark.parametrize("verb", ["put", "rename"])
    @pytest.mark.parametrize("nth", [1, 2, 3])
    def test_between_any_two_files(self, world: World, verb: str, nth: int) -> None:
        actor, ids = self.warm(world)
        ids += world.post(actor, 100, size=100_000)  # three chunks, by what they weigh
        left = {"calls": nth}

        def kill(asked: str, _about: object) -> None:
            if asked == verb:
                left["calls"] -= 1
                if left["calls"] == 0:
                    raise Killed

        world.sessions.fail = kill
        with pytest.raises(Killed):
            world.tick(2)
        world.sessions.fail = lambda _verb, _about: None
        world.run_dry()

        check(world, ids)

    @pytest.mark.parametrize("point", FEED_POINTS)
    @pytest.mark.parametrize("other", ["feeds", "runs", "leads out", "closes", "ends"])
    def test_another_goes_on_while_one_sleeps(self, world: World, point: str, other: str) -> None:
        actor, ids = self.warm(world)
        ids += world.post(actor, 3)
        array = world.array()
        slept = []

        def at(reached: str) -> None:
            if reached == point and not slept:
                slept.append(point)
                if other == "leads out":
                    start_leaving(world.context, array.id, with_open=True)
                elif other in ("closes", "ends"):
                    close_array(world.context, array.id, "taken for lost")
                for _ in range({"closes": 1, "ends": 9}.get(other, 2)):
                    world.tick()
                    if other == "runs":
                        world.work_all()

        world.tick(2, replace(world.context, at=at))
        assert slept
        world.run_dry()

        check(world, ids)

    @pytest.mark.parametrize("nth", range(1, 9))
    def test_one_sleeps_and_the_other_dies(self, world: World, nth: int) -> None:
        """What is left half done by two is done once by a third."""
        actor, ids = self.warm(world)
        ids += world.post(actor, 70)
        left = {"calls": nth}
        slept = []

        def kill(_verb: str, _about: object) -> None:
            left["calls"] -= 1
            if left["calls"] == 0:
                raise Killed

        def at(reached: str) -> None:
            if reached == "bound" and not slept:
                slept.append(reached)
                world.sessions.fail = kill
                with contextlib.suppress(Killed):
                    world.tick()
                world.sessions.fail = lambda _verb, _about: None

        world.tick(2, replace(world.context, at=at))
        assert slept
        world.work_all()
        world.run_dry()

        check(world, ids)


class Chaos:
    """Whatever can happen, in any order; the same seed gives the same order."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.impatience = self.random.choice([0, 0.1, 1])  # of workers that wait
        self.actors = [world.actor(mean_run_s=300), world.actor(stateless=False, mean_run_s=1)]
        self.ids: dict[str, list[str]] = {actor.id: [] for actor in self.actors}
        self.hands: list[Hand] = []
        self.running: dict[int, str] = {}

    def run(self, steps: int) -> None:
        often = [self.tick, self.start, self.step, self.step, self.step]
        seldom = [
            self.post, self.kill, self.requeue, self.fail_node, self.lose, self.be_deaf,
            self.be_losing, self.restart_slurm,
        ]  # fmt: skip
        self.post()
        for _ in range(steps):
            act = self.random.choice(often if self.random.random() < 0.85 else seldom)
            act()
        self.world.slurm.is_up = True
        self.world.slurm.losing = self.world.slurm.deaf = 0
        # The workers that are left die with their nodes, or go on unseen.
        for node in ("c1", "c2"):
            self.world.slurm.fail_node(node)

    def post(self) -> None:
        for actor in self.actors:
            most = 70 if actor.stateless else 6
            self.ids[actor.id] += self.world.post(actor, self.random.randint(1, most))

    def tick(self) -> None:
        try:
            self.world.tick(self.random.choice([0.5, 2, 2, 6, 20]))
        except BridgeError:
            assert not self.world.slurm.is_up

    def kill(self) -> None:
        left = {"calls": self.random.randint(1, 25)}

        def fail(_verb: str, _about: object) -> None:
            left["calls"] -= 1
            if left["calls"] == 0:
                raise Killed

        self.world.sessions.fail = fail
        try:
            self.world.tick(2)
        except (Killed, BridgeError):
            pass
        finally:
            self.world.sessions.fail = lambda _verb, _about: None

    def start(self) -> None:
        for job_id, index in self.tasks("PENDING", 1):
            self.world.slurm.start(job_id, index, self.random.choice(["c1", "c2"]))
            hand = Hand(self.world, job_id, index)
            try:
                hand.join()
            except (SpoolError, Fenced, OSError, AssertionError):  # nothing to join: it leaves
                self.world.slurm.end(job_id, index, "FAILED", "2:0")
            else:
                self.hands.append(hand)

    def step(self) -> None:
        """One worker does the next thing, if it still can; one that is taken for dead tries too."""
        if not self.hands:
            return
        hand = self.random.choice(self.hands)
        try:
            if id(hand) in self.running:
                hand.finish(self.running.pop(id(hand)))
            elif hand.todo:
                self.running[id(hand)] = one = hand.begin()
                if one in self.ids[self.actors[1].id]:
                    self.count(hand, one)
            elif hand.is_told_to_leave() or (
                hand.claim() is None and self.random.random() < self.impatience
            ):
                hand.leave()
                self.hands.remove(hand)
        except (Fenced, OSError, KeyError):  # fenced off, its spool or its job is gone: it ends
            self.hands.remove(hand)

    def count(self, hand: Hand, one: str) -> None:
        """See what the one before left, and leave something else."""
        with self.world.database.begin() as session:
            actor = session.get_one(Actor, self.actors[1].id)
            assert hand.seen[one] == repr(actor.state)
            actor.state = {"started": one}

    def requeue(self) -> None:
        for job_id, index in self.tasks("RUNNING", 1):
            self.world.slurm.requeue(job_id, index)

    def fail_node(self) -> None:
        requeue = self.random.random() < 0.7
        self.world.slurm.fail_node(self.random.choice(["c1", "c2"]), requeue=requeue)

    def lose(self) -> None:
        if self.world.slurm.jobs:
            self.world.slurm.lose(max(self.world.slurm.jobs))

    def be_deaf(self) -> None:
        self.world.slurm.deaf = 1

    def be_losing(self) -> None:
        self.world.slurm.losing = 1

    def restart_slurm(self) -> None:
        self.world.slurm.is_up = not self.world.slurm.is_up

    def tasks(self, state: str, count: int) -> list[tuple[int, int]]:
        """Return some of the array tasks in this state."""
        found = [
            (job.id, task.index)
            for job in self.world.slurm.jobs.values()
            for task in job.tasks
            if task.state == state
        ]
        self.random.shuffle(found)
        return found[:count]


@pytest.mark.parametrize("seed", range(12))
def test_in_any_order(world: World, seed: int) -> None:
    chaos = Chaos(world, seed)
    chaos.run(150)
    world.run_dry(200)

    stateless, stateful = (chaos.ids[actor.id] for actor in chaos.actors)
    for one in stateless + stateful:
        execution = world.execution(one)
        assert execution.status in (GOOD, BAD)
        assert world.starts[one] <= 1
        if execution.status is GOOD:
            assert world.starts[one] == 1
        elif world.starts[one] == 0:
            assert "Given up" in execution.reason
    started = [one for one in world.starts if one in set(stateful)]
    assert started == sorted(started, key=stateful.index)
    assert {array.status for array in world.arrays()} <= {ArrayStatus.ENDED}
