"""What has had its time goes, in pieces; nothing else does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.audit import Entry, write
from bridge.clock import ManualClock
from bridge.core.statuses import ExecutionStatus
from bridge.db import (
    Actor,
    AuditRecord,
    CoreUsage,
    Database,
    Event,
    Execution,
    Log,
    MessagePart,
    Result,
    is_queued,
)
from bridge.scheduler import housekeeping
from bridge.scheduler.context import SiteContext
from bridge.scheduler.housekeeping import EVENT_LIFETIME, GIVEN_UP_KEPT, housekeeping_tick
from bridge.services import deletion
from bridge.services.deletion import end_left
from bridge.sites import Site
from tests.factories.rows import START, add_actor, add_execution, add_message
from tests.factories.statements import recorded_scans, recorded_statements

SECOND = timedelta(seconds=1)


@pytest.fixture
def context(site: Site, database: Database, clock: ManualClock) -> SiteContext:
    return SiteContext(site, database, clock)


def add_event(session: Session, actor: Actor, **changes: Any) -> Event:
    values: dict[str, Any] = {
        "tenant": actor.tenant,
        "actor_id": actor.id,
        "target": "https://hooks.example.org",
        "is_webhook": True,
        "payload": {},
        "next_attempt_at": START,
        "create_time": START,
    }
    event = Event(**values | changes)
    session.add(event)
    session.flush()
    return event


def test_expired_logs_and_results_go(database: Database, context: SiteContext) -> None:
    def lasting(moment: datetime, text: str) -> None:
        execution = add_execution(session, actor)
        session.add(Log(execution_id=execution.id, text=text, expires_at=moment))
        for number in range(3):
            session.add(
                Result(
                    execution_id=execution.id,
                    number=number,
                    payload=text.encode(),
                    expires_at=moment,
                )
            )

    with database.begin() as session:
        actor = add_actor(session)
        lasting(START - SECOND, "old")
        lasting(START, "now")
        lasting(START + SECOND, "new")

    assert housekeeping_tick(context) == {"logs": 1, "results": 3}
    with database.read() as session:
        assert set(session.scalars(select(Log.text))) == {"now", "new"}
        assert sorted(session.scalars(select(Result.payload))) == [b"new"] * 3 + [b"now"] * 3
    assert housekeeping_tick(context) == {}


def test_parts_that_outlived_their_execution_go(database: Database, context: SiteContext) -> None:
    with database.begin() as session:
        actor = add_actor(session)
        for status in (ExecutionStatus.SUBMITTED, ExecutionStatus.COMPLETE, ExecutionStatus.ERROR):
            finish = START if status.is_final else None
            execution = add_execution(session, actor, status=status, finish_time=finish)
            add_message(session, execution, payload=b"")
            for number in range(2):
                session.add(
                    MessagePart(
                        execution_id=execution.id, number=number, data=status.value.encode()
                    )
                )
    assert housekeeping_tick(context) == {"message parts": 4}
    with database.read() as session:
        assert set(session.scalars(select(MessagePart.data))) == {b"SUBMITTED"}


def test_an_event_is_given_up_after_a_day_and_goes_later(
    database: Database, context: SiteContext, clock: ManualClock
) -> None:
    with database.begin() as session:
        actor = add_actor(session)
        old = add_event(session, actor, error="The webhook answered 503.")
        add_event(session, actor, create_time=START + SECOND)

    clock.push(EVENT_LIFETIME.total_seconds())
    assert housekeeping_tick(context) == {}
    clock.push(1)
    assert housekeeping_tick(context) == {"events given up": 1}
    with database.read() as session:
        event = session.get_one(Event, old.id)
        assert event.given_up_at == clock.now()
        assert event.error.startswith("Given up: ")
        assert event.error.endswith("The webhook answered 503.")
    clock.push(GIVEN_UP_KEPT.total_seconds() + 1)
    assert housekeeping_tick(context) == {"events given up": 1, "events": 1}


def test_only_parts_of_large_payloads_are_looked_through(
    database: Database, context: SiteContext
) -> None:
    with recorded_scans(database) as scans:
        housekeeping_tick(context)
    assert set(scans) <= {"message_parts"}


def test_much_goes_in_pieces(
    database: Database, context: SiteContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 3)
    monkeypatch.setattr(housekeeping, "MAX_BATCHES", 2)
    with database.begin() as session:
        actor = add_actor(session)
        for _ in range(8):
            execution = add_execution(session, actor)
            session.add(Log(execution_id=execution.id, text="", expires_at=START - SECOND))

    with recorded_statements(database) as statements:
        assert housekeeping_tick(context) == {"logs": 6}
    assert len([one for one in statements if "logs" in one]) == 2
    assert housekeeping_tick(context) == {"logs": 2}


def test_what_workers_held_is_kept_for_a_year(database: Database, context: SiteContext) -> None:
    with database.begin() as session:
        for day in ("2024-11-30", "2024-12-01", "2026-01-01"):
            session.add(CoreUsage(day=day, tenant="PHYSICS", username="alice", core_s=1.0))
    assert housekeeping_tick(context) == {"core usage": 1}
    with database.read() as session:
        assert set(session.scalars(select(CoreUsage.day))) == {"2024-12-01", "2026-01-01"}


def test_audit_records_go_after_their_lifetime(database: Database, context: SiteContext) -> None:
    lifetime = timedelta(seconds=context.site.audit_lifetime_s)
    with database.begin() as session:
        for number, age in enumerate((lifetime, lifetime + timedelta(seconds=1))):
            at = context.clock.now() - age
            write(session, Entry(at, "PHYSICS", "alice", "token", "x", object=str(number)))
    assert housekeeping_tick(context) == {"audit": 1}
    with database.read() as session:
        assert session.scalars(select(AuditRecord.object)).all() == ["0"]


def test_what_waits_for_a_deleted_actor_ends_in_pieces(
    database: Database, context: SiteContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "PIECE", 2)
    with database.begin() as session:
        deleted, other = add_actor(session, deleted_at=START), add_actor(session)
        for actor, count in ((deleted, 7), (other, 1)):
            for _ in range(count):
                add_message(session, add_execution(session, actor))

    def waiting() -> list[str]:
        with database.read() as session:
            return list(session.scalars(select(Execution.actor_id).where(is_queued())))

    assert not end_left(database, deleted.id, START, 2)
    assert waiting().count(deleted.id) == 3
    housekeeping_tick(context)
    assert waiting() == [other.id]
    assert end_left(database, deleted.id, START, 1)
