"""Events are written with what they tell of, for those who want to be told, and bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, true

from bridge.core.statuses import ActorStatus, ExecutionStatus, ImageStatus
from bridge.db import Actor, Database, Event
from bridge.events import EventType, record, record_actor, record_event, record_executions
from bridge.harvest import end_lost
from tests.factories.rows import START, add_actor, add_execution, add_image
from tests.factories.statements import recorded_statements

NOW = START + timedelta(seconds=1.5)
HOOK = "https://hooks.example.org/x"


def events(database: Database) -> list[Event]:
    with database.read() as session:
        return list(session.scalars(select(Event).order_by(Event.id)).all())


def test_the_payload_is_that_of_the_contract(database: Database) -> None:
    with database.begin() as session:
        actor = add_actor(session, link="next", webhook=HOOK)
        execution = add_execution(
            session, actor, status=ExecutionStatus.COMPLETE, finish_time=NOW, exit_code=3, hops=2
        )
        record_executions(session, actor, [execution], NOW)

    link, webhook = events(database)
    assert (link.target, link.is_webhook, link.hops) == ("next", False, 2)
    assert (webhook.target, webhook.is_webhook, webhook.hops) == (HOOK, True, 2)
    assert link.payload["_abaco_event_id"] != webhook.payload["_abaco_event_id"]
    for event in (link, webhook):
        assert (event.tenant, event.actor_id, event.attempts) == ("PHYSICS", actor.id, 0)
        assert (event.next_attempt_at, event.given_up_at) == (NOW, None)
        payload = {k: v for k, v in event.payload.items() if k != "_abaco_event_id"}
        assert payload == {
            "tenant_id": "PHYSICS",
            "event_type": "EXECUTION_COMPLETE",
            "event_time_utc": "2026-01-01T00:00:01.500Z",
            "event_time_display": "2026-01-01T00:00:01.500Z",
            "actor_id": actor.id,
            "actor_dbid": f"PHYSICS_{actor.id}",
            "_abaco_link": "next",
            "_abaco_webhook": HOOK,
            "execution_id": execution.id,
            "status": "COMPLETE",
            "exit_code": 3,
        }


@pytest.mark.parametrize(
    ("status", "event_type"),
    [(ActorStatus.READY, "ACTOR_READY"), (ActorStatus.ERROR, "ACTOR_ERROR")],
)
def test_an_actors_event_has_its_status_message(
    database: Database, status: ActorStatus, event_type: str
) -> None:
    with database.begin() as session:
        image = add_image(session, status=ImageStatus.ERROR)
        actor = add_actor(
            session, image_id=image.id, status=status, status_message="so it is", webhook=HOOK
        )
        record_actor(session, actor, NOW)
    [event] = events(database)
    assert event.payload["event_type"] == event_type
    assert event.payload["status_message"] == "so it is"
    assert event.payload["_abaco_link"] == ""


def test_who_has_neither_link_nor_webhook_costs_no_statement(database: Database) -> None:
    with database.begin() as session:
        actor = add_actor(session)
        execution = add_execution(session, actor)
        session.flush()
        with recorded_statements(database) as statements:
            record_event(session, actor, EventType.ACTOR_READY, {}, NOW)
            record_executions(session, actor, [execution] * 10, NOW)
    assert statements == []


def test_many_executions_are_two_statements(database: Database) -> None:
    with database.begin() as session:
        actor = add_actor(session, webhook=HOOK)
        ended = [add_execution(session, actor) for _ in range(20)]
        session.flush()
        with recorded_statements(database) as statements:
            record_executions(session, actor, ended, NOW)
    assert [statement.split()[0] for statement in statements] == ["SELECT", "INSERT"]
    assert [event.payload["execution_id"] for event in events(database)] == [e.id for e in ended]


class TestBound:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(record, "MAX_OUTSTANDING", 5)

    def record(self, database: Database, count: int, **changes: Any) -> str:
        with database.begin() as session:
            actor = add_actor(session, **changes)
            ended = [add_execution(session, actor) for _ in range(count)]
            record_executions(session, actor, ended[:2], NOW)
            record_executions(session, actor, ended[2:], NOW)
            return actor.id

    def test_of_a_webhook_no_more_are_kept(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.record(database, 7, webhook=HOOK)
        assert len(events(database)) == 5
        assert "events not kept" in caplog.text

    def test_those_given_up_do_not_count(self, database: Database) -> None:
        actor_id = self.record(database, 5, webhook=HOOK)
        with database.begin() as session:
            for event in session.scalars(select(Event).limit(3)).all():
                event.given_up_at = NOW
        with database.begin() as session:
            actor = session.get_one(Actor, actor_id)
            record_executions(session, actor, [add_execution(session, actor)] * 9, NOW)
        assert len(events(database)) == 8

    def test_a_link_loses_none(self, database: Database) -> None:
        self.record(database, 9, link="next")
        assert len(events(database)) == 9


def test_what_the_cluster_lost_is_told_too(database: Database) -> None:
    with database.begin() as session:
        told, silent = add_actor(session, link="next"), add_actor(session)
        lost = [add_execution(session, actor) for actor in (told, silent)]
        assert end_lost(session, true(), "lost", NOW) == 2
    [event] = events(database)
    assert event.payload["execution_id"] == lost[0].id
    assert (event.payload["status"], event.payload["exit_code"]) == ("ERROR", "undetermined")


def test_nothing_is_told_of_what_was_rolled_back(database: Database) -> None:
    with database.begin() as session:
        actor_id = add_actor(session, link="next", webhook=HOOK).id
    with database.begin() as session:
        actor = session.get_one(Actor, actor_id)
        record_executions(session, actor, [add_execution(session, actor)], NOW)
        session.rollback()
    assert events(database) == []
