"""Writing events down, in the transaction of what they tell of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from bridge.core.ids import new_id
from bridge.core.statuses import ActorStatus, ExecutionStatus
from bridge.core.times import format_moment
from bridge.db import Actor, Event, Execution

log = logging.getLogger(__name__)

# One actor's events that its webhook has not taken yet, about 10 MB of them.
MAX_OUTSTANDING = 10_000
# Links from actor to actor that one event may cause.
MAX_HOPS = 10


class Ended(NamedTuple):
    """What is told of an execution; one that is loaded has it too."""

    id: str
    status: ExecutionStatus
    exit_code: int | None
    hops: int


class EventType(StrEnum):
    """What happened."""

    ACTOR_READY = "ACTOR_READY"
    ACTOR_ERROR = "ACTOR_ERROR"
    EXECUTION_COMPLETE = "EXECUTION_COMPLETE"  # of every final execution, ERROR too


def record_event(
    session: Session,
    actor: Actor,
    event_type: EventType,
    facts: Mapping[str, Any],
    now: datetime,
    *,
    hops: int = 0,
) -> None:
    """Write down one event of an actor that wants to be told.

    Args:
        session: the transaction in which it happens.
        actor: whose event it is; without a link and a webhook nothing is written.
        event_type: what happened.
        facts: what the payload says beyond what every event says.
        now: when.
        hops: links that led to it.
    """
    _record(session, actor, event_type, [(facts, hops)], now)


def record_actor(session: Session, actor: Actor, now: datetime) -> None:
    """Write down that `actor` has just become READY or ERROR."""
    ready = actor.status is ActorStatus.READY
    event_type = EventType.ACTOR_READY if ready else EventType.ACTOR_ERROR
    record_event(session, actor, event_type, {"status_message": actor.status_message}, now)


def record_executions(
    session: Session, actor: Actor, executions: Iterable[Execution | Ended], now: datetime
) -> None:
    """Write down that these executions of `actor` have just become final.

    For many at once: each statement tells of up to a thousand.
    """
    if not (actor.link or actor.webhook):
        return
    left = iter(executions)
    while some := list(islice(left, 1000)):
        events = [(_outcome(execution), execution.hops) for execution in some]
        _record(session, actor, EventType.EXECUTION_COMPLETE, events, now)


def _outcome(execution: Execution | Ended) -> dict[str, Any]:
    code = execution.exit_code
    return {
        "execution_id": execution.id,
        "status": execution.status,
        "exit_code": "undetermined" if code is None else code,  # as the execution shows it (4.2)
    }


def _record(
    session: Session,
    actor: Actor,
    event_type: EventType,
    events: Sequence[tuple[Mapping[str, Any], int]],
    now: datetime,
) -> None:
    rows: list[dict[str, Any]] = []
    if actor.link:
        rows += _rows(actor, event_type, events, now, is_webhook=False)
    if actor.webhook:
        room = _room(session, actor)
        rows += _rows(actor, event_type, events[:room], now, is_webhook=True)
        if room < len(events):
            facts = {"actor": actor.id, "outstanding": MAX_OUTSTANDING, "lost": len(events) - room}
            log.warning("events not kept: the webhook takes none", extra={"facts": facts})
    if rows:
        session.execute(insert(Event), rows)


def _rows(
    actor: Actor,
    event_type: EventType,
    events: Sequence[tuple[Mapping[str, Any], int]],
    now: datetime,
    *,
    is_webhook: bool,
) -> list[dict[str, Any]]:
    moment = format_moment(now)
    common = {
        "tenant_id": actor.tenant,
        "event_type": event_type,
        "event_time_utc": moment,
        "event_time_display": moment,
        "actor_id": actor.id,
        "actor_dbid": f"{actor.tenant}_{actor.id}",
        # As the actor names it; the delivery puts the linked actor's own id here.
        "_abaco_link": actor.link,
        "_abaco_webhook": actor.webhook,
    }
    return [
        {
            "tenant": actor.tenant,
            "actor_id": actor.id,
            "target": actor.webhook if is_webhook else actor.link,
            "is_webhook": is_webhook,
            "payload": {**common, **facts, "_abaco_event_id": new_id()},
            "hops": hops,
            "next_attempt_at": now,
            "create_time": now,
        }
        for facts, hops in events
    ]


def _room(session: Session, actor: Actor) -> int:
    """Return how many more events of the webhook may be kept; counts the bound at most."""
    open_ones = (
        select(Event.id)
        .where(Event.actor_id == actor.id, Event.is_webhook, Event.given_up_at.is_(None))
        .limit(MAX_OUTSTANDING)
        .subquery()
    )
    count = session.scalars(select(func.count()).select_from(open_ones)).one()
    return max(0, MAX_OUTSTANDING - count)
