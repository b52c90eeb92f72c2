"""The loop itself: real timers, what one round does, and what does not hold it up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import select

from bridge.core.waits import Waits
from bridge.db import Event, Execution, Lease
from bridge.errors import SlurmUnavailable
from bridge.events import record_actor
from bridge.scheduler import loop
from bridge.scheduler.lease import SchedulerLease
from bridge.scheduler.loop import SchedulerLoop
from bridge.sessions import UserSession
from tests.factories.rows import START, add_actor
from tests.unit.events.receiver import serving
from tests.unit.scheduler.world import GOOD, World


def test_events_are_delivered_and_schedules_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CRON_S", 0.1)
    with serving() as receiver:
        with world.database.begin() as session:
            target = add_actor(session)
            actor = add_actor(
                session,
                link=target.id,
                webhook=receiver.url,
                cron_on=True,
                cron_schedule="now + 1 hour",
                cron_start_at=START,
                cron_next_at=START,
            )
            record_actor(session, actor, START)
        networks = {"webhook_networks": (ip_network("127.0.0.1/32"),)}
        context = replace(world.context, site=world.context.site.model_copy(update=networks))
        lease = SchedulerLease(world.database, world.clock)
        stop = threading.Event()
        thread = threading.Thread(target=SchedulerLoop([context], lease).run, args=(stop,))
        thread.start()
        try:
            assert Waits().until(lambda: _is_done(world) or None, 60)
        finally:
            stop.set()
            thread.join(60)
    assert not thread.is_alive()
    assert [body["event_type"] for body in receiver.bodies] == ["ACTOR_READY"]
    with world.database.read() as session:
        posted = session.execute(select(Execution.actor_id, Execution.executor)).all()
        assert session.scalars(select(Lease)).all() == []
    assert set(posted) == {(target.id, "Abaco Event"), (actor.id, "cron")}


def _is_done(world: World) -> bool:
    with world.database.read() as session:
        executors = set(session.scalars(select(Execution.executor)))
        return executors == {"cron", "Abaco Event"} and not session.scalars(select(Event)).all()


class Gate:
    """A Slurm whose sbatch hangs for one user until it is opened."""

    def __init__(self, world: World, username: str) -> None:
        self.is_open = threading.Event()
        self.entered = threading.Event()
        self.done = threading.Semaphore(0)
        self._username = username
        self._real = world.slurm.submit

    def submit(self, session: UserSession, script: str) -> int:
        if session.username == self._username:
            self.entered.set()
            assert self.is_open.wait(30)
        try:
            return self._real(session, script)
        finally:
            self.done.release()


@pytest.fixture
def gate(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(world, "alice")
    monkeypatch.setattr(world.slurm, "submit", gate.submit)
    yield gate
    gate.is_open.set()


@pytest.fixture
def one(world: World) -> SchedulerLoop:
    """A loop whose rounds a test runs."""
    return SchedulerLoop([world.context], SchedulerLease(world.database, world.clock))


def test_an_sbatch_that_hangs_holds_up_nobody(world: World, one: SchedulerLoop, gate: Gate) -> None:
    world.post(world.actor())
    world.clock.push(2)
    one.work()
    assert gate.entered.wait(30)
    mine = world.array()

    world.post(world.actor(owner="bob"))
    world.clock.push(100)  # by when one that Slurm does not know is lost
    one.work()
    assert gate.done.acquire(timeout=30)
    assert {job.username for job in world.slurm.jobs.values()} == {"bob"}

    gate.is_open.set()
    assert gate.done.acquire(timeout=30)
    stop = threading.Event()
    stop.set()
    one.run(stop)  # ends what is under way
    statuses = {array.id: str(array.status) for array in world.arrays()}
    assert set(statuses.values()) == {"SUBMITTED"}
    assert mine.id in statuses
    assert len(world.slurm.jobs) == 2


def test_what_goes_wrong_in_a_thread_is_on_record(
    world: World, one: SchedulerLoop, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: object) -> int:
        raise LookupError("no such thing")

    monkeypatch.setattr(world.slurm, "submit", broken)
    world.post(world.actor())
    world.clock.push(2)
    one.work()
    stop = threading.Event()
    stop.set()
    one.run(stop)
    assert "no such thing" in caplog.text
    assert world.context.submitting == {}


def test_slurm_that_is_down_ends_no_round(world: World, one: SchedulerLoop, caplog: Any) -> None:
    world.post(world.actor())
    world.tick(2)

    def down(*_: object) -> None:
        raise SlurmUnavailable("no answer")

    world.slurm.states = down  # type: ignore[assignment, method-assign]
    one.work()
    assert "Slurm: no answer" in caplog.text


def test_a_slurm_that_hangs_takes_no_more_than_its_share_of_the_rounds(
    world: World, one: SchedulerLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.post(world.actor())
    world.tick(2)
    now_s, asked_at = 1000.0, []
    monkeypatch.setattr(loop, "monotonic_s", lambda: now_s)

    def hang(*_: object) -> None:
        nonlocal now_s
        asked_at.append(now_s)
        now_s += 30
        raise SlurmUnavailable("no answer")

    world.slurm.states = hang  # type: ignore[assignment, method-assign]
    while now_s < 1300:
        one.work()
        now_s += 3

    assert len(asked_at) == 2
    assert asked_at[1] - asked_at[0] >= 30 * loop.PEACE


def test_a_message_goes_out_between_two_rounds(world: World, one: SchedulerLoop) -> None:
    actor = world.actor()
    world.post(actor)
    world.clock.push(2)
    one.hurry()
    stop = threading.Event()
    stop.set()
    one.run(stop)  # ends the submission under way
    assert world.queued() == 0
    assert world.slurm.calls["submit"] == 1


def test_the_next_message_of_a_stateful_actor_goes_out_when_one_is_over(
    world: World, one: SchedulerLoop
) -> None:
    actor = world.actor(stateless=False)
    ids = world.post(actor, 3)
    world.tick(2)
    one.hurry()  # it leads from now on
    for started in (1, 2, 3):
        world.work_all()
        one.look()
        assert len(world.starts) == started
    assert world.statuses(ids) == [GOOD] * 3
    assert len(world.arrays()) == 1


def test_a_burst_is_waited_for_between_rounds(world: World, one: SchedulerLoop) -> None:
    world.post(world.actor())
    one.hurry()
    assert one._take_wait() == 1.0  # the site's linger_s
    assert one._take_wait() is None
    assert world.arrays() == []
