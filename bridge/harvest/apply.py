"""What records make of executions. All in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from bridge.core.statuses import ExecutionStatus, WorkerStatus
from bridge.db import Actor, Array, Execution, Log, Message, Worker
from bridge.events import record_executions
from bridge.harvest.records import Finished, Joined, Record, Started
from bridge.sites import Limits

TRUNCATED = " LOG LIMIT EXCEEDED; this execution log was TRUNCATED!"
CANCELLED = "Cancelled before it ran."  # where who did it is not on record
MAX_PLANS = 5  # a message that this many arrays took and none started is given up
_NEVER = "0001-01-01T00:00:00Z"  # what Docker writes for a time that has not come
_OPEN = (ExecutionStatus.SUBMITTED, ExecutionStatus.RUNNING)


def apply_records(
    session: Session,
    array: Array,
    worker: Worker,
    records: Sequence[Record],
    logs: Mapping[str, str],
    limits: Limits,
    now: datetime,
) -> None:
    """Write down what `worker` of `array` reports.

    Args:
        session: the transaction.
        array: whose executions these may be; others are ignored.
        worker: who reports.
        records: in the order of the journal.
        logs: by execution id, the texts that lie in files of their own.
        limits: of the site, for logs.
        now: the bridge's time; a worker's clock is not believed beyond it.
    """
    wanted = {r.execution_id for r in records if isinstance(r, Started | Finished)}
    known = {
        execution.id: execution
        for execution in session.scalars(
            select(Execution).where(Execution.array_id == array.id, Execution.id.in_(wanted))
        )
    }
    actor = session.get_one(Actor, array.actor_id)
    worker.last_health_check_time = now
    ended = []
    for record in records:
        if isinstance(record, Joined):
            worker.host, worker.job_id = record.host, record.job_id
        elif isinstance(record, Started):
            execution = known.get(record.execution_id)
            if execution is not None and execution.status is ExecutionStatus.SUBMITTED:
                execution.status = ExecutionStatus.RUNNING
                execution.worker_id = worker.id
                execution.start_time = _within(record.at, execution.message_received_time, now)
                worker.status = WorkerStatus.BUSY
        elif isinstance(record, Finished):
            execution = known.get(record.execution_id)
            if execution is None or execution.status.is_final:
                continue
            if record.ended_by == "cancel" and execution.status is ExecutionStatus.SUBMITTED:
                _end_all(session, [execution], None, now)  # it was never started
            else:
                execution.worker_id = worker.id
                _finish(session, array, actor, execution, record, logs, limits, now)
                worker.status = WorkerStatus.READY
                worker.last_execution_time = execution.finish_time
                ended.append(execution)
        else:
            worker.status = WorkerStatus.SHUTTING_DOWN
            worker.dead_reason = left_reason(record.why)
    record_executions(session, actor, ended, now)


def left_reason(why: str) -> str:
    """Return the sentence for a worker that ended by itself; `why` is the journal's word."""
    return f"The worker left: {why}."


def _finish(
    session: Session,
    array: Array,
    actor: Actor,
    execution: Execution,
    record: Finished,
    logs: Mapping[str, str],
    limits: Limits,
    now: datetime,
) -> None:
    start = _within(record.started_at, execution.message_received_time, now)
    finish = _within(record.at, start, now)
    execution.start_time, execution.finish_time = start, finish
    execution.runtime = int((finish - start).total_seconds())
    execution.cpu, execution.io = record.cpu_ns, record.io_bytes
    execution.max_rss_kib = record.max_rss_kib
    lost = record.ended_by == "signal" and not array.stop_requested
    if record.runtime_error is not None or lost:
        execution.status = ExecutionStatus.ERROR
        execution.reason = record.runtime_error or "Slurm ended the worker while this ran."
    else:
        execution.status = ExecutionStatus.COMPLETE
        execution.reason = ""
        execution.exit_code = record.exit_code
        ran_s = (finish - start).total_seconds()
        mean = actor.mean_run_s
        actor.mean_run_s = ran_s if mean is None else 0.9 * mean + 0.1 * ran_s
    execution.final_state = _final_state(execution)
    _keep_log(session, actor, execution, record, logs, limits, now)
    session.execute(delete(Message).where(Message.execution_id == execution.id))


def _within(moment: datetime, first: datetime, last: datetime) -> datetime:
    """Return the moment, as far as it can be true; `first` wins over `last`."""
    return max(first, min(moment, last))


def _final_state(execution: Execution) -> dict[str, Any]:
    """Return Docker's State object (abaco_contract.md 4.2), with all of its keys."""
    return {
        "Status": "exited" if execution.exit_code is not None else "dead",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
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


def _keep_log(
    session: Session,
    actor: Actor,
    execution: Execution,
    record: Finished,
    logs: Mapping[str, str],
    limits: Limits,
    now: datetime,
) -> None:
    text = logs.get(execution.id, "") if record.log is None else record.log
    if record.log_truncated or len(text) > limits.max_log_length:
        text = text[: limits.max_log_length] + TRUNCATED
    lifetime_s = min(actor.log_ex or limits.log_ex_s, limits.log_ex_limit_s)
    session.merge(
        Log(execution_id=execution.id, text=text, expires_at=now + timedelta(seconds=lifetime_s))
    )


def end_lost(session: Session, which: ColumnElement[bool], reason: str, now: datetime) -> int:
    """End the open executions of `which` ERROR with `reason`; return how many."""
    executions = session.scalars(select(Execution).where(which, Execution.status.in_(_OPEN))).all()
    _end_all(session, executions, reason, now)
    return len(executions)


def _end_all(
    session: Session, executions: Sequence[Execution], reason: str | None, now: datetime
) -> None:
    """End `executions` ERROR; without a reason they were cancelled before they ran."""
    for execution in executions:
        execution.status = ExecutionStatus.ERROR
        execution.reason = reason or execution.reason or CANCELLED
        execution.finish_time = now
        if execution.start_time is not None:
            execution.runtime = max(0, int((now - execution.start_time).total_seconds()))
        execution.final_state = _final_state(execution)
    for actor_id in {execution.actor_id for execution in executions}:
        actor = session.get_one(Actor, actor_id)
        record_executions(session, actor, [e for e in executions if e.actor_id == actor_id], now)
    ids = [execution.id for execution in executions]
    session.execute(delete(Message).where(Message.execution_id.in_(ids)))


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
    _end_all(session, session.scalars(select(Execution).where(mine)).all(), None, now)
    return int(done.rowcount)  # type: ignore[attr-defined]  # a CursorResult, as of every UPDATE


def has_started(session: Session, which: ColumnElement[bool]) -> bool:
    """Whether an execution of `which` was ever started."""
    query = select(Execution.seq).where(which, Execution.worker_id.is_not(None)).limit(1)
    return session.execute(query).first() is not None


def has_open(session: Session, array: Array) -> bool:
    """Whether an execution of the array is not final yet."""
    return (
        session.execute(
            select(Execution.seq)
            .where(Execution.array_id == array.id, Execution.status.in_(_OPEN))
            .limit(1)
        ).first()
        is not None
    )
