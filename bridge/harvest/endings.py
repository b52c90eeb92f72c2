"""How executions end without a worker's report, or go back to the queue."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from bridge.core.statuses import ExecutionStatus
from bridge.db import IS_OPEN, Actor, Array, Execution, Log, Result
from bridge.events import record_executions
from bridge.harvest.many import delete_messages

log = logging.getLogger(__name__)

CANCELLED = "Cancelled before it ran."  # where who did it is not on record
MAX_PLANS = 5  # a message that this many arrays took and none started is given up
_NEVER = "0001-01-01T00:00:00Z"  # what Docker writes for a time that has not come


def end_lost(
    session: Session,
    which: ColumnElement[bool],
    reason: str,
    now: datetime,
    *,
    retries: bool = False,
) -> int:
    """End the open executions of `which` ERROR with `reason`; return how many were found.

    With `retries`, nothing of them can go on: those that were started go back to the queue as long
    as their actor asks for it.
    """
    executions = session.scalars(select(Execution).where(which, IS_OPEN)).all()
    final = []
    for execution in executions:
        actor = session.get_one(Actor, execution.actor_id)
        if retries and execution.worker_id is not None and may_retry(actor, execution):
            retry(session, execution, reason)
        else:
            final.append(execution)
    end_executions(session, final, reason, now)
    return len(executions)


def may_retry(actor: Actor, execution: Execution) -> bool:
    """Whether an execution that the cluster lost is to be run again (`batch.retries`)."""
    retries = (actor.batch or {}).get("retries") or 0
    wanted = actor.deleted_at is None and execution.cancel_requested_at is None
    return wanted and execution.attempt <= retries


def retry(session: Session, execution: Execution, reason: str) -> None:
    """Put a lost execution back into its place in the queue, as its next attempt.

    What the lost one has sent is dropped: the next one sends its own.
    """
    execution.reason = f"Attempt {execution.attempt} was lost: {reason}"
    execution.attempt += 1
    execution.status = ExecutionStatus.SUBMITTED
    execution.array_id = execution.chunk = execution.worker_id = execution.start_time = None
    execution.plan_count = execution.result_count = execution.result_bytes = 0
    for kind in (Log, Result):
        session.execute(delete(kind).where(kind.execution_id == execution.id))
    log.info("again: %s", execution.reason, extra={"facts": {"execution": execution.id}})


def end_executions(
    session: Session, executions: Sequence[Execution], reason: str | None, now: datetime
) -> None:
    """End `executions` ERROR; without a reason they were cancelled before they ran."""
    for execution in executions:
        execution.status = ExecutionStatus.ERROR
        execution.reason = reason or execution.reason or CANCELLED
        execution.finish_time = now
        if execution.start_time is not None:
            execution.runtime = max(0, int((now - execution.start_time).total_seconds()))
        execution.final_state = docker_state(execution)
    for actor_id in {execution.actor_id for execution in executions}:
        actor = session.get_one(Actor, actor_id)
        record_executions(session, actor, [e for e in executions if e.actor_id == actor_id], now)
    delete_messages(session, [execution.id for execution in executions])


def requeue(
    session: Session, array: Array, which: ColumnElement[bool], now: datetime, *, in_vain: bool
) -> int:
    """Give executions of `array` that were never started back to the queue; return how many.

    Those of a deleted actor end ERROR, those that somebody wanted ended, and those that too many
    arrays took in vain: an array or worker that started others in its time does not count.
    """
    mine = which & (Execution.array_id == array.id)
    mine &= Execution.status == ExecutionStatus.SUBMITTED
    actor = session.get_one(Actor, array.actor_id)
    if actor.deleted_at is not None:
        return end_lost(session, mine, "The actor was deleted before this ran.", now)
    if in_vain:
        end_lost(
            session,
            mine & (Execution.plan_count >= MAX_PLANS),
            f"Given up: {MAX_PLANS} job arrays took this message and none of their workers started "
            f"it. The last reason: {array.reason or 'the workers ended early'}",
            now,
        )
    done = session.execute(
        update(Execution)
        .where(mine, Execution.cancel_requested_at.is_(None))
        .values(array_id=None, chunk=None, plan_count=Execution.plan_count - (0 if in_vain else 1))
        .execution_options(synchronize_session=False)
    )
    # After the update, which waited for whoever was about to ask for the end of one of them.
    end_executions(session, session.scalars(select(Execution).where(mine)).all(), None, now)
    return int(done.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as of every UPDATE


def has_started(session: Session, which: ColumnElement[bool]) -> bool:
    """Whether an execution of `which` was ever started."""
    query = select(Execution.seq).where(which, Execution.worker_id.is_not(None)).limit(1)
    return session.execute(query).first() is not None


def has_open(session: Session, array: Array) -> bool:
    """Whether an execution of the array is not final yet."""
    return (
        session.execute(
            select(Execution.seq).where(Execution.array_id == array.id, IS_OPEN).limit(1)
        ).first()
        is not None
    )


def docker_state(execution: Execution, *, oom_killed: bool = False) -> dict[str, Any]:
    """Return Docker's State object (abaco_contract.md 4.2), with all of its keys."""
    return {
        "Status": "exited" if execution.exit_code is not None else "dead",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": oom_killed,
        "Dead": execution.exit_code is None,
        "Pid": 0,
        "ExitCode": -1 if execution.exit_code is None else execution.exit_code,
        "Error": execution.reason,
        "StartedAt": _docker_time(execution.start_time),
        "FinishedAt": _docker_time(execution.finish_time),
    }


def _docker_time(moment: datetime | None) -> str:
    if moment is None:
        return _NEVER
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
