"""What executions leave: logs, results, state. All in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from bridge.auth.identity import WORLD
from bridge.core.statuses import Level
from bridge.db import Actor, Execution, Log, Permission, Result
from bridge.harvest.records import Finished, Results, State
from bridge.node.results import LEAST_BYTES
from bridge.sites import Limits

TRUNCATED = " LOG LIMIT EXCEEDED; this execution log was TRUNCATED!"
OURS = "Abaco Bridge: "  # begins each line of a log that is not the actor's


def add_to_log(
    session: Session, actor: Actor, execution: Execution, text: str, limits: Limits, now: datetime
) -> None:
    """Add to the log of an execution that runs; the end brings the whole one."""
    row = session.get(Log, execution.id)
    if row is None:
        row = Log(execution_id=execution.id, text="", expires_at=now)
        session.add(row)
    row.text = (row.text + text)[: limits.max_log_length]
    row.expires_at = _log_expiry(actor, limits, now)


def keep_log(
    session: Session,
    actor: Actor,
    execution: Execution,
    record: Finished,
    logs: Mapping[str, str],
    limits: Limits,
    now: datetime,
) -> None:
    """Keep the log of an execution that has ended; `logs` has those that lie in files."""
    text = logs.get(execution.id, "") if record.log is None else record.log
    if record.log_truncated or len(text) > limits.max_log_length:
        text = text[: limits.max_log_length] + TRUNCATED
    if record.notes:
        if text and not text.endswith("\n"):
            text += "\n"
        text += "".join(f"{OURS}{line}\n" for line in record.notes.splitlines())
    expires_at = _log_expiry(actor, limits, now)
    session.merge(Log(execution_id=execution.id, text=text, expires_at=expires_at))


def _log_expiry(actor: Actor, limits: Limits, now: datetime) -> datetime:
    lifetime_s = min(actor.log_ex or limits.log_ex_s, limits.log_ex_limit_s)
    return now + timedelta(seconds=lifetime_s)


def keep_results(
    session: Session, execution: Execution, results: Results, limits: Limits, now: datetime
) -> None:
    """Keep results that are new; those that were told of before are known by their number.

    The worker minds the limit as this does; what a forged journal has beyond it is dropped.
    """
    expires_at = now + timedelta(seconds=limits.result_lifetime_s)
    rows = []
    for number, payload in enumerate(results.data, results.first):
        counts = max(len(payload), LEAST_BYTES)
        if number < execution.result_count or not payload:
            continue
        if execution.result_bytes + counts > limits.max_result_bytes:
            break
        execution.result_count = number + 1
        execution.result_bytes += counts
        rows.append(
            {
                "execution_id": execution.id,
                "number": number,
                "payload": payload,
                "expires_at": expires_at,
            }
        )
    if rows:
        session.execute(insert(Result), rows)


def keep_state(session: Session, actor: Actor, execution: Execution, state: State) -> None:
    """Keep what an actor left in its state file, where whoever ran it may set the state."""
    if actor.stateless:
        return
    if execution.username != actor.owner:
        levels = session.scalars(
            select(Permission.level).where(
                Permission.actor_id == actor.id,
                Permission.username.in_((execution.username, WORLD)),
            )
        )
        if not any(level.allows(Level.UPDATE) for level in levels):
            return
    actor.state = state.value
