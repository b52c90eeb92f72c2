"""Delivering events: links in the database alone, webhooks by threads that speak HTTP.

Links. The linked actor is found when the event is delivered, with the rights that the owner of the
event's actor then has. Its message and the end of the event are one transaction.

Webhooks. An event is claimed in one transaction, posted in none, and its outcome written in
another. A scheduler that dies in between leaves it to be posted again later: at least once.
Nobody waits for another tenant's slow webhook, since each tenant has threads of its own; within a
tenant, actors take turns. One whose webhook fails is left alone for a while, longer each time, so
that what is down costs an attempt now and then, whatever waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Any, Protocol

from sqlalchemy import delete, func, literal, select
from sqlalchemy.orm import Session

from bridge.auth import Identity
from bridge.clock import monotonic_s
from bridge.core.messages import EVENTS_NAME, JSON, json_message
from bridge.core.statuses import Level
from bridge.db import Actor, Event
from bridge.errors import BridgeError, Conflict, LimitReached, WebhookError
from bridge.events import MAX_HOPS
from bridge.scheduler.context import SiteContext
from bridge.services.access import find_actor
from bridge.services.messages import EVENTS, queue_message

log = logging.getLogger(__name__)

# Link events of one tenant in one transaction, and transactions of one tick.
LINK_BATCH = 200
LINK_ROUNDS = 5
# Pause before an event is posted again to an actor whose owner has too many messages.
FULL_REST = timedelta(seconds=30)
THREADS_PER_TENANT = 4
# How long a thread stays with one actor before others have their turn, seconds.
TURN_S = 5.0
MAX_ATTEMPTS = 8
# Longer than a request may take (bridge.events.webhook): from then on its scheduler is taken for
# gone.
CLAIM = timedelta(minutes=2)
# Pauses before an event is tried again; all eight attempts take about three hours.
FIRST_RETRY_S, RETRY_FACTOR, LONGEST_RETRY_S = 10.0, 4.0, 3600.0
# Pauses in which nothing is posted to a webhook that failed; they start anew when it takes one.
FIRST_REST_S, REST_FACTOR, LONGEST_REST_S = 2.0, 2.0, 300.0

_OPEN = Event.given_up_at.is_(None)


def links_tick(context: SiteContext) -> int:
    """Deliver what is linked; return how many events are done with."""
    with context.database.read() as session:
        tenants = [name for name in context.site.tenants if _has_linked(session, name)]
    total = 0
    for tenant in tenants:
        for _ in range(LINK_ROUNDS):
            done = _deliver_links(context, tenant)
            total += done
            if done < LINK_BATCH:
                break
    return total


def _linked(tenant: str) -> Any:
    return (Event.tenant == tenant) & _OPEN & ~Event.is_webhook


def _has_linked(session: Session, tenant: str) -> bool:
    return session.execute(select(Event.id).where(_linked(tenant)).limit(1)).first() is not None


def _deliver_links(context: SiteContext, tenant: str) -> int:
    now = context.clock.now()
    with context.database.begin() as session:
        events = session.scalars(
            select(Event)
            .where(_linked(tenant), Event.next_attempt_at <= now)
            .order_by(Event.id)
            .limit(LINK_BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for event in events:
            try:
                _deliver_link(session, context, event, now)
            except LimitReached as error:  # later; housekeeping gives up what is a day old
                event.error, event.next_attempt_at = error.message, now + FULL_REST
            except BridgeError as error:
                _give_up(event, error.message, now)
            else:
                session.delete(event)
    return len(events)


def _deliver_link(session: Session, context: SiteContext, event: Event, now: datetime) -> None:
    if event.hops >= MAX_HOPS:
        raise Conflict(
            f"{MAX_HOPS} links led to this event: the chain, perhaps a circle, ends here."
        )
    target = _linked_actor(session, event, event.target, lock=True)
    payload = {**event.payload, "_abaco_link": _dbid(target)}
    message, hops = json_message(payload), event.hops + 1
    queue_message(session, target, EVENTS, message, {}, now, context.gate, hops=hops)


def _linked_actor(session: Session, event: Event, link: str, *, lock: bool) -> Actor:
    """Return the actor that `link` names now, if the event's actor's owner may post to it."""
    owner = session.get_one(Actor, event.actor_id).owner
    return find_actor(session, Identity(event.tenant, owner, ()), link, Level.EXECUTE, share=lock)


def _dbid(actor: Actor) -> str:
    return f"{actor.tenant}_{actor.id}"


def _give_up(event: Event, reason: str, now: datetime) -> None:
    event.given_up_at, event.error = now, reason
    facts = {"actor": event.actor_id, "event": event.id, "attempts": event.attempts}
    log.warning("event given up: %s", reason, extra={"facts": facts})


class Sender(Protocol):
    """What posts an event: `bridge.events.webhook.WebhookSender`."""

    def post(
        self, url: str, payload: dict[str, Any], tenant: str, hops: int, timestamp: int
    ) -> None:
        """Post `payload` to `url`, or raise a WebhookError."""
        ...


class Webhooks:
    """The threads that post, and what they have found out about webhooks."""

    def __init__(self, context: SiteContext, sender: Sender, pool: Executor | None = None) -> None:
        """Post by `sender`, on threads of `pool`, by default as many as can be in use."""
        self._context = context
        self._sender = sender
        self._random = SystemRandom()
        self._lock = threading.Lock()
        self._busy: dict[str, str] = {}  # actor: tenant
        self._served: dict[str, float] = {}  # actor: when its last turn ended
        self._failures: dict[str, tuple[int, datetime]] = {}  # actor: in a row, rests until
        self._pool = pool or ThreadPoolExecutor(
            THREADS_PER_TENANT * len(context.site.tenants), thread_name_prefix="webhook"
        )

    def renew(self, context: SiteContext, sender: Sender) -> None:
        """Go on with another reading of the site; what is being posted ends as it began."""
        self._context, self._sender = context, sender

    def tick(self) -> int:
        """Give free threads to actors with something to post; return to how many."""
        now = self._context.clock.now()
        with self._context.database.read() as session:
            due = due_actors(session, now)
        with self._lock:
            self._forget(now)
            chosen = self._choose(due, now)
            self._busy.update(chosen)
        for actor_id in chosen:
            self._pool.submit(self._take_turn, actor_id)
        return len(chosen)

    def close(self) -> None:
        """Let what is being posted end, and start nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _choose(self, due: Sequence[tuple[str, str]], now: datetime) -> dict[str, str]:
        taken = Counter(self._busy.values())
        chosen = {}
        for tenant, actor_id in sorted(due, key=lambda one: self._served.get(one[1], 0.0)):
            _, rests_until = self._failures.get(actor_id, (0, now))
            if actor_id in self._busy or rests_until > now:
                continue
            if tenant in self._context.site.tenants and taken[tenant] < THREADS_PER_TENANT:
                taken[tenant] += 1
                chosen[actor_id] = tenant
        return chosen

    def _forget(self, now: datetime) -> None:
        """Drop what no longer matters, so that memory does not grow with every actor seen."""
        hour = timedelta(hours=1)
        self._failures = {a: f for a, f in self._failures.items() if now - f[1] < hour}
        if len(self._served) > 10_000:
            self._served.clear()

    def _take_turn(self, actor_id: str) -> None:
        """Post what is due for one actor, until its turn is over or its webhook fails."""
        try:
            end = monotonic_s() + TURN_S
            while self._post_next(actor_id) and monotonic_s() < end:
                pass
        except Exception:
            log.exception("delivery failed", extra={"facts": {"actor": actor_id}})
        finally:
            with self._lock:
                self._busy.pop(actor_id, None)
                self._served[actor_id] = monotonic_s()

    def _post_next(self, actor_id: str) -> bool:
        """Post one event of the actor; whether another may follow at once."""
        event = self._claim(actor_id)
        if event is None:
            return False
        timestamp = int(self._context.clock.now().timestamp())
        try:
            self._sender.post(event.target, event.payload, event.tenant, event.hops + 1, timestamp)
        except WebhookError as error:
            self._note_failure(event, error)
            return False
        self._context.at("posted")
        with self._context.database.begin() as session:
            session.execute(delete(Event).where(Event.id == event.id))
        with self._lock:
            self._failures.pop(actor_id, None)
        return True

    def _claim(self, actor_id: str) -> Event | None:
        """Return the actor's next event, with its attempt counted and whole payload."""
        now = self._context.clock.now()
        with self._context.database.begin() as session:
            event = session.scalars(
                select(Event)
                .where(
                    Event.actor_id == actor_id,
                    Event.is_webhook,
                    _OPEN,
                    Event.next_attempt_at <= now,
                )
                .order_by(Event.next_attempt_at, Event.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if event is None:
                return None
            event.attempts += 1
            event.next_attempt_at = now + CLAIM
            session.flush()
            link = _shown_link(session, event)
        event.payload = {
            **event.payload,
            "_abaco_link": link,
            "_abaco_Content_Type": JSON,
            "_abaco_username": EVENTS_NAME,
            "_abaco_api_server": self._context.site.public_url.rstrip("/"),
        }
        return event

    def _note_failure(self, event: Event, error: WebhookError) -> None:
        now = self._context.clock.now()
        with self._lock:
            count = self._failures.get(event.actor_id, (0, now))[0] + 1
            rest = self._pause(FIRST_REST_S, REST_FACTOR, LONGEST_REST_S, count)
            self._failures[event.actor_id] = (count, now + rest)
        with self._context.database.begin() as session:
            row = session.get(Event, event.id, with_for_update=True)
            if row is None:
                return
            if not error.retryable or row.attempts >= MAX_ATTEMPTS:
                _give_up(row, error.message, now)
                return
            row.error = error.message
            row.next_attempt_at = now + self._pause(
                FIRST_RETRY_S, RETRY_FACTOR, LONGEST_RETRY_S, row.attempts
            )

    def _pause(self, first_s: float, factor: float, longest_s: float, count: int) -> timedelta:
        """Return a pause that grows with `count`, shortened by chance so that crowds disperse."""
        longest = min(longest_s, first_s * factor ** min(count - 1, 20))
        return timedelta(seconds=longest * self._random.uniform(0.5, 1.0))


def due_actors(session: Session, now: datetime) -> Sequence[tuple[str, str]]:
    """Return (tenant, actor) of each actor whose webhook has something due.

    Steps from actor to actor in the index instead of reading every event: one of them may have
    thousands.
    """
    first = select(func.min(Event.actor_id)).where(Event.is_webhook, _OPEN)
    heads = select(first.scalar_subquery().label("actor_id")).cte("heads", recursive=True)
    following = first.where(Event.actor_id > heads.c.actor_id).correlate(heads).scalar_subquery()
    heads = heads.union_all(select(following).where(heads.c.actor_id.is_not(None)))
    is_due = (
        select(literal(1))
        .where(
            Event.actor_id == heads.c.actor_id,
            Event.is_webhook,
            _OPEN,
            Event.next_attempt_at <= now,
        )
        .correlate(heads)
        .exists()
    )
    query = select(Actor.tenant, Actor.id).join(heads, heads.c.actor_id == Actor.id).where(is_due)
    return [(tenant, actor_id) for tenant, actor_id in session.execute(query)]


def _shown_link(session: Session, event: Event) -> str:
    link = event.payload["_abaco_link"]
    if not link:
        return ""
    try:
        return _dbid(_linked_actor(session, event, link, lock=False))
    except BridgeError:
        return ""  # there is none any more, or none that the owner may know of
