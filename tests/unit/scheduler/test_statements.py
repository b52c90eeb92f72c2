"""No statement reads a large table from end to end: neither the scheduler's, nor the API's.

Everything that either does is done once, beside a backlog and a history of some thousand rows, and
the database is then asked how it would run each statement that was sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, insert
from sqlalchemy.orm import Session

from bridge.api import create_app
from bridge.auth import sign_token
from bridge.core.statuses import ArrayStatus, ExecutionStatus, WorkerStatus
from bridge.db import (
    Actor,
    Array,
    AuditRecord,
    Base,
    Event,
    Execution,
    Log,
    Result,
    Worker,
)
from bridge.scheduler.cron import cron_tick
from bridge.scheduler.deliver import due_actors, links_tick
from bridge.scheduler.evict import evict_tick
from bridge.scheduler.housekeeping import housekeeping_tick
from bridge.scheduler.news import News
from bridge.scheduler.users import users_tick
from bridge.services.metrics import measure
from tests.factories.backlog import analyze, fill_backlog
from tests.factories.plans import Parameters, find_scans, recorded
from tests.unit.scheduler.test_sharing import limit
from tests.unit.scheduler.world import World, image_tick

# By the beginning of the statement: what it may read whole, and why that does no harm.
QUEUE = "executions by ix_executions_queue"
ALLOWED = {
    # The first step alone, which ends at the first row.
    "WITH RECURSIVE heads(seq) AS": {QUEUE},
    # What waits, up to the tenant's limit: once in a hundred times of what that takes.
    "SELECT count(*) AS count_1 FROM (SELECT": {QUEUE},
    # What waits, what is open, what was given up lately: for whoever reads the metrics.
    "SELECT actors.status, sum(anon_1.waiting)": {QUEUE},
    "SELECT executions.status, count(*) AS count_1 FROM executions WHERE executions.array_id IS": {
        "executions by ix_executions_array_open"
    },
    "SELECT count(*) AS count_1 FROM events": {"events by ix_events_given_up"},
    # An admin's sums over all that ever ran are just that.
    "SELECT actors.deleted_at IS NULL AS anon_1, count(DISTINCT": {
        "executions by uq_executions_actor_id"
    },
    # Payloads of more than a megabyte that wait; once a minute.
    "DELETE FROM message_parts": {
        "message_parts by sqlite_autoindex_message_parts_1", "message_parts by pk_message_parts"
    },
}  # fmt: skip


def serve(world: World) -> None:
    """Send every kind of request that is sent often."""
    site = world.context.site
    app: Flask = create_app(site, world.database, world.clock)
    about = ("PHYSICS", "user00", ("Internal/everyone", "Internal/abaco-admin"))
    token = sign_token(site.tenants["PHYSICS"], *about, 3600, world.clock)
    client = app.test_client()
    headers = {"Authorization": f"Bearer {token}"}
    actor = "/actors/A10000000"

    def send(method: str, path: str, **more: object) -> dict[str, object]:
        answer = client.open(path, method=method, headers=headers, **more)  # type: ignore[arg-type]
        assert answer.status_code == 200, (method, path, answer.text)
        return answer.json["result"] if answer.is_json else {}  # type: ignore[no-any-return,index]

    posted = send("POST", f"{actor}/messages", json={"message": "one"})
    execution = f"{actor}/executions/{posted['execution_id']}"
    again = [{"message": "two", "idempotency_key": "k"}, {"message": "three"}]
    send("POST", f"{actor}/messages/batch", json=again)
    for path in (
        "/actors", actor, f"{actor}/messages", f"{actor}/executions?limit=10", execution,
        f"{execution}/logs", f"{execution}/results", f"{actor}/workers", f"{actor}/state",
        f"{actor}/permissions", f"{actor}/nonces", "/actors/aliases", "/actors/admin",
        "/actors/admin/workers", "/actors/utilization", "/actors/admin/executions",
        "/actors/search/actors?name=x", "/actors/search/executions?status=COMPLETE",
        "/actors/search/workers?status=READY", "/actors/search/logs?logs=x",
    ):  # fmt: skip
        send("GET", path)
    send("DELETE", execution)
    send("DELETE", "/actors/A10000001/messages")
    send("DELETE", "/actors/A10000002")


def run(world: World) -> None:
    """Let the scheduler do all that it ever does."""
    limit(world, max_workers=3, max_queued_messages=1_000_000)
    context, whole = world.context, world.context.whole
    for _ in range(4):
        world.tick(5)
        world.work_all()
    serve(world)
    world.ticks(3, 30)
    news = News(world.database)
    news.newest()
    news.close()
    for tick in (users_tick, image_tick, evict_tick):
        tick(context)
    for step in (cron_tick, links_tick, housekeeping_tick):
        step(whole)
    with world.database.read() as session:
        due_actors(session, world.clock.now())
        measure(session, world.clock.now())


@pytest.fixture
def busy(each_world: World) -> World:
    """A world with a backlog, and more that has ended than that waits."""
    world = each_world
    fill_backlog(world.database, 40, 3000, world.clock.now())
    with world.database.begin() as session:
        add_history(session, world.clock.now())
        session.get_one(Actor, "A10000003").stateless = False
    analyze(world.database)
    return world


_NO_WORDS = dict.fromkeys(
    ("via", "action", "object", "detail", "remote", "request_id", "result", "code"), ""
)


def add_history(session: Session, now: datetime, arrays: int = 200, each: int = 20) -> None:
    """Add arrays that have ended, with a worker each, and what became of their messages."""
    actor = session.get_one(Actor, "A10000000")
    soon = now + timedelta(days=1)
    rows: dict[type[Base], list[dict[str, Any]]] = {
        kind: [] for kind in (Array, Worker, Execution, Log, Result, Event, AuditRecord)
    }
    for number in range(arrays):
        array, worker = f"H{number}", f"W{number}"
        rows[Array].append(
            {"id": array, "cluster": "alpha", "tenant": actor.tenant, "username": actor.owner,
             "actor_id": actor.id, "image_id": actor.image_id, "sif_path": "/x.sif", "spool": "/x",
             "task_count": 1, "message_count": each, "chunk_count": 1, "request": {},
             "status": ArrayStatus.ENDED, "planned_at": now, "ended_at": now}
        )  # fmt: skip
        rows[Worker].append(
            {"id": worker, "array_id": array, "actor_id": actor.id, "name": "0.0",
             "status": WorkerStatus.SHUTTING_DOWN, "settled": True, "create_time": now}
        )  # fmt: skip
        for place in range(each):
            one = f"X{number}x{place}"
            rows[Execution].append(
                {"id": one, "tenant": actor.tenant, "actor_id": actor.id, "actor_revision": 1,
                 "executor": actor.owner, "username": actor.owner, "array_id": array, "chunk": 1,
                 "worker_id": worker, "status": ExecutionStatus.COMPLETE, "finish_time": now,
                 "message_received_time": now}
            )  # fmt: skip
            rows[Log].append({"execution_id": one, "text": "", "expires_at": soon})
            rows[Result].append(
                {"execution_id": one, "number": 0, "payload": b"", "expires_at": soon}
            )
            rows[Event].append(
                {"tenant": actor.tenant, "actor_id": actor.id, "target": "x", "is_webhook": True,
                 "payload": {}, "next_attempt_at": now, "given_up_at": now, "create_time": now}
            )  # fmt: skip
            words = ("via", "action", "object", "detail", "remote", "request_id", "result", "code")
            rows[AuditRecord].append(
                {
                    "at": now,
                    "tenant": actor.tenant,
                    "username": actor.owner,
                    **dict.fromkeys(words, ""),
                }
            )
    for kind, values in rows.items():
        session.execute(insert(kind), values)


def test_no_large_table_is_read_whole(busy: World) -> None:
    with recorded(busy.database.engine) as statements:
        run(busy)
    assert len(statements) > 150
    analyze(busy.database)
    with busy.database.engine.connect() as connection:
        assert scans(connection, statements) == {}
        # ... and without an index this is seen.
        heads = {one: values for one, values in statements.items() if "heads(seq)" in one}
        connection.exec_driver_sql("DROP INDEX ix_executions_queue")
        without = scans(connection, heads)
        connection.rollback()
    assert len(heads) == 2
    assert len(without) == 1


def scans(connection: Connection, statements: dict[str, Parameters]) -> dict[str, set[str]]:
    """Return what each statement reads whole and may not."""
    found = {}
    for statement, values in statements.items():
        words = " ".join(statement.split())
        allowed = [reads for start, reads in ALLOWED.items() if words.startswith(start)]
        read = set(find_scans(connection, statement, values)).difference(*allowed)
        if read:
            found[words] = read
    return found
