"""Reading the queues: what waits, for whom, how it is run, or why it may not be.

Nothing is changed here; planning (bridge.scheduler.plan) decides on what was read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.core.plans import Waiting
from bridge.core.shares import Key
from bridge.core.statuses import ActorStatus, ExecutionStatus
from bridge.db import Actor, Execution, Image
from bridge.errors import ConnectFailed, ImageRefused, InvalidField, UserUnknown
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.recipe import Recipe, read_recipe
from bridge.services.accounts import read_account
from bridge.services.logins import Person
from bridge.sites import Cluster

log = logging.getLogger(__name__)

QUEUED = (Execution.status == ExecutionStatus.SUBMITTED) & Execution.array_id.is_(None)
# How long messages wait for a user of whom the cluster says that there is no account.
ACCOUNT_PATIENCE = timedelta(minutes=10)


@dataclass
class Queues:
    """What waits, and of each how it runs, or why it may not."""

    waiting: list[Waiting]
    recipes: dict[Key, Recipe]
    refused: dict[Key, str]
    unknown: list[Person]  # whose accounts are to be asked for
    missing: set[int]  # images that are not there (any more)


def read_queues(session: Session, context: ClusterContext, now: datetime) -> Queues:
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
        .where(QUEUED, Actor.cluster == context.name, Actor.status == ActorStatus.READY)
        .where(Actor.tenant.in_(context.site.tenants))
        .group_by(Actor.id, Image.id, Execution.username)
    ).all()
    queues = Queues([], {}, {}, [], set())
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
