"""Schedules run their actors once, whatever is killed, missed or done twice."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bridge.clock import ManualClock
from bridge.core.statuses import ExecutionStatus
from bridge.db import Actor, Database, Execution, Message
from bridge.scheduler import cron
from bridge.scheduler.context import SiteContext
from bridge.scheduler.cron import cron_tick
from bridge.sites import Site
from bridge.sites.limits import TenantLimits
from tests.factories.rows import START, add_actor
from tests.factories.statements import recorded_scans

HOUR = timedelta(hours=1)


class Schedules:
    """Actors with schedules, from the clock's start on."""

    def __init__(self, site: Site, database: Database, clock: ManualClock) -> None:
        self.context = SiteContext(site, database, clock)
        self.database = database
        self.clock = clock

    def add(self, text: str | None = "now + 1 hour", **changes: Any) -> str:
        values = {
            "cron_schedule": text,
            "cron_on": True,
            "cron_start_at": START,
            "cron_next_at": START,
        }
        with self.database.begin() as session:
            return add_actor(session, **values | changes).id

    def tick(self, **later: float) -> int:
        self.clock.push(timedelta(**later).total_seconds())
        return cron_tick(self.context)

    def next_at(self, actor_id: str) -> datetime | None:
        with self.database.read() as session:
            return session.get_one(Actor, actor_id).cron_next_at

    def executions(self) -> list[Execution]:
        with self.database.read() as session:
            return list(session.scalars(select(Execution).order_by(Execution.seq)).all())


@pytest.fixture
def schedules(site: Site, database: Database, clock: ManualClock) -> Schedules:
    return Schedules(site, database, clock)


def test_a_run_is_a_message_of_crons(schedules: Schedules) -> None:
    actor_id = schedules.add(run_as_executor=True)
    assert schedules.tick(minutes=5) == 1

    [execution] = schedules.executions()
    assert (execution.actor_id, execution.executor) == (actor_id, "cron")
    assert (execution.username, execution.executor_uid) == ("alice", None)
    assert execution.status is ExecutionStatus.SUBMITTED
    assert execution.message_received_time == START + timedelta(minutes=5)
    with schedules.database.read() as session:
        message = session.get_one(Message, execution.id)
    assert (message.content_type, message.payload) == ("str", b"This is your cron execution")
    assert list(message.environment) == ["Time_msg_queued"]
    assert float(message.environment["Time_msg_queued"]) == schedules.clock.now().timestamp()


def test_each_hour_runs_once(schedules: Schedules) -> None:
    actor_id = schedules.add()
    counts = [schedules.tick(minutes=10) for _ in range(18)]
    assert counts == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert schedules.next_at(actor_id) == START + 4 * HOUR


def test_missed_runs_are_one_run(schedules: Schedules) -> None:
    actor_id = schedules.add("now + 5 hours")
    assert [schedules.tick(hours=23), schedules.tick(), schedules.tick(minutes=59)] == [1, 0, 0]
    assert schedules.next_at(actor_id) == START + 25 * HOUR


def test_months_keep_their_day(schedules: Schedules) -> None:
    start = START.replace(day=31)
    actor_id = schedules.add("now + 1 month", cron_start_at=start, cron_next_at=start)
    seen = []
    for _ in range(4):
        next_at = schedules.next_at(actor_id)
        assert next_at is not None
        assert schedules.tick(seconds=(next_at - schedules.clock.now()).total_seconds()) == 1
        seen.append((next_at.month, next_at.day))
    assert seen == [(1, 31), (2, 28), (3, 31), (4, 30)]


def test_one_that_is_off_only_goes_on(schedules: Schedules) -> None:
    actor_id = schedules.add(cron_on=False)
    assert schedules.tick(hours=3) == 0
    assert schedules.executions() == []
    assert schedules.next_at(actor_id) == START + 4 * HOUR


@pytest.mark.parametrize("text", [None, "hourly"])
def test_one_without_a_schedule_that_can_be_read_ends(
    schedules: Schedules, text: str | None
) -> None:
    actor_id = schedules.add(text)
    other = schedules.add()
    schedules.tick()
    assert schedules.next_at(actor_id) is None
    assert schedules.next_at(other) == START + HOUR


def test_the_deleted_never_run(schedules: Schedules) -> None:
    schedules.add(deleted_at=START)
    assert schedules.tick(hours=1) == 0


def test_a_crash_before_the_commit_loses_nothing(
    schedules: Schedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Not an Exception, as a kill is not."""

    def queue_and_die(*arguments: Any, **given: Any) -> None:
        queue(*arguments, **given)
        raise Killed

    queue = cron.queue_message
    actor_id = schedules.add()
    monkeypatch.setattr(cron, "queue_message", queue_and_die)
    with pytest.raises(Killed):
        schedules.tick()
    assert (schedules.executions(), schedules.next_at(actor_id)) == ([], START)

    monkeypatch.undo()
    assert [schedules.tick(), schedules.tick()] == [1, 0]


def test_no_table_is_read_whole(schedules: Schedules) -> None:
    schedules.add()
    with recorded_scans(schedules.database) as scans:
        assert schedules.tick() == 1
    assert scans == []


def test_two_schedulers_at_the_same_moment_run_it_once(schedules: Schedules) -> None:
    for _ in range(5):
        schedules.add()
    start = threading.Barrier(3)
    counts: list[int] = []

    def run() -> None:
        start.wait(10)
        counts.append(cron_tick(schedules.context))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(counts) == 5
    assert len({execution.actor_id for execution in schedules.executions()}) == 5
    assert len(schedules.executions()) == 5


def test_a_run_that_there_is_no_room_for_is_left_out(site, database, clock, caplog):
    limits = TenantLimits(max_queued_messages_per_user=1)
    table = site.tenants["PHYSICS"].model_copy(update={"limits": limits})
    schedules = Schedules(site.model_copy(update={"tenants": {"PHYSICS": table}}), database, clock)
    actor_id = schedules.add()
    assert schedules.tick() == 1
    assert schedules.tick(hours=1) == 0
    assert len(schedules.executions()) == 1
    assert schedules.next_at(actor_id) == clock.now() + HOUR
    assert "cron left out: The actors of user alice have 1 messages" in caplog.text
