"""The scheduler is killed at any moment: nothing is lost, nothing runs twice, one job runs it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.clock import ManualClock
from bridge.core.statuses import ArrayStatus
from bridge.db import Base, Database
from bridge.errors import BridgeError
from bridge.sessions import SessionPool
from bridge.sites import Site
from tests.unit.scheduler.world import BAD, GOOD, Hand, Killed, World

POINTS = ("planned", "before_sbatch", "after_sbatch", "adopted")


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
    world.clock.push(7200)
    for job in list(world.slurm.jobs):
        world.slurm.purge(job)  # slurmctld has forgotten it by then
    world.run_dry()

    check(world, ids)
    assert world.slurm.calls["submit"] == 1


@pytest.mark.parametrize("first", POINTS)
@pytest.mark.parametrize("second", POINTS)
def test_twice(world: World, first: str, second: str) -> None:
    actor = world.actor()
    ids = world.post(actor, 3)
    world.tick_until_killed(first)
    ids += world.post(actor, 3)
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


@pytest.mark.parametrize("verb", ["rename", "list", "read", "put", "remove", "mkdir"])
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


class Chaos:
    """Whatever can happen, in any order, as hypothesis chooses."""

    def __init__(self, world: World, data: st.DataObject) -> None:
        self.world = world
        self.draw = data.draw
        self.actors = [world.actor(mean_run_s=300), world.actor(stateless=False, mean_run_s=1)]
        self.ids: dict[str, list[str]] = {actor.id: [] for actor in self.actors}
        self.hands: list[Hand] = []
        self.running: dict[int, str] = {}

    def run(self) -> None:
        steps: list[Any] = [
            self.post, self.tick, self.tick, self.tick, self.kill, self.start, self.start,
            self.step, self.step, self.step, self.step, self.requeue, self.fail_node, self.lose,
            self.deaf, self.losing, self.restart_slurm,
        ]  # fmt: skip
        for step in self.draw(st.lists(st.sampled_from(steps), min_size=5, max_size=40)):
            step()
        self.world.slurm.is_up = True
        self.world.slurm.losing = self.world.slurm.deaf = 0

    def post(self) -> None:
        actor = self.draw(st.sampled_from(self.actors))
        self.ids[actor.id] += self.world.post(actor, self.draw(st.integers(1, 4)))

    def tick(self) -> None:
        try:
            self.world.tick(self.draw(st.sampled_from([0.5, 2, 6, 40])))
        except BridgeError:
            assert not self.world.slurm.is_up

    def kill(self) -> None:
        left = {"calls": self.draw(st.integers(1, 25))}

        def fail(_verb: str, _about: object) -> None:
            left["calls"] -= 1
            if left["calls"] == 0:
                raise Killed

        self.world.sessions.fail = fail
        try:
            self.world.tick(2, replace(self.world.context))
        except (Killed, BridgeError):
            pass
        finally:
            self.world.sessions.fail = lambda _verb, _about: None

    def start(self) -> None:
        tasks = [
            (job.id, task.index)
            for job in self.world.slurm.jobs.values()
            for task in job.tasks
            if task.state == "PENDING"
        ]
        if not tasks:
            return
        job_id, index = self.draw(st.sampled_from(tasks))
        self.world.slurm.start(job_id, index, self.draw(st.sampled_from(["c1", "c2"])))
        hand = Hand(self.world, job_id, index)
        try:
            hand.join()
        except Exception:  # noqa: BLE001 - a worker that finds nothing to join leaves
            self.world.slurm.end(job_id, index, "FAILED", "2:0")
            return
        self.hands.append(hand)

    def step(self) -> None:
        """One worker does the next thing, if it still can; a fenced or dead one too may try."""
        if not self.hands:
            return
        hand = self.draw(st.sampled_from(self.hands))
        key = id(hand)
        try:
            if key in self.running:
                hand.finish(self.running.pop(key))
            elif hand.todo:
                self.running[key] = hand.begin()
            elif hand.claim() is None:
                hand.leave()
                self.hands.remove(hand)
        except Exception:  # noqa: BLE001 - fenced off, or its spool is gone: that worker ends
            self.hands.remove(hand)

    def requeue(self) -> None:
        self.on_running(self.world.slurm.requeue)

    def fail_node(self) -> None:
        self.world.slurm.fail_node(
            self.draw(st.sampled_from(["c1", "c2"])), requeue=self.draw(st.booleans())
        )

    def lose(self) -> None:
        if self.world.slurm.jobs:
            self.world.slurm.lose(max(self.world.slurm.jobs))

    def deaf(self) -> None:
        self.world.slurm.deaf = 1

    def losing(self) -> None:
        self.world.slurm.losing = 1

    def restart_slurm(self) -> None:
        self.world.slurm.is_up = not self.world.slurm.is_up

    def on_running(self, act: Any) -> None:
        tasks = [
            (job.id, task.index)
            for job in self.world.slurm.jobs.values()
            for task in job.tasks
            if task.state == "RUNNING"
        ]
        if tasks:
            act(*self.draw(st.sampled_from(tasks)))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_in_any_order(
    data: st.DataObject, site: Site, sqlite: Database, sessions: SessionPool
) -> None:
    with sqlite.begin() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    world = World(site, sqlite, ManualClock(), sessions)
    chaos = Chaos(world, data)
    chaos.run()
    # The workers that are left go on or die, as they like; then Slurm and scheduler come to rest.
    for job in world.slurm.jobs.values():
        for task in job.tasks:
            if task.state == "RUNNING":
                task.state = "NODE_FAIL"
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
    started = [one for one in world.starts if one in stateful]
    assert started == sorted(started, key=stateful.index)
    assert {array.status for array in world.arrays()} <= {ArrayStatus.ENDED}
