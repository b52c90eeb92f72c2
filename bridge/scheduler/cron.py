"""Running actors by their schedules (abaco_contract.md 4.7).

A run's message and the step to the next time are one transaction under a lock on the actor's row:
a crash loses neither or both, and of two schedulers that see the same time one finds it past.
Times that were missed are not made up: the actor runs once and goes on from there.
"""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import select

from bridge.core.cron import next_time
from bridge.core.messages import text_message
from bridge.db import Actor
from bridge.errors import BridgeError, LimitReached, PayloadTooLarge
from bridge.scheduler.context import SiteContext
from bridge.services.messages import CRON, queue_message

log = logging.getLogger(__name__)

MESSAGE = "This is your cron execution"
# Actors of one pass; what is left is the next one's, ten seconds later.
MAX_ACTORS = 1000


def cron_tick(context: SiteContext) -> int:
    """Run the actors whose time has come; return how many messages were queued."""
    now = context.clock.now()
    with context.database.read() as session:
        due = session.scalars(
            select(Actor.id)
            .where(
                Actor.cron_next_at <= now,
                Actor.deleted_at.is_(None),
                Actor.tenant.in_(context.site.tenants),
            )
            .order_by(Actor.cron_next_at)
            .limit(MAX_ACTORS)
        ).all()
    return sum(_run(context, actor_id, now) for actor_id in due)


def _run(context: SiteContext, actor_id: str, now: datetime) -> bool:
    with context.database.begin() as session:
        actor = session.get_one(Actor, actor_id, with_for_update=True)
        due = actor.cron_next_at
        if actor.deleted_at is not None or due is None or due > now:
            return False  # deleted, changed, or run by another, just now
        actor.cron_next_at = _following(actor, due, now)
        if not actor.cron_on or actor.cron_schedule is None:
            return False
        variables = {"Time_msg_queued": str(now.timestamp())}
        try:
            execution_id = queue_message(
                session, actor, CRON, text_message(MESSAGE), variables, now, context.gate
            )
        except (LimitReached, PayloadTooLarge) as error:  # as with any time that was missed
            log.warning("cron left out: %s", error.message, extra={"facts": {"actor": actor_id}})
            return False
    log.info("cron", extra={"facts": {"actor": actor_id, "execution": execution_id}})
    return True


def _following(actor: Actor, due: datetime, now: datetime) -> datetime | None:
    if actor.cron_schedule is None:
        return None
    try:
        return next_time(actor.cron_schedule, actor.cron_start_at or due, now)
    except BridgeError as error:
        facts = {"actor": actor.id}
        log.warning("schedule ended, it cannot be read: %s", error.message, extra={"facts": facts})
        return None
