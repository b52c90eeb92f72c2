"""The loop itself: real timers, which deliver, run schedules, and end when they are told to."""

from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import ip_network

import pytest
from sqlalchemy import select

from bridge.core.waits import Waits
from bridge.db import Event, Execution, Lease
from bridge.events import record_actor
from bridge.scheduler import loop
from bridge.scheduler.lease import SchedulerLease
from bridge.scheduler.loop import SchedulerLoop
from tests.factories.rows import START, add_actor
from tests.unit.events.receiver import serving
from tests.unit.scheduler.world import World


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
