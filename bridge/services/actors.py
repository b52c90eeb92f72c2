"""Actors: register, list, delete (abaco_contract.md 3.1, 3.2, 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import CursorResult, delete, exists, select, update
from sqlalchemy.orm import Session

from bridge.auth.identity import WORLD, Identity
from bridge.core.actors import ActorDescription
from bridge.core.cron import parse_cron
from bridge.core.ids import new_id
from bridge.core.images import parse_image
from bridge.core.statuses import ActorStatus, ArrayStatus, ExecutionStatus, ImageStatus, Level
from bridge.db import (
    Actor,
    Alias,
    Array,
    ConfigTarget,
    Execution,
    Image,
    Log,
    Message,
    Nonce,
    Permission,
)
from bridge.errors import InvalidField, NotFound, PermissionDenied
from bridge.services.access import NO_ACTOR, find_actor
from bridge.services.accounts import Account
from bridge.services.mounts import mounts_of
from bridge.services.rows import find_or_insert
from bridge.sites import Site

DELETED = "actor deleted"

# Restricted field, what Abaco's refusal calls it (actors/auth.py check_privileged).
_RESTRICTED = (
    ("privileged", "make privileged actors"),
    ("max_workers", "set max workers"),
    ("max_cpus", "set max CPUs"),
    ("mem_limit", "set mem limit"),
    ("queue", "set queue"),
    ("use_container_uid", "use container uid"),
)


def check_restricted(description: ActorDescription, identity: Identity) -> None:
    """Refuse fields that only admins and privileged users may set.

    Raises:
        PermissionDenied: names the field as Abaco does.

    Source: abaco_contract.md 2.3; judged by value, so that ``privileged=false`` is no offence.
    """
    if identity.is_privileged:
        return
    for name, action in _RESTRICTED:
        if getattr(description, name):
            raise PermissionDenied(
                f"Not authorized -- only admins and privileged users can {action}."
            )


def check_site(description: ActorDescription, site: Site, now: datetime) -> None:
    """Refuse what this site does not offer, before anybody is asked about the user.

    Raises:
        InvalidField: the queue is unknown, or the cron schedule cannot be kept.
    """
    if description.queue and description.queue not in site.queues:
        raise InvalidField(
            f"Invalid actor description: Invalid queue name. Got {description.queue[:64]!r}, "
            f"expected one of: {', '.join(site.queues)}."
        )
    if description.cron_schedule:
        parse_cron(description.cron_schedule, now)


def register_actor(
    session: Session,
    identity: Identity,
    site: Site,
    description: ActorDescription,
    account: Account,
    now: datetime,
) -> Actor:
    """Return the new actor, SUBMITTED until the scheduler has its image.

    Raises:
        InvalidField: the link is to no actor, or a mount has no place for this user.
    """
    if description.link:
        _check_link(session, identity, description.link)
    tenant = site.tenants[identity.tenant]
    image = _request_image(session, tenant.cluster, identity.tenant, description.image, now)
    cron = parse_cron(description.cron_schedule, now) if description.cron_schedule else None
    token = description.token
    actor = Actor(
        id=new_id(),
        tenant=identity.tenant,
        owner=identity.username,
        cluster=tenant.cluster,
        image_id=image.id,
        image=description.image,
        name=description.name,
        description=description.description,
        status=ActorStatus.SUBMITTED,
        stateless=description.stateless,
        type=description.type,
        link=description.link,
        webhook=description.webhook,
        hints=description.hints,
        token=token if token is not None else str(tenant.default_token).lower(),
        privileged=description.privileged,
        use_container_uid=description.use_container_uid,
        default_environment=description.default_environment,
        mounts=mounts_of(tenant, identity.tenant, identity.username),
        max_workers=description.max_workers,
        mem_limit=description.mem_limit,
        max_cpus=description.max_cpus,
        queue=description.queue or "default",
        uid=account.uid,
        gid=account.gid,
        log_ex=description.log_ex,
        cron_on=cron is not None,
        cron_schedule=description.cron_schedule or None,
        cron_start_at=cron.start if cron else None,
        cron_next_at=cron.start if cron else None,
        create_time=now,
        last_update_time=now,
    )
    session.add(actor)
    session.flush()
    session.add(Permission(actor_id=actor.id, username=identity.username, level=Level.UPDATE))
    return actor


def list_actors(
    session: Session, identity: Identity, *, limit: int | None = None, skip: int = 0
) -> Sequence[Actor]:
    """Return the actors that the caller, or everybody, may read, oldest first.

    For admins too: being allowed everything is not a permission entry (abaco_contract.md 0.13).
    """
    readable = exists().where(
        Permission.actor_id == Actor.id,
        Permission.username.in_((identity.username, WORLD)),
        Permission.level != Level.NONE,
    )
    query = (
        select(Actor)
        .where(Actor.tenant == identity.tenant, Actor.deleted_at.is_(None), readable)
        .order_by(Actor.create_time, Actor.id)
        .offset(skip)
        .limit(limit)
    )
    return session.scalars(query).all()


def delete_actor(session: Session, identity: Identity, actor_id: str, now: datetime) -> bool:
    """End the actor and what waits for it; return whether the cluster still works on it.

    What runs is stopped by the scheduler, which sees `stop_requested`. Executions stay, as in
    Abaco; their logs, and the messages of those that never ran, go. So do the actor's aliases,
    which Abaco leaves dangling, its nonces and those of its aliases, and its place in configs.
    """
    actor = find_actor(session, identity, actor_id, Level.UPDATE, missing=NO_ACTOR, lock=True)
    actor.status = ActorStatus.SHUTTING_DOWN
    actor.deleted_at = actor.last_update_time = now
    actor.cron_next_at = None
    session.flush()
    session.execute(
        update(Execution)
        .where(
            Execution.actor_id == actor.id,
            Execution.status == ExecutionStatus.SUBMITTED,
            Execution.array_id.is_(None),
        )
        .values(status=ExecutionStatus.ERROR, reason=DELETED, finish_time=now)
        .execution_options(synchronize_session=False)
    )
    of_actor = select(Execution.id).where(Execution.actor_id == actor.id)
    ended = of_actor.where(Execution.status == ExecutionStatus.ERROR)
    for statement in (
        delete(Message).where(Message.execution_id.in_(ended)),
        delete(Log).where(Log.execution_id.in_(of_actor)),
        delete(Permission).where(Permission.actor_id == actor.id),
        delete(Nonce).where(Nonce.actor_id == actor.id),
        delete(Alias).where(Alias.actor_id == actor.id),
        delete(ConfigTarget).where(ConfigTarget.actor_id == actor.id),
    ):
        session.execute(statement.execution_options(synchronize_session=False))
    stopped = session.execute(
        update(Array)
        .where(Array.actor_id == actor.id, Array.status != ArrayStatus.ENDED)
        .values(stop_requested=True)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(stopped, CursorResult)
    return bool(stopped.rowcount)


def _check_link(session: Session, identity: Identity, link: str) -> None:
    """Refuse a link to an actor that the caller may not post to.

    Abaco looks that permission up and ignores it, a way of posting to other people's actors.
    """
    try:
        find_actor(session, identity, link, Level.EXECUTE)
    except (NotFound, PermissionDenied) as error:
        raise InvalidField(
            "Invalid link parameter. The link must be a valid actor id or alias for which you "
            "have EXECUTE permission."
        ) from error


def _request_image(session: Session, cluster: str, tenant: str, text: str, now: datetime) -> Image:
    """Return the row of the image; one that could not be had before is tried again."""
    reference = str(parse_image(text))
    query = select(Image).where(
        Image.cluster == cluster, Image.tenant == tenant, Image.reference == reference
    )
    image = find_or_insert(
        session,
        lambda: session.scalars(query).one_or_none(),
        Image(
            cluster=cluster,
            tenant=tenant,
            reference=reference,
            status=ImageStatus.REQUESTED,
            create_time=now,
        ),
    )
    if image.status is not ImageStatus.REQUESTED:
        # Asked for anew: a tag may have moved, and what failed may work now. What is in the cache
        # under the same digest is not pulled again.
        image.status = ImageStatus.REQUESTED
        image.attempts = 0
        image.next_attempt_at = None
    return image
