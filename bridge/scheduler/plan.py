"""Planning: from queues in the database to arrays in the database, one transaction each.

Nothing outside the database is touched here. Messages are given to an array that runs in the same
way as to a new one: bound first, written to the spool afterwards (bridge.scheduler.feed).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bridge.core.ids import new_token
from bridge.core.plans import ArrayPlan, Feed, Live, PackingRules, Waiting, plan_round
from bridge.core.shares import Division
from bridge.core.statuses import ActorStatus, ArrayStatus, ExecutionStatus
from bridge.db import IS_OPEN, Actor, Array, Execution, Image
from bridge.errors import ConnectFailed, ImageRefused, InvalidField, UserUnknown
from bridge.harvest import end_lost
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.idle import start_leaving
from bridge.scheduler.images import USED_WITHIN, request_again
from bridge.scheduler.recipe import Recipe, read_recipe
from bridge.scheduler.sharing import is_shared, read_sharing, reclaim, show_waits
from bridge.services.accounts import Account, ask_again, read_account
from bridge.services.logins import Person
from bridge.services.workers import LiveTask, find_live_tasks, workers_of
from bridge.sites import Cluster

log = logging.getLogger(__name__)

_QUEUED = (Execution.status == ExecutionStatus.SUBMITTED) & Execution.array_id.is_(None)
# Executions of one actor that are ended in one transaction.
REFUSED_AT_ONCE = 1000
# How long messages wait for a user of whom the cluster says that there is no account.
ACCOUNT_PATIENCE = timedelta(minutes=10)

Key = tuple[str, str]  # an actor's id and the user as whom its messages run


@dataclass
class _Queues:
    """What waits, and of each how it runs, or why it may not."""

    waiting: list[Waiting]
    recipes: dict[Key, Recipe]
    refused: dict[Key, str]
    unknown: list[Person]  # whose accounts are to be asked for
    missing: set[int]  # images that are not there (any more)


def plan_tick(context: ClusterContext) -> list[str]:
    """Bind waiting messages to arrays; return the tokens of those that are new."""
    cluster = context.cluster
    rules = PackingRules(
        target_task_s=cluster.target_task_s,
        max_tasks_per_array=cluster.max_tasks_per_array,
        max_messages_per_array=cluster.max_messages_per_array,
        linger_s=cluster.linger_s,
    )
    now = context.clock.now()
    is_short = is_shared(context.site, cluster)
    with context.database.read() as session:
        queues = _read_queues(session, context, now)
        asked = _read_asked(session, context, queues)
        lives = _read_lives(session, context, queues, now, all_of_them=is_short)
        sharing = None
        if is_short:
            users = {(one.tenant, one.username) for one in queues.waiting}
            users |= {(live.tenant, live.username) for live in lives}
            users |= {(actor.tenant, actor.owner) for actor in asked}
            sharing = read_sharing(session, context.site, context.name, users, context.memory, now)
    todo = plan_round(queues.waiting, lives, rules, sharing)
    for array_id in todo.releases:
        start_leaving(context, array_id)
    for array_id, count in todo.reclaims.items():
        reclaim(context.database, array_id, count, now)
    show_waits(context.database, context.name, todo.waits, context.memory)
    for key, reason in queues.refused.items():
        _refuse(context, key, reason, now)
    if queues.missing:
        request_again(context, queues.missing)
    for person in queues.unknown:
        with context.database.begin() as session:
            ask_again(session, person, context.clock)
    for feed in todo.feeds:
        with context.database.begin() as session:
            bind_feed(session, context, feed, queues.recipes, now)
    tokens = []
    for plan in todo.plans:
        with context.database.begin() as session:
            tokens.append(record_plan(session, context, plan, now))
        context.memory.note_served((plan.actor_id, plan.username), now)
    for actor in asked:
        with context.database.begin() as session:
            tokens.append(_record_standing(session, context, actor.id, todo.division, now))
    return [token for token in tokens if token]


def _read_queues(session: Session, context: ClusterContext, now: datetime) -> _Queues:
    """Return the queues of the READY actors of this cluster, one for each user of an actor."""
    rows = session.execute(
        select(
            Actor,
            Image,
            Execution.username,
            func.count(),
            func.min(Execution.seq),
            func.min(Execution.message_received_time),
            func.max(Execution.message_received_time),
        )
        .join(Execution, Execution.actor_id == Actor.id)
        .join(Image, Image.id == Actor.image_id)
        .where(_QUEUED, Actor.cluster == context.name, Actor.status == ActorStatus.READY)
        .where(Actor.tenant.in_(context.site.tenants))
        .group_by(Actor.id, Image.id, Execution.username)
    ).all()
    queues = _Queues([], {}, {}, [], set())
    for actor, image, username, count, head, oldest, newest in rows:
        if image.sif_path is None:
            queues.missing.add(image.id)
            continue
        waited = now - oldest
        if not _find_recipe(session, context, queues, actor, image, username, waited):
            continue
        queues.waiting.append(
            Waiting(
                actor.id,
                username,
                count,
                head,
                waited.total_seconds(),
                (now - newest).total_seconds(),
                actor.mean_run_s,
                _max_workers(actor, context.cluster),
                in_order=not actor.stateless,
                tenant=actor.tenant,
            )
        )
    return queues


def _find_recipe(
    session: Session,
    context: ClusterContext,
    queues: _Queues,
    actor: Actor,
    image: Image,
    username: str,
    waited: timedelta,
) -> bool:
    """Find out how the actor's messages run as `username`; whether they may at this moment.

    A user database that is out of order for a while says that nobody is there: messages wait for
    `ACCOUNT_PATIENCE` before that counts.
    """
    person = Person(context.name, actor.tenant, username)
    try:
        account = read_account(session, context.site, person)
        if account is not None:
            recipe = read_recipe(context, actor, image, username, account)
            queues.recipes[actor.id, username] = recipe
            return True
    except (InvalidField, ImageRefused) as error:
        queues.refused[actor.id, username] = error.message
        return False
    except UserUnknown as error:
        if waited >= ACCOUNT_PATIENCE:
            queues.refused[actor.id, username] = error.message
    except ConnectFailed as error:
        log.info("messages wait: %s", error.message, extra={"facts": {"actor": actor.id}})
    queues.unknown.append(person)
    return False


def _max_workers(actor: Actor, cluster: Cluster) -> int:
    return (actor.max_workers or cluster.max_workers_per_actor) if actor.stateless else 1


def _read_lives(
    session: Session,
    context: ClusterContext,
    queues: _Queues,
    now: datetime,
    *,
    all_of_them: bool,
) -> list[Live]:
    """Return the arrays of the actors for which something waits, or of every actor."""
    actors = {queue.actor_id for queue in queues.waiting}
    arrays = [
        array
        for array in session.scalars(
            select(Array).where(Array.cluster == context.name, Array.status != ArrayStatus.ENDED)
        )
        if all_of_them or array.actor_id in actors
    ]
    tasks = find_live_tasks(session, arrays)
    rows = session.execute(
        select(Execution.array_id, func.count())
        .where(IS_OPEN, Execution.array_id.in_([array.id for array in arrays]))
        .group_by(Execution.array_id)
    )
    open_counts: dict[str | None, int] = {row[0]: row[1] for row in rows}
    lives = []
    for array in arrays:
        recipe = queues.recipes.get((array.actor_id, array.username))
        takes_more = recipe is not None and _takes_more(context.cluster, array, recipe)
        room = _room(context.cluster, array) if takes_more else 0
        # A worker that was told to leave, or whose array takes nothing more, may run something yet.
        useful = [task for task in tasks[array.id] if not task.is_leaving]
        if array.leaving_at is not None:
            useful = [task for task in useful if task.worker is not None]
        count = open_counts.get(array.id, 0)
        other = sum(task.is_leaving and task.worker is not None for task in tasks[array.id])
        lives.append(
            Live(
                array.id,
                array.actor_id,
                array.username,
                len(useful),
                other,
                count,
                room,
                takes_more,
                array.tenant,
                sum(_is_young(context.cluster, task, now) for task in useful),
                is_going=_is_going(array),
            )
        )
    return lives


def _is_young(cluster: Cluster, task: LiveTask, now: datetime) -> bool:
    """Whether the worker has not had the time for which one is planned."""
    since = task.array.planned_at if task.worker is None else task.worker.create_time
    return (now - since).total_seconds() < cluster.target_task_s


def _is_going(array: Array) -> bool:
    return (
        array.status not in (ArrayStatus.PLANNED, ArrayStatus.SUBMITTED)
        or array.leaving_at is not None
        or array.stop_requested
        or array.drain_requested
    )


def _takes_more(cluster: Cluster, array: Array, recipe: Recipe) -> bool:
    return (
        not _is_going(array)
        and (array.is_standing or cluster.idle_timeout_s > 0)
        and array.message_count < cluster.max_messages_per_array
        and array.fingerprint == recipe.fingerprint
    )


def _room(cluster: Cluster, array: Array) -> int:
    """Return how many messages it may be given now: none before it is whole, or while it is fed."""
    is_whole = array.status is ArrayStatus.SUBMITTED and array.fed_chunks == array.chunk_count
    return cluster.max_messages_per_array - array.message_count if is_whole else 0


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
    if not _is_served(actor) or not _takes_more(context.cluster, array, recipe):
        return False
    if not _room(context.cluster, array) or _must_wait(session, actor):
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
    rows = select(Execution.seq, Execution.username).where(_QUEUED, Execution.actor_id == actor.id)
    if actor.stateless:
        rows = rows.where(Execution.username == username)
    head = session.execute(rows.order_by(Execution.seq).limit(sum(sizes)))
    # A stateful actor's first message is the next one, whoever it runs as.
    left = iter([seq for seq, whose in head if whose == username])
    return [chunk for size in sizes if (chunk := list(islice(left, size)))]


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


def _refuse(context: ClusterContext, key: Key, reason: str, now: datetime) -> None:
    """End messages that the site no longer allows: anywhere else than asked they are not run."""
    actor_id, username = key
    head = (
        select(Execution.seq)
        .where(_QUEUED, Execution.actor_id == actor_id, Execution.username == username)
        .order_by(Execution.seq)
        .limit(REFUSED_AT_ONCE)
    )
    with context.database.begin() as session:
        _lock_actor(session, actor_id)
        count = end_lost(session, Execution.seq.in_(session.scalars(head).all()), reason, now)
    facts = {"actor": actor_id, "messages": count}
    log.warning("messages refused: %s", reason, extra={"facts": facts})


def _read_asked(session: Session, context: ClusterContext, queues: _Queues) -> Sequence[Actor]:
    """Return the actors whose workers an admin has asked for, and whose image is there."""
    rows = session.execute(
        select(Actor, Image.sif_path)
        .join(Image, Image.id == Actor.image_id)
        .where(
            Actor.workers_asked > 0,
            Actor.cluster == context.name,
            Actor.status == ActorStatus.READY,
            Actor.tenant.in_(context.site.tenants),
        )
    ).all()
    queues.missing.update(actor.image_id for actor, path in rows if path is None)
    return [actor for actor, path in rows if path is not None]


def _record_standing(
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
