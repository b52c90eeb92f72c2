"""Reading the queues: what waits, for whom, how it is run, or why it may not be.

Nothing is changed here; planning (bridge.scheduler.plan) decides on what was read. Of every queue
little is known at first. How long it is, and how its messages run, is found out (`look_into`) for
those to which it matters now.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.clock import monotonic_s
from bridge.core.plans import Waiting
from bridge.core.shares import Key
from bridge.core.statuses import ActorStatus
from bridge.db import Actor, Image
from bridge.errors import ConnectFailed, ImageRefused, InvalidField, UserUnknown
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.heads import Head, count_queues, read_heads
from bridge.scheduler.recipe import Recipe, read_recipe
from bridge.services.accounts import read_account
from bridge.services.logins import Person
from bridge.sites import Cluster

log = logging.getLogger(__name__)

# How long messages wait for a user of whom the cluster says that there is no account.
ACCOUNT_PATIENCE = timedelta(minutes=10)
_AT_ONCE = 1000  # actors that are asked for in one statement


@dataclass
class Queues:
    """What waits, and of each that was looked into how it runs, or why it may not."""

    heads: Mapping[Key, Head]
    waiting: dict[Key, Waiting]
    recipes: dict[Key, Recipe]
    refused: dict[Key, str]
    unknown: dict[Key, Person]  # whose accounts are to be asked for
    missing: set[int]  # images that are not there (any more)


def read_queues(session: Session, context: ClusterContext, now: datetime) -> Queues:
    """Return the queues of the READY actors of this cluster, one for each user of an actor.

    Each is as long as it was when it was last counted, or one message.
    """
    recent = now - timedelta(seconds=10 * context.cluster.linger_s)
    queues = Queues({head.key: head for head in read_heads(session, recent)}, {}, {}, {}, {}, set())
    lengths = context.memory.lengths
    lengths.keep(queues.heads)
    actors = _read_actors(session, context, queues.heads)
    for key, head in queues.heads.items():
        actor = actors.get(key[0])
        if actor is None:
            continue
        if actor.sif_path is None:
            queues.missing.add(actor.image_id)
            continue
        queues.waiting[key] = Waiting(
            key[0],
            key[1],
            lengths.of(key),
            head.seq,
            (now - head.oldest).total_seconds(),
            (now - head.newest).total_seconds(),
            actor.mean_run_s,
            _max_workers(actor, context.cluster),
            in_order=not actor.stateless,
            tenant=actor.tenant,
        )
    return queues


def _read_actors(
    session: Session, context: ClusterContext, keys: Collection[Key]
) -> dict[str, Any]:
    """Return a fraction of the rows of the actors that may run here, by their ids."""
    query = (
        select(
            Actor.id,
            Actor.tenant,
            Actor.mean_run_s,
            Actor.max_workers,
            Actor.stateless,
            Actor.image_id,
            Image.sif_path,
        )
        .join(Image, Image.id == Actor.image_id)
        .where(Actor.cluster == context.name, Actor.status == ActorStatus.READY)
        .where(Actor.tenant.in_(context.site.tenants))
    )
    ids = sorted({actor_id for actor_id, _ in keys})
    return {
        row.id: row
        for begin in range(0, len(ids), _AT_ONCE)
        for row in session.execute(query.where(Actor.id.in_(ids[begin : begin + _AT_ONCE])))
    }


def _max_workers(actor: Any, cluster: Cluster) -> int:
    return (actor.max_workers or cluster.max_workers_per_actor) if actor.stateless else 1


def look_into(
    session: Session,
    context: ClusterContext,
    queues: Queues,
    keys: Sequence[Key],
    now: datetime,
) -> None:
    """Find out how these queues' messages run, and how many there are; drop what may not run."""
    ids = sorted({actor_id for actor_id, _ in keys})
    query = select(Actor, Image).join(Image, Image.id == Actor.image_id)
    found = {
        actor.id: (actor, image)
        for begin in range(0, len(ids), _AT_ONCE)
        for actor, image in session.execute(
            query.where(Actor.id.in_(ids[begin : begin + _AT_ONCE]))
        )
    }
    for key in keys:
        actor, image = found[key[0]]
        waited = now - queues.heads[key].oldest
        if not _find_recipe(session, context, queues, actor, image, key[1], waited):
            del queues.waiting[key]
    _count(session, context, queues, [key for key in keys if key in queues.waiting])


def _count(session: Session, context: ClusterContext, queues: Queues, keys: Sequence[Key]) -> None:
    """Put in how long these queues are, as far as it matters."""
    lengths = context.memory.lengths
    begun = monotonic_s()
    stale = [queues.heads[key] for key in keys if lengths.is_stale(key, begun)]
    most = max((_enough(queues.waiting[head.key], context.cluster) for head in stale), default=0)
    lengths.note(count_queues(session, stale, most), begun, monotonic_s())
    for key in keys:
        request = queues.recipes[key].request
        queues.waiting[key] = replace(
            queues.waiting[key],
            count=lengths.of(key),
            node_workers=request["slots"] if request["node_cpus"] else 1,
        )


def _enough(queue: Waiting, cluster: Cluster) -> int:
    """Return a length from which on more messages change no plan."""
    work = queue.max_workers * cluster.target_task_s / queue.each_s
    return max(cluster.max_messages_per_array, math.ceil(work)) + 1


def _find_recipe(
    session: Session,
    context: ClusterContext,
    queues: Queues,
    actor: Actor,
    image: Image,
    username: str,
    waited: timedelta,
) -> bool:
    """Find out how the actor's messages run as `username`; whether they may at this moment.

    A user database that is out of order for a while says that nobody is there: messages wait for
    `ACCOUNT_PATIENCE` before that counts.
    """
    key, person = (actor.id, username), Person(context.name, actor.tenant, username)
    try:
        account = read_account(session, context.site, person)
        if account is not None:
            queues.recipes[key] = read_recipe(context, actor, image, username, account)
            return True
    except (InvalidField, ImageRefused) as error:
        queues.refused[key] = error.message
        return False
    except UserUnknown as error:
        if waited >= ACCOUNT_PATIENCE:
            queues.refused[key] = error.message
    except ConnectFailed as error:
        log.info("messages wait: %s", error.message, extra={"facts": {"actor": actor.id}})
    queues.unknown[key] = person
    return False


def read_asked(session: Session, context: ClusterContext, queues: Queues) -> Sequence[Actor]:
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
