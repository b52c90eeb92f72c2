"""Deleting an actor (abaco_contract.md 4.4), without leaving anything that leads to it.

Executions stay, as in Abaco, and events that are still to be told. What runs is stopped by the
scheduler, which sees `stop_requested`. What waits, which may be a million messages, ends in pieces
(`end_left`): from the deletion on none of it can be planned. What a request has no time for, and
what a crash leaves, the scheduler's housekeeping ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CursorResult, bindparam, delete, select, true, update
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.statuses import ActorStatus, ArrayStatus, Level
from bridge.db import (
    Actor,
    Alias,
    Array,
    ConfigTarget,
    Database,
    Execution,
    Log,
    Nonce,
    Permission,
    Result,
)
from bridge.errors import NotFound
from bridge.services.access import NO_ACTOR, find_actor
from bridge.services.endings import end_waiting

DELETED = "actor deleted"
# Executions of one transaction; it keeps others from writing to SQLite for some ten milliseconds.
PIECE = 500


@dataclass(frozen=True)
class Deletion:
    """The id of an actor that was deleted, and whether the cluster still works on it."""

    actor_id: str
    is_running: bool


def delete_actor(
    session: Session, identity: Identity, actor_id: str, now: datetime
) -> Deletion | None:
    """End the actor; None where an admin deletes what does not exist.

    Its permissions go, its nonces and those of its aliases, its place in configs, and its aliases,
    which Abaco leaves dangling. What waits for it ends next, by `end_left`, and what its executions
    left goes, by `forget_outputs`.

    Raises:
        NotFound: there is no such actor; for an admin it is deleted already (3.2).
    """
    try:
        actor = find_actor(session, identity, actor_id, Level.UPDATE, missing=NO_ACTOR, lock=True)
    except NotFound:
        if identity.is_admin:
            return None
        raise
    actor.status = ActorStatus.SHUTTING_DOWN
    actor.deleted_at = actor.last_update_time = now
    actor.cron_next_at = None
    session.flush()
    for statement in (
        delete(Permission).where(Permission.actor_id == actor.id),
        delete(Nonce).where(Nonce.actor_id == actor.id),
        delete(Alias).where(Alias.actor_id == actor.id),
        delete(ConfigTarget).where(ConfigTarget.actor_id == actor.id),
    ):
        session.execute(statement.execution_options(synchronize_session=False))
    stopped = session.execute(
        update(Array)
        .where(Array.actor_id == actor.id, Array.status != ArrayStatus.ENDED)
        .values(stop_requested=True)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(stopped, CursorResult)
    return Deletion(actor.id, bool(stopped.rowcount))


def end_left(database: Database, actor_id: str, now: datetime, pieces: int) -> bool:
    """End what waits for a deleted actor, so many pieces of it at most; whether that was all."""
    for _ in range(pieces):
        with database.begin() as session:
            actor = session.get_one(Actor, actor_id)
            ended = end_waiting(session, actor, true(), DELETED, now, limit=PIECE)
        if ended < PIECE:
            return True
    return False


def forget_outputs(database: Database, actor_id: str) -> None:
    """Remove the logs and results of a deleted actor, which nobody can ask for any more.

    In transactions of their own: harvesting holds such rows while it wants the actor's, so whoever
    holds the actor must not wait for them. What is written later, or a crash leaves, expires.
    """
    page = (
        select(Execution.seq, Execution.id)
        .where(Execution.actor_id == actor_id, Execution.seq > bindparam("after"))
        .order_by(Execution.seq)
        .limit(PIECE)
    )
    after = 0
    while True:
        with database.read() as session:
            rows = session.execute(page, {"after": after}).all()
        if not rows:
            return
        after, ids = rows[-1][0], [row[1] for row in rows]
        with database.begin() as session:
            for kind in (Log, Result):
                statement = delete(kind).where(kind.execution_id.in_(ids))
                session.execute(statement.execution_options(synchronize_session=False))
