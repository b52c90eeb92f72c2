"""Ending executions that were never started: by a delete, a purge, a cancel."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from bridge.core.statuses import ExecutionStatus
from bridge.db import Actor, Execution, Message, is_queued
from bridge.events import Ended, record_executions

PAGE = 1000  # executions that are in memory at once


def end_waiting(
    session: Session,
    actor: Actor,
    which: ColumnElement[bool],
    reason: str,
    now: datetime,
    *,
    limit: int | None = None,
) -> int:
    """End the actor's executions of `which` that wait and are in no job array; return how many.

    They end ERROR, of each user the oldest first. Their messages go, and the actor's link and
    webhook are told.

    Args:
        session: a transaction in which the actor's row is kept from changing, so that no plan
            is made meanwhile.
        actor: whose executions.
        which: which of them.
        reason: why, as the owner should read it.
        now: when.
        limit: how many at most; None for all.
    """
    waiting = which & (Execution.actor_id == actor.id) & is_queued()
    total = 0
    while limit is None or total < limit:
        size = PAGE if limit is None else min(PAGE, limit - total)
        page = (
            select(Execution.seq)
            .where(waiting)
            .order_by(Execution.username, Execution.seq)
            .limit(size)
        )
        rows = session.execute(
            update(Execution)
            .where(Execution.seq.in_(page), waiting)  # again, for one that another ends just now
            .values(status=ExecutionStatus.ERROR, reason=reason, finish_time=now)
            .returning(Execution.id, Execution.status, Execution.exit_code, Execution.hops)
            .execution_options(synchronize_session=False)
        ).all()
        ended = [Ended(*row) for row in rows]
        ids = [one.id for one in ended]
        session.execute(delete(Message).where(Message.execution_id.in_(ids)))
        record_executions(session, actor, ended, now)
        total += len(ended)
        if len(ended) < size:
            break
    return total
