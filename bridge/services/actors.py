"""Actors: register, list, update (abaco_contract.md 3.1, 3.2, 4.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, exists, or_, select, update
from sqlalchemy.orm import Session

from bridge.auth.identity import WORLD, Identity
from bridge.core.actors import ActorDescription, ActorUpdate
from bridge.core.cron import parse_cron
from bridge.core.ids import new_id
from bridge.core.images import parse_image
from bridge.core.statuses import ActorStatus, ArrayStatus, ImageStatus, Level
from bridge.db import (
    Actor,
    Array,
    Database,
    Image,
    Permission,
)
from bridge.errors import InvalidField, PermissionDenied
from bridge.services.access import NO_ACTOR, find_actor
from bridge.services.accounts import Account
from bridge.services.batch import check_batch, cluster_of, rules_of
from bridge.services.images import check_reference, image_owner
from bridge.services.links import check_no_cycle, find_link, lock_links
from bridge.services.logins import Person
from bridge.services.mounts import mounts_of
from bridge.services.rows import find_or_insert
from bridge.sites import Site
from bridge.sites.images import ImagePolicy

PAGE = 50  # actors that are in memory at once

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


def check_site(description: ActorDescription, site: Site, tenant_name: str) -> None:
    """Refuse what this site does not offer, before anybody is asked about the user.

    Raises:
        InvalidField: the queue is unknown, the tenant's actors cannot run as executors, or Slurm
            is asked for more than its tenant or cluster allows.
    """
    tenant = site.tenants[tenant_name]
    if description.queue and description.queue not in site.queues:
        raise InvalidField(
            f"Invalid actor description: Invalid queue name. Got {description.queue[:64]!r}, "
            f"expected one of: {', '.join(site.queues)}."
        )
    if description.run_as_executor and not tenant.run_as_executor:
        raise InvalidField("run_as_executor isn't supported for your tenant")
    if description.batch:
        cluster = cluster_of(tenant, description.batch)
        check_batch(description.batch, rules_of(site, tenant_name, cluster))


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
        InvalidField: the link is to no actor that the caller may post to, the cron schedule cannot
            be kept, or a mount has no place for this user.
    """
    if description.link:
        find_link(session, identity, description.link)
    tenant = site.tenants[identity.tenant]
    cluster = cluster_of(tenant, description.batch)
    policy = tenant.images
    image = _request_image(session, policy, identity, identity.username, cluster, description, now)
    cron = parse_cron(description.cron_schedule, now) if description.cron_schedule else None
    person = Person(cluster, identity.tenant, identity.username)
    actor = Actor(
        id=new_id(),
        tenant=identity.tenant,
        owner=identity.username,
        cluster=cluster,
        image_id=image.id,
        name=description.name,
        status=ActorStatus.SUBMITTED,
        cron_on=cron is not None,
        cron_start_at=cron.start if cron else None,
        cron_next_at=cron.start if cron else None,
        create_time=now,
        last_update_time=now,
        **_described(description, site, person, account),
    )
    session.add(actor)
    session.flush()
    session.add(Permission(actor_id=actor.id, username=identity.username, level=Level.UPDATE))
    return actor


def update_actor(
    session: Session,
    identity: Identity,
    site: Site,
    actor_id: str,
    change: ActorUpdate,
    account: Account,
    now: datetime,
) -> Actor:
    """Return the actor with its description replaced as a whole.

    Kept are its id, name, owner and time of creation, and its state, which Abaco wipes (Appendix
    B). Another image, or `force`, begins a new revision. What waits runs on the revision of that
    moment; arrays that carry what has changed take nothing more (`drain_requested`).

    Args:
        session: the transaction.
        identity: the caller, who needs UPDATE and then has it in an entry of their own.
        site: the site.
        actor_id: which actor.
        change: what a PUT asked for.
        account: the owner's, whoever the caller is.
        now: the present moment.

    Raises:
        InvalidField: as for `register_actor`; or a stateful actor would become stateless, or the
            links would close a circle.
    """
    if change.link:
        lock_links(session, identity.tenant)
    actor = find_actor(session, identity, actor_id, Level.UPDATE, missing=NO_ACTOR, lock=True)
    if change.stateless and not actor.stateless:
        raise InvalidField(
            "Invalid actor description: an actor that was not stateless cannot be updated to be "
            "stateless."
        )
    if change.link:
        check_no_cycle(session, actor, find_link(session, identity, change.link))
    cluster = cluster_of(site.tenants[actor.tenant], change.batch)
    renewed = change.force or (change.image, cluster) != (actor.image, actor.cluster)
    # Others are to run it, who cannot read an image that is the owner's alone.
    renewed = renewed or (change.run_as_executor and actor.image_row.owner != "")
    described = _described(change, site, Person(cluster, actor.tenant, actor.owner), account)
    changed = {name for name, value in described.items() if value != getattr(actor, name)}
    if renewed:
        policy = site.tenants[actor.tenant].images
        image = _request_image(session, policy, identity, actor.owner, cluster, change, now)
        actor.image_id, actor.cluster = image.id, cluster
        actor.revision += 1
        actor.status, actor.status_message = ActorStatus.SUBMITTED, ""
    if "cron_schedule" in changed:  # one that stays keeps its next time, though its start is past
        start = parse_cron(change.cron_schedule, now).start if change.cron_schedule else None
        actor.cron_start_at = actor.cron_next_at = start
    actor.cron_on = change.cron_on
    for name, value in described.items():
        setattr(actor, name, value)
    actor.last_update_time = now
    session.flush()
    if renewed or changed & _CARRIED:
        _drain(session, actor)
    if identity.username != actor.owner:
        _give_update(session, actor, identity.username)
    return actor


def _described(
    description: ActorDescription, site: Site, owner: Person, account: Account
) -> dict[str, Any]:
    """Return the columns that a description decides on, for a new actor and for an update."""
    token, default = description.token, site.tenants[owner.tenant].default_token
    return {
        "image": description.image,
        "description": description.description,
        "stateless": description.stateless,
        "type": description.type,
        "link": description.link,
        "webhook": description.webhook,
        "hints": description.hints,
        "token": token if token is not None else str(default).lower(),
        "privileged": description.privileged,
        "use_container_uid": description.use_container_uid,
        "run_as_executor": description.run_as_executor,
        "batch": description.batch,
        "default_environment": description.default_environment,
        "mounts": mounts_of(site, owner, account, account.paths),
        "max_workers": description.max_workers,
        "mem_limit": description.mem_limit,
        "max_cpus": description.max_cpus,
        "queue": description.queue or "default",
        "uid": account.uid,
        "gid": account.gid,
        "log_ex": description.log_ex,
        "cron_schedule": description.cron_schedule or None,
    }


# Columns of which something is in the arrays that run.
_CARRIED = {
    "stateless",
    "token",
    "privileged",
    "use_container_uid",
    "run_as_executor",
    "batch",
    "default_environment",
    "mounts",
    "max_workers",
    "mem_limit",
    "max_cpus",
    "queue",
    "uid",
    "gid",
}


def _drain(session: Session, actor: Actor) -> None:
    """Let the workers of the actor take nothing more; what runs concludes."""
    session.execute(
        update(Array)
        .where(Array.actor_id == actor.id, Array.status != ArrayStatus.ENDED)
        .values(drain_requested=True)
        .execution_options(synchronize_session=False)
    )


def _give_update(session: Session, actor: Actor, username: str) -> None:
    row = find_or_insert(
        session,
        lambda: session.get(Permission, (actor.id, username)),
        Permission(actor_id=actor.id, username=username, level=Level.UPDATE),
    )
    row.level = Level.UPDATE


def list_actors(
    database: Database, identity: Identity, *, limit: int | None = None, skip: int = 0
) -> Iterator[Sequence[Actor]]:
    """Give the actors that the caller, or everybody, may read, oldest first, page by page.

    For admins too: being allowed everything is not a permission entry (abaco_contract.md 0.13).
    An actor may be a megabyte, so a page has few, and no transaction is open between two.
    """
    query = (
        select(Actor)
        .where(
            Actor.tenant == identity.tenant,
            Actor.deleted_at.is_(None),
            exists().where(
                Permission.actor_id == Actor.id,
                Permission.username.in_((identity.username, WORLD)),
                Permission.level != Level.NONE,
            ),
        )
        .order_by(Actor.create_time, Actor.id)
    )
    page = query.offset(skip)
    left = limit
    while left is None or left > 0:
        with database.read() as session:
            actors = session.scalars(page.limit(PAGE if left is None else min(PAGE, left))).all()
        if not actors:
            return
        yield actors
        last = actors[-1]
        same = and_(Actor.create_time == last.create_time, Actor.id > last.id)
        page = query.where(or_(Actor.create_time > last.create_time, same))
        left = None if left is None else left - len(actors)


def _request_image(
    session: Session,
    policy: ImagePolicy,
    identity: Identity,
    owner: str,
    cluster: str,
    description: ActorDescription,
    now: datetime,
) -> Image:
    """Return the row of the image; one that could not be had before is tried again.

    An actor that runs as whoever posts to it gets none that is its owner's alone: the others could
    not read it.

    Raises:
        ImageRefused: the tenant's actors may not use it.
    """
    found = parse_image(description.image)
    check_reference(policy, found)
    reference = str(found)
    whose = ""
    if not description.run_as_executor:
        whose = image_owner(session, policy, identity.tenant, owner, found)
    query = select(Image).where(
        Image.cluster == cluster,
        Image.tenant == identity.tenant,
        Image.owner == whose,
        Image.reference == reference,
    )
    image = find_or_insert(
        session,
        lambda: session.scalars(query).one_or_none(),
        Image(
            cluster=cluster,
            tenant=identity.tenant,
            owner=whose,
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
