"""A backlog of any length, written by the database itself: a million rows take seconds.

The same rows each time. Messages of different actors lie mixed in their tables, as they would have
arrived, and ids come in no order, as real ones do.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, String, cast, insert, inspect, literal, select, text
from sqlalchemy.orm import Session

from bridge.core.statuses import ExecutionStatus, ImageStatus
from bridge.db import Actor, Database, Execution, Message
from tests.factories.rows import add_account, add_actor, add_image

USERS = 50
BATCH = 100_000
# Multiplying by one modulo the other gives every number below the latter once, in no order.
_FACTOR, _PRIME = 48_271, 100_000_007


def fill_backlog(
    database: Database, actors: int, messages: int, now: datetime, *, username: str | None = None
) -> list[str]:
    """Add `actors` actors of some users, `messages` messages that wait for them; return their ids.

    The messages are those of the last hour before `now`. With `username` all actors are that one's.
    """
    ids = [f"A{10_000_000 + number}" for number in range(actors)]
    users = [username] if username else [f"user{number:02}" for number in range(USERS)]
    with database.begin() as session:
        image = add_image(
            session,
            status=ImageStatus.READY,
            digest="sha256:" + "1" * 64,
            sif_path="/work/.bridge/images/x.sif",
            config={"Entrypoint": ["/run"], "Cmd": None, "WorkingDir": "/", "Env": None},
        )
        for user in users:
            add_account(session, user, checked_at=now)
        for number, actor_id in enumerate(ids):
            add_actor(
                session,
                id=actor_id,
                owner=users[number % len(users)],
                image_id=image.id,
                mean_run_s=1.0,
                create_time=now,
            )
    for first in range(0, messages, BATCH):
        with database.begin() as session:
            _add_messages(session, actors, first, min(messages, first + BATCH), now)
    analyze(database)
    return ids


def analyze(database: Database) -> None:
    """Have PostgreSQL know what the tables hold, as it finds out by itself; SQLite never does."""
    if database.engine.dialect.name == "postgresql":
        with database.begin() as session:
            session.execute(text("ANALYZE"))


def _add_messages(session: Session, actors: int, first: int, end: int, now: datetime) -> None:
    numbers = select(literal(first, BigInteger).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < end - 1))
    name = literal("E", String).concat(
        cast(numbers.c.n * _FACTOR % _PRIME + 10 * _PRIME, String(32))
    )
    columns = inspect(Execution).local_table.columns
    given: dict[str, Any] = {
        "id": name,
        "tenant": literal("PHYSICS"),
        "actor_id": Actor.id,
        "actor_revision": literal(1),
        "executor": Actor.owner,
        "username": Actor.owner,
        "status": literal(ExecutionStatus.SUBMITTED, columns["status"].type),
        "message_received_time": literal(
            now - timedelta(hours=1), columns["message_received_time"].type
        ),
        "reason": literal(""),
        "attempt": literal(1),
    }
    counts = ("hops", "plan_count", "runtime", "cpu", "io", "max_rss_kib", "result_count",
              "result_bytes")  # fmt: skip
    given |= {count: literal(0) for count in counts}
    actor = literal("A", String).concat(cast(numbers.c.n % actors + 10_000_000, String(32)))
    session.execute(
        insert(Execution).from_select(
            list(given),
            select(*given.values())
            .select_from(numbers)
            .join(Actor, Actor.id == actor)
            .order_by(numbers.c.n),
            include_defaults=False,
        )
    )
    table = inspect(Message).local_table.columns
    session.execute(
        insert(Message).from_select(
            ["execution_id", "content_type", "payload", "size", "environment"],
            select(
                name,
                literal("str"),
                literal(b"hello", table["payload"].type),
                literal(5),
                literal({}, table["environment"].type),
            ).order_by(numbers.c.n),
            include_defaults=False,
        )
    )
