"""Aliases: names for actors, unique in their tenant (abaco_contract.md 3.11).

Rights on an alias and on its actor are apart: an alias leads to its actor and gives no right there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import and_, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.auth.identity import WORLD, Identity
from bridge.core.names import check_alias, is_name
from bridge.core.statuses import Level
from bridge.db import Actor, Alias, AliasPermission, Database
from bridge.errors import Conflict, InvalidField, NotFound, PermissionDenied
from bridge.services.access import bounded, find_actor, highest
from bridge.services.permissions import set_permission
from bridge.services.rows import check_room, list_in_pages

MAX_PER_ACTOR = 100
PAGE = 1000


def find_alias(
    session: Session,
    identity: Identity,
    alias: str,
    wanted: Level,
    *,
    noun: str = "alias",
    lock: bool = False,
    share: bool = False,
) -> Alias:
    """Return the alias.

    Args:
        session: where it is looked up.
        identity: the caller; an admin needs no permission.
        alias: the name.
        wanted: the level on the alias that the request needs.
        noun: what the caller is told to have no access to.
        lock: take the row for changing it.
        share: keep others from changing the row until the end of the transaction.

    Raises:
        NotFound: there is none in the caller's tenant.
        PermissionDenied: the caller's level on it is lower.
    """
    query = (
        select(Alias, AliasPermission.level)
        .outerjoin(
            AliasPermission,
            and_(
                AliasPermission.tenant == Alias.tenant,
                AliasPermission.alias == Alias.alias,
                AliasPermission.username.in_((identity.username, WORLD)),
            ),
        )
        .where(Alias.tenant == identity.tenant, Alias.alias == alias)
        .execution_options(populate_existing=lock or share)
    )
    if lock or share:
        query = query.with_for_update(of=Alias, read=share)
    rows = session.execute(query).all() if is_name(alias) else []
    if not rows:
        raise NotFound(f"No alias found: {alias[:64]}.")
    found: Alias = rows[0][0]
    grant = identity.grant
    held = bounded(
        identity,
        highest(identity, (level for _, level in rows)),
        is_for=grant is not None and grant.alias == found.alias,
    )
    if not held.allows(wanted):
        raise PermissionDenied(f"Not authorized -- you do not have access to this {noun}.")
    return found


def list_aliases(
    database: Database, identity: Identity, *, limit: int | None = None, skip: int = 0
) -> Iterator[Sequence[Alias]]:
    """Give the tenant's aliases by name, page by page: all of them, since names are no secret."""
    query = select(Alias).where(Alias.tenant == identity.tenant)
    return list_in_pages(database, query, Alias.alias, PAGE, limit=limit, skip=skip)


def create_alias(
    session: Session, identity: Identity, alias: str, actor_identifier: str, now: datetime
) -> Alias:
    """Return the new alias for an actor, on which its creator has UPDATE.

    Raises:
        InvalidField: no alias can be called that, or an actor of the tenant has, or had, this id.
        NotFound: there is no such actor.
        PermissionDenied: the caller has no UPDATE on the actor.
        Conflict: the tenant has this alias already.
        LimitReached: the actor has as many as it may have.
    """
    # Also a deleted actor's id: whoever still posts to it must not reach somebody else.
    same = select(Actor.id).where(Actor.tenant == identity.tenant, Actor.id == alias)
    if is_name(alias) and session.scalars(same).first() is not None:
        raise InvalidField("Invalid alias description. Alias cannot be an Abaco hash id.")
    check_alias(alias)
    actor = find_actor(session, identity, actor_identifier, Level.UPDATE, share=True)
    _check_room(session, actor)
    row = Alias(
        tenant=identity.tenant,
        alias=alias,
        actor_id=actor.id,
        owner=identity.username,
        create_time=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise Conflict(f"Alias {alias} already exists.") from error
    set_permission(session, row, identity.username, Level.UPDATE)
    return row


def update_alias(session: Session, identity: Identity, alias: str, actor_identifier: str) -> Alias:
    """Point the alias at another actor; the caller gets UPDATE on the alias, its owner stays.

    Raises:
        NotFound: there is no such alias, or no such actor.
        PermissionDenied: the caller has no UPDATE on one of them; Abaco's text for each.
        LimitReached: the actor has as many as it may have.
    """
    find_alias(session, identity, alias, Level.UPDATE)
    try:
        # Before the alias's row: in this order nobody waits for who waits for them.
        actor = find_actor(session, identity, actor_identifier, Level.UPDATE, share=True)
    except PermissionDenied as error:
        raise PermissionDenied(
            "Not authorized -- you do not have UPDATE access to the actor you want to associate "
            "with this alias."
        ) from error
    row = find_alias(session, identity, alias, Level.UPDATE, lock=True)
    if row.actor_id != actor.id:
        _check_room(session, actor)
        row.actor_id = actor.id
    set_permission(session, row, identity.username, Level.UPDATE)
    return row


def delete_alias(session: Session, identity: Identity, alias: str) -> None:
    """Remove the alias, its permissions, its nonces and its places in configs.

    Raises:
        As `find_alias`.
    """
    session.delete(find_alias(session, identity, alias, Level.UPDATE, lock=True))


def _check_room(session: Session, actor: Actor) -> None:
    count = select(func.count()).where(Alias.actor_id == actor.id)
    check_room(session, count, MAX_PER_ACTOR, f"Actor {actor.id} has", "aliases")
