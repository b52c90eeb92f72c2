"""Bringing requested images into the cluster's cache, and their actors to READY or ERROR."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import and_, exists, not_, or_, select, update

from bridge.core.statuses import ActorStatus, ImageStatus
from bridge.db import Actor, Image
from bridge.errors import BridgeError
from bridge.events import record_actor
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.sources import Found, obtain
from bridge.services.images import NOT_FIT, fits
from bridge.sessions.base import clean_text

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
FIRST_RETRY = timedelta(seconds=15)
USED_WITHIN = timedelta(hours=1)  # how exactly an image's last use is known


def find_wanted(context: ClusterContext) -> Sequence[Image]:
    """Return the images that are to be brought now, the longest known first."""
    with context.database.read() as session:
        return session.scalars(
            select(Image)
            .where(
                Image.cluster == context.name,
                Image.tenant.in_(context.site.tenants),
                or_(
                    Image.status == ImageStatus.REQUESTED,
                    Image.next_attempt_at <= context.clock.now(),
                ),
            )
            .order_by(Image.id)
        ).all()


def bring_image(context: ClusterContext, image: Image) -> None:
    """Bring one image to where workers find it, and write down what came of it."""
    try:
        found = obtain(context, image)
    except BridgeError as error:
        _record_failure(context, image, error)
        return
    if _record(context, image, found):
        facts = {"image": image.reference, "sif": found.stored.path}
        log.info("image ready", extra={"facts": facts})


def _record(context: ClusterContext, image: Image, found: Found) -> bool:
    """Write down what was found; whether its file is still there.

    A file that belongs to another row too may be removed before this one has it (see
    bridge.scheduler.evict): then the image stays asked for, and is brought anew.
    """
    ids = [image.id] if found.twin is None else [image.id, found.twin]
    with context.database.begin() as session:
        query = select(Image).where(Image.id.in_(ids)).order_by(Image.id).with_for_update()
        rows = {row.id: row for row in session.scalars(query)}
        if found.twin is not None and rows[found.twin].sif_path != found.stored.path:
            return False
        row = rows[image.id]
        row.status, row.status_message = ImageStatus.READY, ""
        row.attempts, row.next_attempt_at = 0, None
        row.digest, row.names = found.digest, list(found.names)
        row.source_bytes, row.is_signed = found.source_bytes, found.is_signed
        row.sif_path, row.sif_bytes = found.stored.path, found.stored.size_bytes
        row.sif_sha256 = found.stored.sha256
        row.config = found.config
        row.used_at = context.clock.now()
    return True


def _record_failure(context: ClusterContext, image: Image, error: BridgeError) -> None:
    with context.database.begin() as session:
        row = session.get_one(Image, image.id)
        row.status, row.status_message = ImageStatus.ERROR, clean_text(error.message)
        row.attempts += 1
        again = error.retryable and row.attempts < MAX_ATTEMPTS
        wait = FIRST_RETRY * 2**row.attempts
        row.next_attempt_at = context.clock.now() + wait if again else None
    log.warning("image failed: %s", error.message, extra={"facts": {"image": image.reference}})


def request_again(context: ClusterContext, image_ids: set[int]) -> None:
    """Have images brought that were evicted, since somebody wants them."""
    wanted = update(Image).where(Image.id.in_(image_ids), Image.status == ImageStatus.EVICTED)
    fresh = {"status": ImageStatus.REQUESTED, "attempts": 0, "next_attempt_at": None}
    with context.database.begin() as session:
        session.execute(wanted.values(**fresh))


def _has_waiting(context: ClusterContext) -> bool:
    """Whether there may be an actor to be told something."""
    waits = or_(
        and_(Actor.status == ActorStatus.SUBMITTED, Image.status == ImageStatus.READY),
        and_(Actor.status == ActorStatus.ERROR, Image.status == ImageStatus.READY, fits()),
        and_(Actor.status == ActorStatus.SUBMITTED, Image.status == ImageStatus.ERROR),
        and_(
            Actor.status == ActorStatus.READY,
            Image.status == ImageStatus.ERROR,
            Image.sif_path.is_(None),
            Image.next_attempt_at.is_(None),
        ),
    )
    with context.database.read() as session:
        waiting = (
            select(Actor.id)
            .join(Image, Image.id == Actor.image_id)
            .where(Actor.cluster == context.name, Actor.deleted_at.is_(None), waits)
        )
        return session.execute(waiting.limit(1)).first() is not None


def tell_actors(context: ClusterContext) -> None:
    """Move actors to the status of their image, each with its event, in one transaction.

    An actor whose image was evicted stays READY while it is brought anew, and its messages wait;
    when that has failed for good it is in ERROR as one whose image never came. So is one that wants
    to run its image in a way that this is not made for.
    """
    if not _has_waiting(context):
        return
    mine = (Actor.cluster == context.name) & Actor.deleted_at.is_(None)
    ready = exists().where(Image.id == Actor.image_id, Image.status == ImageStatus.READY)
    failed = select(Image.id).where(Image.status == ImageStatus.ERROR)
    gone = failed.where(Image.sif_path.is_(None), Image.next_attempt_at.is_(None))
    reason = select(Image.status_message).where(Image.id == Actor.image_id).scalar_subquery()
    waiting = Actor.status.in_((ActorStatus.SUBMITTED, ActorStatus.ERROR))
    enter_ready = (
        update(Actor)
        .where(mine, waiting, ready.where(fits()))
        .values(status=ActorStatus.READY, status_message=" ")
        .returning(Actor)
    )
    enter_unfit = (
        update(Actor)
        .where(mine, Actor.status == ActorStatus.SUBMITTED, ready.where(not_(fits())))
        .values(status=ActorStatus.ERROR, status_message=NOT_FIT)
        .returning(Actor)
    )
    enter_error = (
        update(Actor)
        .where(
            mine,
            or_(
                and_(Actor.status == ActorStatus.SUBMITTED, Actor.image_id.in_(failed)),
                and_(Actor.status == ActorStatus.READY, Actor.image_id.in_(gone)),
            ),
        )
        .values(status=ActorStatus.ERROR, status_message=reason)
        .returning(Actor)
    )
    with context.database.begin() as session:
        for statement in (enter_ready, enter_unfit, enter_error):
            for actor in session.scalars(statement).all():
                record_actor(session, actor, context.clock.now())
