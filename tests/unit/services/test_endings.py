"""Ending what waits: all of it, some of it, in pages, and telling of it."""

from __future__ import annotations

import pytest
from sqlalchemy import select, true

from bridge.core.statuses import ExecutionStatus
from bridge.db import Actor, Database, Event, Execution, Message
from bridge.services import endings
from bridge.services.endings import end_waiting
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
    add_message,
)

ERROR, QUEUED = ExecutionStatus.ERROR, ExecutionStatus.SUBMITTED


@pytest.fixture
def waiting(database: Database) -> tuple[str, list[str]]:
    """An actor with a webhook and five executions that wait; and others that are left alone."""
    with database.begin() as session:
        actor = add_actor(session, webhook="https://hooks.example.org")
        ids = []
        for _ in range(5):
            execution = add_execution(session, actor)
            add_message(session, execution)
            ids.append(execution.id)
        array = add_array(session, actor)
        add_message(session, add_execution(session, actor, array_id=array.id, chunk=1))
        add_message(session, add_execution(session, add_actor(session)))
        return actor.id, ids


@pytest.mark.parametrize("page", [2, 5, 1000])
def test_all_that_waits_ends_with_its_event(
    database: Database,
    waiting: tuple[str, list[str]],
    page: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endings, "PAGE", page)
    actor_id, ids = waiting
    with database.begin() as session:
        actor = session.get_one(Actor, actor_id)
        assert end_waiting(session, actor, true(), "no more", START) == 5
    with database.read() as session:
        ended = session.scalars(select(Execution).where(Execution.status == ERROR)).all()
        assert {execution.id for execution in ended} == set(ids)
        assert {(e.reason, e.finish_time) for e in ended} == {("no more", START)}
        assert len(session.scalars(select(Message)).all()) == 2
        payloads = session.scalars(select(Event.payload).order_by(Event.id)).all()
    assert sorted(payload["execution_id"] for payload in payloads) == sorted(ids)
    assert {(p["status"], p["exit_code"]) for p in payloads} == {("ERROR", "undetermined")}


def test_the_oldest_end_first_up_to_the_limit(
    database: Database, waiting: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "PAGE", 2)
    actor_id, ids = waiting
    with database.begin() as session:
        actor = session.get_one(Actor, actor_id)
        assert end_waiting(session, actor, true(), "no more", START, limit=3) == 3
        which = Execution.id == ids[4]
        assert end_waiting(session, actor, which, "nor this", START) == 1
    with database.read() as session:
        left = session.scalars(
            select(Execution.id).where(Execution.actor_id == actor_id, Execution.status == QUEUED)
        ).all()
    assert ids[3] in left
    assert len(left) == 2
