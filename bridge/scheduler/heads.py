"""Which queues there are, read at a cost that does not depend on how long they are.

One queue is what waits for one actor as one user. The partial index `ix_executions_queue` holds
just what waits, in that order, so each queue begins at one place of it: the statements here step
from beginning to beginning (a loose index scan) and read nothing in between. With a million
messages of two thousand actors that takes 15 ms on SQLite and 50 ms on PostgreSQL, where counting
them all took 1.9 s and 0.5 s. (A table of lengths kept beside the queues would be as fast to read;
but all who post to one actor at the same time would wait for each other's flush to the disk.)

How long a queue is matters to a plan only for an actor that can be given something now, and only up
to what its workers could take on: that much is counted, of those alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    bindparam,
    case,
    func,
    literal,
    select,
)
from sqlalchemy.orm import Session, aliased

from bridge.core.shares import Key
from bridge.db import Execution, is_queued

_AT_ONCE = 1000  # queues that are counted in one statement


@dataclass(frozen=True)
class Head:
    """The beginning of a queue.

    Attributes:
        key: whose it is.
        seq: the number of its first message.
        oldest: when that arrived.
        newest: when the last one arrived; `oldest` itself, where that is not recent.
    """

    key: Key
    seq: int
    oldest: datetime
    newest: datetime


def read_heads(session: Session, recent: datetime) -> list[Head]:
    """Return the head of every queue; what is older than `recent` is not recent."""
    rows = session.execute(_ALL, {"recent": recent})
    return [Head((row[0], row[1]), row[2], row[3], row[4]) for row in rows]


def read_first(session: Session, actor_id: str) -> str | None:
    """Return as whom the actor's first message runs, None where none waits."""
    return session.scalars(_FIRST, {"actor_id": actor_id}).first()


def count_queues(session: Session, heads: Sequence[Head], most: int) -> Mapping[Key, int]:
    """Return how many messages wait in each queue, where there are more than `most`, `most`."""
    counts: dict[Key, int] = {}
    for begin in range(0, len(heads), _AT_ONCE):
        seqs = [head.seq for head in heads[begin : begin + _AT_ONCE]]
        for actor_id, username, count in session.execute(_COUNTS, {"seqs": seqs, "most": most}):
            counts[actor_id, username] = count
    return counts


def _first(of: Any, *which: ColumnElement[bool]) -> Select[int]:
    """Return the query for the first in the order of the index."""
    in_order = (of.actor_id, of.username, of.seq)
    return select(of.seq).where(is_queued(of), *which).order_by(*in_order).limit(1)


def _steps(start: Select[int], *, to_next_actor: bool) -> CTE:
    """Return the numbers of the heads from `start` on, of its actor alone or of all."""
    here, user, actor = aliased(Execution), aliased(Execution), aliased(Execution)
    heads = select(start.scalar_subquery().label("seq")).cte("heads", recursive=True)
    of_next_user = (user.actor_id == here.actor_id, user.username > here.username)
    step: Any = _first(user, *of_next_user).correlate(here).scalar_subquery()
    if to_next_actor:
        of_next_actor = _first(actor, actor.actor_id > here.actor_id).correlate(here)
        step = func.coalesce(step, of_next_actor.scalar_subquery())
    return heads.union_all(select(step).select_from(heads).join(here, here.seq == heads.c.seq))


def _query_all() -> Select[Any]:
    first, last = aliased(Execution), aliased(Execution)
    heads = _steps(_first(first), to_next_actor=True)
    received = Execution.message_received_time
    newest = (
        select(last.message_received_time)
        .where(
            is_queued(last),
            last.actor_id == Execution.actor_id,
            last.username == Execution.username,
        )
        .order_by(last.actor_id.desc(), last.username.desc(), last.seq.desc())
        .limit(1)
        .correlate(Execution)
        .scalar_subquery()
    )
    return select(
        Execution.actor_id,
        Execution.username,
        Execution.seq,
        received,
        case((received > bindparam("recent", type_=received.type), newest), else_=received),
    ).join_from(heads, Execution, Execution.seq == heads.c.seq)


def _query_first() -> Select[str]:
    first = aliased(Execution)
    of_actor = _first(first, first.actor_id == bindparam("actor_id"))
    heads = _steps(of_actor, to_next_actor=False)
    # Not joined to them and put in order: PostgreSQL might go through all executions in order.
    lowest = select(func.min(heads.c.seq)).scalar_subquery()
    return select(Execution.username).where(Execution.seq == lowest)


def _query_counts() -> Select[Any]:
    each = aliased(Execution)
    some = (
        select(literal(1))
        .where(
            is_queued(each),
            each.actor_id == Execution.actor_id,
            each.username == Execution.username,
        )
        .limit(bindparam("most", type_=Integer))
        .correlate(Execution)
        .subquery()
    )
    return select(
        Execution.actor_id,
        Execution.username,
        select(func.count()).select_from(some).scalar_subquery(),
    ).where(Execution.seq.in_(bindparam("seqs", expanding=True)))


_ALL = _query_all()
_FIRST = _query_first()
_COUNTS = _query_counts()
