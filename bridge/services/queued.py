"""How much may wait: the size of a message, and how many a tenant and an owner may have.

A message counts for its actor's owner, whoever sent it: it is the owner's account that it runs
under, and the owner who decides who may post and can purge the queue. (Counting senders as well
would keep nobody out: a nonce is its owner's, and a public actor has as many senders as come.) It
counts until its execution is final, in the queue or in a job array.

The truth is the executions table, and nothing is kept beside it that could differ from it. Counting
at each post would cost more than the post; so each process remembers what it counted and adds what
it lets in, and counts again after a second, or after a hundred times what counting took; meanwhile
other threads go on with what they know. What follows:

* On SQLite, whose transactions that write come one after the other, one process is exact.
* Several API processes, between two counts, each let in what they last saw room for. So do threads
  on PostgreSQL that are in the middle of a post while another counts.
* After room was made, a message may be refused until the next count, never longer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Select, and_, bindparam, event, func, literal, select, true
from sqlalchemy.orm import Session

from bridge.clock import monotonic_s
from bridge.core.statuses import ArrayStatus
from bridge.db import IS_OPEN, Actor, Array, Execution, is_queued
from bridge.errors import LimitReached, PayloadTooLarge
from bridge.sites import Site

# How old a count may get, seconds, and the same in terms of what counting took.
AGE_S = 1.0
AGE_IN_COUNTS = 100.0


@dataclass
class _Count:
    """What is known of one queue, under `lock`; `counting` is held by the thread that counts it."""

    known: int = 0
    stale_from_s: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    counting: threading.Lock = field(default_factory=threading.Lock)

    def is_fresh(self, now_s: float) -> bool:
        return self.stale_from_s is not None and now_s < self.stale_from_s


class QueueCounts:
    """What one process knows of the lengths of queues. `read_s` is given by tests."""

    def __init__(self, read_s: Callable[[], float] = monotonic_s) -> None:
        self._read_s = read_s
        self._counts: dict[tuple[str, str | None], _Count] = {}

    def let_in(
        self, session: Session, tenant: str, owner: str | None, count: int, limit: int
    ) -> int | None:
        """Count `count` more for the tenant, or for one owner in it, where there is room.

        They count no more if the session's transaction is rolled back.

        Returns:
            None, or how many there are already when they are too many.
        """
        queue = self._counts.setdefault((tenant, owner), _Count())
        self._refresh(queue, lambda: count_open(session, tenant, owner, limit))
        with queue.lock:
            if queue.known + count > limit:
                return queue.known
            queue.known += count

        def take_back(_session: Session) -> None:
            with queue.lock:
                queue.known = max(0, queue.known - count)

        event.listen(session, "after_rollback", take_back, once=True)
        return None

    def _refresh(self, queue: _Count, count: Callable[[], int]) -> None:
        """Count the queue if that is due, unless another thread does and an older count is there.

        A backlog takes a while to be counted, in which posting goes on.
        """
        is_first = queue.stale_from_s is None
        if queue.is_fresh(self._read_s()) or not queue.counting.acquire(blocking=is_first):
            return
        try:
            begun = self._read_s()
            if queue.is_fresh(begun):
                return
            known = count()
            ended = self._read_s()
            with queue.lock:
                queue.known = known
                queue.stale_from_s = ended + max(AGE_S, AGE_IN_COUNTS * (ended - begun))
        finally:
            queue.counting.release()


@dataclass(frozen=True)
class Gate:
    """What decides whether messages are let in."""

    site: Site
    counts: QueueCounts

    def check_sizes(self, tenant: str, sizes: Sequence[int]) -> None:
        """Refuse messages of which one is too large for the tenant.

        Raises:
            PayloadTooLarge: says which, and the limit.
        """
        most = largest_message(self.site, tenant)
        if max(sizes, default=0) <= most:
            return
        place = next(place for place, size in enumerate(sizes, start=1) if size > most)
        where = f"Message {place} of {len(sizes)}: " if len(sizes) > 1 else ""
        raise PayloadTooLarge(
            f"{where}Message exceeds max content length of: {most} bytes (it has "
            f"{sizes[place - 1]}), the limit of tenant {tenant} (max_message_bytes). Send less, or "
            "have the container fetch it from elsewhere."
        )

    def let_in(self, session: Session, tenant: str, owner: str, count: int) -> None:
        """Count `count` more messages for the actors of `owner`.

        Raises:
            LimitReached: says which limit, its value, and what to do.
        """
        limits = self.site.tenants[tenant].limits
        most = limits.max_queued_messages_per_user
        if most is not None:
            there = self.counts.let_in(session, tenant, owner, count, most)
            if there is not None:
                raise LimitReached(
                    f"The actors of user {owner} have {there} messages that wait or run, {count} "
                    f"more would exceed the limit of {most} (max_queued_messages_per_user of "
                    f"tenant {tenant}). Try again when some have ended, post fewer at once, or "
                    "purge messages that are no longer needed."
                )
        if limits.max_queued_messages is None:
            return
        there = self.counts.let_in(session, tenant, None, count, limits.max_queued_messages)
        if there is not None:
            raise LimitReached(
                f"The actors of tenant {tenant} have {there} messages that wait or run, {count} "
                f"more would exceed the limit of {limits.max_queued_messages} "
                "(max_queued_messages). Try again when some have ended, or ask the site's "
                "administrators for a higher limit."
            )


def largest_message(site: Site, tenant: str) -> int:
    """Return the size of the tenant's largest message, bytes: its own limit, or the site's."""
    own = site.tenants[tenant].limits.max_message_bytes
    return min(own or site.limits.max_message_bytes, site.limits.max_message_bytes)


def count_open(session: Session, tenant: str, owner: str | None, limit: int) -> int:
    """Return how many executions of the tenant, or of one owner's actors, are not final.

    What comes beyond `limit` is not counted, neither in the queue nor in the arrays.
    """
    values = {"tenant": tenant, "owner": owner, "limit": limit}
    queries = _OF_TENANT if owner is None else _OF_OWNER
    return sum(session.scalars(query, values).one() for query in queries)


def _queries(of_owner: ColumnElement[bool]) -> tuple[Select[int], ...]:
    """Return the statements that count, each by the partial index that holds just that."""
    whose = and_(Actor.tenant == bindparam("tenant"), of_owner)
    queued = (
        select(literal(1))
        .join_from(Actor, Execution, Execution.actor_id == Actor.id)
        .where(
            whose,
            is_queued(),
        )
    )
    given_out = (
        select(literal(1))
        .join_from(Array, Actor, Actor.id == Array.actor_id)
        .join(Execution, Execution.array_id == Array.id)
        .where(
            whose,
            Array.status != ArrayStatus.ENDED,
            Execution.array_id.is_not(None),
            IS_OPEN,
        )
    )
    return tuple(
        select(func.count()).select_from(query.limit(bindparam("limit")).subquery())
        for query in (queued, given_out)
    )


_OF_TENANT = _queries(true())
_OF_OWNER = _queries(Actor.owner == bindparam("owner"))
