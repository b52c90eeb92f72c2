"""Removing what has had its time, in small transactions: none keeps the database for long."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, delete, select, tuple_, update
from sqlalchemy.sql.dml import UpdateBase

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
)
from bridge.scheduler.context import SiteContext
from bridge.scheduler.heads import read_heads
from bridge.scheduler.usage import day_of
from bridge.services.deletion import end_left
from bridge.sites import Site

log = logging.getLogger(__name__)

# Rows of one transaction, and transactions of one tick for each kind of row.
BATCH = 200
MAX_BATCHES = 200
# An event that could not be delivered for so long is given up ...
EVENT_LIFETIME = timedelta(days=1)
# ... and shown to whoever looks into the table for so long.
GIVEN_UP_KEPT = timedelta(days=3)
# What users' workers held is kept for reports: a year and a month of it.
USAGE_KEPT = timedelta(days=396)
TOO_OLD = "Given up: it could not be delivered within a day. The last attempt: "


def housekeeping_tick(context: SiteContext) -> dict[str, int]:
    """Remove what is due; return how many rows of each kind."""
    now = context.clock.now()
    _end_deleted(context.database, now)
    done = {kind: _repeat(context.database, step) for kind, step in _steps(now, context.site)}
    removed = {kind: count for kind, count in done.items() if count}
    if removed:
        log.info("housekeeping", extra={"facts": removed})
    return removed


def _end_deleted(database: Database, now: datetime) -> None:
    """End what still waits for actors that were deleted."""
    with database.read() as session:
        ids = sorted({head.key[0] for head in read_heads(session, now)})
        deleted = [
            actor_id
            for begin in range(0, len(ids), 1000)
            for actor_id in session.scalars(
                select(Actor.id).where(
                    Actor.id.in_(ids[begin : begin + 1000]), Actor.deleted_at.is_not(None)
                )
            )
        ]
    for actor_id in deleted:
        is_done = end_left(database, actor_id, now, MAX_BATCHES)
        log.info("ended what waited", extra={"facts": {"actor": actor_id, "is_all": is_done}})


def _steps(now: datetime, site: Site) -> Iterator[tuple[str, UpdateBase]]:
    """Yield (what it is about, a statement that does up to BATCH rows of it)."""
    logs = select(Log.execution_id).where(Log.expires_at < now).limit(BATCH)
    yield "logs", delete(Log).where(Log.execution_id.in_(logs))

    result = tuple_(Result.execution_id, Result.number)
    results = select(Result.execution_id, Result.number).where(Result.expires_at < now).limit(BATCH)
    yield "results", delete(Result).where(result.in_(results))

    # A payload's parts go with its message; these are of a message that outlived its execution.
    part = tuple_(MessagePart.execution_id, MessagePart.number)
    parts = (
        select(MessagePart.execution_id, MessagePart.number)
        .join(Execution, Execution.id == MessagePart.execution_id)
        .where(Execution.status.in_((ExecutionStatus.COMPLETE, ExecutionStatus.ERROR)))
        .limit(BATCH)
    )
    yield "message parts", delete(MessagePart).where(part.in_(parts))

    stale = (
        select(Event.id)
        .where(Event.given_up_at.is_(None), Event.create_time < now - EVENT_LIFETIME)
        .limit(BATCH)
    )
    yield (
        "events given up",
        update(Event)
        .where(Event.id.in_(stale))
        .values(given_up_at=now, error=TOO_OLD + Event.error),
    )

    usage = tuple_(CoreUsage.day, CoreUsage.tenant, CoreUsage.username)
    last_day = day_of(now - USAGE_KEPT)
    old = select(CoreUsage.day, CoreUsage.tenant, CoreUsage.username).where(
        CoreUsage.day < last_day
    )
    yield "core usage", delete(CoreUsage).where(usage.in_(old.limit(BATCH)))

    lifetime = timedelta(seconds=site.audit_lifetime_s)
    entries = select(AuditRecord.id).where(AuditRecord.at < now - lifetime).limit(BATCH)
    yield "audit", delete(AuditRecord).where(AuditRecord.id.in_(entries))

    given_up = select(Event.id).where(Event.given_up_at < now - GIVEN_UP_KEPT).limit(BATCH)
    yield "events", delete(Event).where(Event.id.in_(given_up))


def _repeat(database: Database, step: UpdateBase) -> int:
    total = 0
    for _ in range(MAX_BATCHES):
        with database.begin() as session:
            done = session.execute(step.execution_options(synchronize_session=False))
            assert isinstance(done, CursorResult)
        total += done.rowcount
        if done.rowcount < BATCH:
            break
    return total
