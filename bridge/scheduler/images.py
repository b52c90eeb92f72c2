"""Bringing requested images into the cluster's cache, and their actors to READY or ERROR."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import or_, select, update

from bridge.containers import SifCache, resolve
from bridge.core.images import parse_image
from bridge.core.statuses import ActorStatus, ImageStatus
from bridge.db import Actor, Image
from bridge.errors import BridgeError
from bridge.events import record_actor
from bridge.scheduler.context import ClusterContext
from bridge.sessions.base import clean_text

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
FIRST_RETRY = timedelta(seconds=15)


def image_tick(context: ClusterContext) -> int:
    """Resolve and pull what was asked for; return how many images were tried."""
    now = context.clock.now()
    with context.database.read() as session:
        images = session.scalars(
            select(Image).where(
                Image.cluster == context.name,
                or_(Image.status == ImageStatus.REQUESTED, Image.next_attempt_at <= now),
            )
        ).all()
    for image in images:
        _bring(context, image)
        _tell_actors(context)  # now: the next one may take long
    if not images and _has_waiting(context):
        _tell_actors(context)
    return len(images)


def _bring(context: ClusterContext, image: Image) -> None:
    cluster = context.cluster
    try:
        reference = parse_image(image.reference)
        resolved = resolve(reference, cluster.insecure_registries)
        plain = reference.registry in cluster.insecure_registries
        path = SifCache(cluster.image_cache).ensure(image.tenant, resolved, plain_http=plain)
    except BridgeError as error:
        _record_failure(context, image, error)
        return
    with context.database.begin() as session:
        row = session.get_one(Image, image.id)
        row.status, row.status_message = ImageStatus.READY, ""
        row.attempts, row.next_attempt_at = 0, None
        row.digest, row.sif_path = resolved.reference.digest, str(path)
        row.config = resolved.config
    log.info("image ready", extra={"facts": {"image": image.reference, "sif": str(path)}})


def _record_failure(context: ClusterContext, image: Image, error: BridgeError) -> None:
    with context.database.begin() as session:
        row = session.get_one(Image, image.id)
        row.status, row.status_message = ImageStatus.ERROR, clean_text(error.message)
        row.attempts += 1
        again = error.retryable and row.attempts < MAX_ATTEMPTS
        wait = FIRST_RETRY * 2**row.attempts
        row.next_attempt_at = context.clock.now() + wait if again else None
    log.warning("image failed: %s", error.message, extra={"facts": {"image": image.reference}})


def _has_waiting(context: ClusterContext) -> bool:
    with context.database.read() as session:
        waiting = select(Actor.id).where(
            Actor.cluster == context.name, Actor.status == ActorStatus.SUBMITTED
        )
        return session.execute(waiting.limit(1)).first() is not None


def _tell_actors(context: ClusterContext) -> None:
    """Move actors to the status of their image, each with its event, in one transaction."""
    mine = (Actor.cluster == context.name) & Actor.deleted_at.is_(None)
    ready = select(Image.id).where(Image.status == ImageStatus.READY)
    failed = select(Image.id).where(Image.status == ImageStatus.ERROR)
    reason = select(Image.status_message).where(Image.id == Actor.image_id).scalar_subquery()
    waiting = Actor.status.in_((ActorStatus.SUBMITTED, ActorStatus.ERROR))
    enter_ready = (
        update(Actor)
        .where(mine, waiting, Actor.image_id.in_(ready))
        .values(status=ActorStatus.READY, status_message=" ")
        .returning(Actor)
    )
    enter_error = (
        update(Actor)
        .where(mine, Actor.status == ActorStatus.SUBMITTED, Actor.image_id.in_(failed))
        .values(status=ActorStatus.ERROR, status_message=reason)
        .returning(Actor)
    )
    with context.database.begin() as session:
        for statement in (enter_ready, enter_error):
            for actor in session.scalars(statement).all():
                record_actor(session, actor, context.clock.now())
