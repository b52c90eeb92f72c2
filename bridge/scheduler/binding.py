"""Binding: messages of the queue to arrays in the database, one transaction each.

Nothing outside the database is touched here. Messages are given to an array that runs in the same
way as to a new one: bound first, written to the spool afterwards (bridge.scheduler.feed).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.core.ids import new_token
from bridge.core.plans import ArrayPlan, Feed
from bridge.core.shares import Division, Key
from bridge.core.statuses import ActorStatus, ArrayStatus
from bridge.db import IS_OPEN, Actor, Array, Execution, Image, Message, is_queued
from bridge.errors import ImageRefused, InvalidField, UserUnknown
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.heads import read_first
from bridge.scheduler.images import USED_WITHIN
from bridge.scheduler.lives import room_of, takes_more
from bridge.scheduler.recipe import Recipe, read_recipe
from bridge.services.accounts import Account, ask_again, read_account
from bridge.services.endings import end_waiting
from bridge.services.logins import Person
from bridge.services.workers import workers_of

log = logging.getLogger(__name__)

# A worker has a whole chunk in memory, and the bridge while it writes it: one of many messages is
# divided where they have more than this together. Of so few it is not looked at.
CHUNK_BYTES = 4 << 20
LIGHT = 64
# Executions of one actor that are ended in one transaction.
REFUSED_AT_ONCE = 500


def bind_feed(
    session: Session,
    context: ClusterContext,
    feed: Feed,
    recipes: Mapping[Key, Recipe],
    now: datetime,
) -> bool:
    """Bind the head of the queue to an array that runs; whether that was still right to do."""
    seen = session.get_one(Array, feed.array_id)
    actor = _lock_actor(session, seen.actor_id)
    array = session.get_one(Array, feed.array_id, with_for_update=True, populate_existing=True)
    recipe = recipes[array.actor_id, array.username]
    if not _is_served(actor) or not takes_more(context.cluster, array, recipe):
        return False
    if not room_of(context.cluster, array) or _must_wait(session, actor):
        return False
    chunks = _take(session, actor, array.username, feed.chunk_sizes)
    if not chunks:
        return False
    _bind(session, array, chunks, first=array.chunk_count + 1)
    array.chunk_count += len(chunks)
    array.message_count += sum(len(chunk) for chunk in chunks)
    array.idle_since = None
    return True


def record_plan(
    session: Session, context: ClusterContext, plan: ArrayPlan, now: datetime
) -> str | None:
    """Write a new array and bind its executions, the head of the actor's queue, in their order."""
    actor = _lock_actor(session, plan.actor_id)
    if not _is_served(actor) or _must_wait(session, actor):
        return None
    chunks = _take(session, actor, plan.username, plan.chunk_sizes)
    if not chunks:
        return None  # the actor was deleted in the meantime
    person = Person(context.name, actor.tenant, plan.username)
    account = read_account(session, context.site, person)
    if account is None:
        return None  # it is to be another since just now
    image = _use_image(session, actor, now)
    if image is None:
        return None
    tasks = min(plan.task_count, len(chunks))
    array = _add_array(session, context, actor, image, plan.username, account, tasks, now)
    array.chunk_count = array.fed_chunks = len(chunks)
    array.message_count = sum(len(chunk) for chunk in chunks)
    session.flush()
    _bind(session, array, chunks, first=1)
    return array.id


def _lock_actor(session: Session, actor_id: str) -> Actor:
    """Return the actor, locked.

    The lock keeps a delete from ending executions while they are bound, and a second scheduler,
    whose lease ran out while it slept, from binding them as well.
    """
    return session.get_one(Actor, actor_id, with_for_update={"key_share": True})


def _is_served(actor: Actor) -> bool:
    return actor.status is ActorStatus.READY and actor.deleted_at is None


def _must_wait(session: Session, actor: Actor) -> bool:
    """Whether a message of a stateful actor is out: the next one must see what it leaves."""
    query = (
        select(Execution.seq)
        .join(Array, Array.id == Execution.array_id)
        .where(IS_OPEN, Array.actor_id == actor.id, Array.status != ArrayStatus.ENDED)
        .limit(1)
    )
    return not actor.stateless and session.execute(query).first() is not None


def _take(session: Session, actor: Actor, username: str, sizes: Sequence[int]) -> list[list[int]]:
    """Return the head of the queue in chunks: fewer than planned, where some were taken back."""
    if not actor.stateless and read_first(session, actor.id) != username:
        return []  # the first message is the next one, whoever it runs as
    rows = select(Execution.seq).where(
        is_queued(), Execution.actor_id == actor.id, Execution.username == username
    )
    left = iter(session.scalars(rows.order_by(Execution.seq).limit(sum(sizes))).all())
    chunks = [chunk for size in sizes if (chunk := list(islice(left, size)))]
    if max(sizes) > LIGHT:
        return [part for chunk in chunks for part in _divide(session, chunk)]
    return chunks


def _divide(session: Session, chunk: Sequence[int]) -> list[list[int]]:
    """Divide a chunk into as many as the sizes of its messages ask for."""
    rows = session.execute(
        select(Execution.seq, Message.size)
        .join(Message, Message.execution_id == Execution.id)
        .where(Execution.seq.in_(chunk))
        .order_by(Execution.seq)
    )
    parts: list[list[int]] = []
    held = CHUNK_BYTES
    for seq, size in rows:
        if held + size > CHUNK_BYTES:
            parts.append([])
            held = 0
        parts[-1].append(seq)
        held += size
    return parts


def _bind(session: Session, array: Array, chunks: Sequence[Sequence[int]], first: int) -> None:
    for number, chunk in enumerate(chunks, start=first):
        session.execute(
            update(Execution)
            .where(Execution.seq.in_(chunk))
            .values(array_id=array.id, chunk=number, plan_count=Execution.plan_count + 1)
        )


def _use_image(session: Session, actor: Actor, now: datetime) -> Image | None:
    """Return the actor's image, None where its file is not there (any more).

    Locked, so that it is not evicted before the array that needs it can be seen.
    """
    image = session.get_one(Image, actor.image_id, with_for_update={"read": True})
    if image.sif_path is None:
        return None
    if image.used_at is None or now - image.used_at > USED_WITHIN:
        image.used_at = now
    return image


def _add_array(
    session: Session,
    context: ClusterContext,
    actor: Actor,
    image: Image,
    username: str,
    account: Account,
    task_count: int,
    now: datetime,
) -> Array:
    """Add an array without messages.

    Raises:
        InvalidField: the site no longer allows what the actor asks for.
        ImageRefused: nor its image.
    """
    recipe = read_recipe(context, actor, image, username, account)
    token = new_token()
    array = Array(
        id=token,
        cluster=context.name,
        tenant=actor.tenant,
        username=username,
        login=account.login,
        actor_id=actor.id,
        image_id=image.id,
        sif_path=image.sif_path,
        sif_bytes=image.sif_bytes,
        sif_sha256=image.sif_sha256,
        spool=f"{context.spool_root(account.login)}/{token}",
        task_count=task_count,
        message_count=0,
        chunk_count=0,
        fed_chunks=0,
        fingerprint=recipe.fingerprint,
        request=recipe.request,
        status=ArrayStatus.PLANNED,
        planned_at=now,
        retry_at=now,
    )
    session.add(array)
    return array


def refuse(context: ClusterContext, key: Key, reason: str, now: datetime) -> None:
    """End messages that the site no longer allows: anywhere else than asked they are not run."""
    actor_id, username = key
    with context.database.begin() as session:
        actor = _lock_actor(session, actor_id)
        mine = Execution.username == username
        count = end_waiting(session, actor, mine, reason, now, limit=REFUSED_AT_ONCE)
    facts = {"actor": actor_id, "messages": count}
    log.warning("messages refused: %s", reason, extra={"facts": facts})


def record_standing(
    session: Session,
    context: ClusterContext,
    actor_id: str,
    division: Division,
    now: datetime,
) -> str | None:
    """Write an array without messages, for as many workers as are missing of those asked for.

    Where the division has no room for all, the rest is asked for still.
    """
    actor = _lock_actor(session, actor_id)
    if not _is_served(actor) or actor.workers_asked == 0:
        return None
    person = Person(context.name, actor.tenant, actor.owner)
    image = _use_image(session, actor, now)
    if image is None:
        return None
    missing = actor.workers_asked - len(workers_of(session, actor))
    if missing <= 0:
        actor.workers_asked = 0
        return None
    try:
        account = read_account(session, context.site, person)
        if account is None:
            ask_again(session, person, context.clock)
            return None
        count = division.reserve((actor.tenant, actor.owner), missing)
        if count == missing:
            actor.workers_asked = 0
        if count == 0:
            return None
        array = _add_array(session, context, actor, image, actor.owner, account, count, now)
    except (InvalidField, ImageRefused, UserUnknown) as error:
        facts = {"actor": actor_id}
        log.warning("no workers: %s", error.message, extra={"facts": facts})
        actor.workers_asked = 0
        return None
    array.is_standing = True
    array.idle_since = now
    return array.id
