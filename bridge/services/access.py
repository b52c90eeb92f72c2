"""Finding an actor for a caller, with the level that the request needs (abaco_contract.md 2.4).

An identifier is an actor's id or an alias of the caller's tenant. It is looked up, first as an id;
nothing is decided by how it looks. An actor of another tenant, and a deleted one, does not exist
for anybody. An alias leads to its actor and gives no right on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from bridge.auth.identity import WORLD, Identity
from bridge.core.names import is_name
from bridge.core.statuses import Level
from bridge.db import Actor, Alias, Permission
from bridge.errors import NotFound, PermissionDenied

_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")

# Abaco's own texts: one for the actor itself (3.2), one for what is below it (3.3).
NO_ACTOR = "No actor found with identifier: {}."
NO_ACTOR_BELOW = "No actor found with id: {}."


class _Queries:
    """One way of looking for an actor: only to read it, to keep it, to change it.

    What is asked for comes once for each permission that speaks of the caller, or once with null. A
    user's own entry and that of ABACO_WORLD give the stated level and no more (Appendix B). Made
    once: putting a statement together costs more than sending it.
    """

    def __init__(self, query: Select[Any], *, keep_key: bool = False) -> None:
        fresh = query.execution_options(populate_existing=True)  # it may have been read before
        self.plain = query
        self.shared = fresh.with_for_update(of=Actor, read=True, key_share=keep_key)
        self.locked = fresh.with_for_update(of=Actor)


def _actors(*what: Any) -> Select[Any]:
    return (
        select(*what, Permission.level)
        .select_from(Actor)
        .outerjoin(
            Permission,
            and_(
                Permission.actor_id == Actor.id,
                or_(Permission.username == bindparam("username"), Permission.username == WORLD),
            ),
        )
        .where(Actor.tenant == bindparam("tenant"), Actor.deleted_at.is_(None))
    )


def _by_id(query: Select[Any]) -> Select[Any]:
    return query.where(Actor.id == bindparam("identifier"))


def _by_alias(query: Select[Any]) -> Select[Any]:
    return query.join(Alias, Alias.actor_id == Actor.id).where(
        Alias.tenant == bindparam("tenant"), Alias.alias == bindparam("identifier")
    )


_ID_QUERIES = _Queries(_by_id(_actors(Actor)))
_ALIAS_QUERIES = _Queries(_by_alias(_actors(Actor)))
_TARGETS = _actors(Actor.id, Actor.tenant, Actor.owner, Actor.revision, Actor.run_as_executor)
# A message refers to its actor, which keeps the key anyway. Any more would wait for what else
# changes in the row.
_ID_TARGETS = _Queries(_by_id(_TARGETS), keep_key=True)
_ALIAS_TARGETS = _Queries(_by_alias(_TARGETS), keep_key=True)


@dataclass(frozen=True, slots=True)
class Target:
    """What a message needs to know of its actor: a fraction of the cost of all of it."""

    id: str
    tenant: str
    owner: str
    revision: int
    run_as_executor: bool


def find_actor(
    session: Session,
    identity: Identity,
    identifier: str,
    wanted: Level,
    *,
    missing: str = NO_ACTOR_BELOW,
    lock: bool = False,
    share: bool = False,
) -> Actor:
    """Return the actor; in one statement where it is addressed by its id.

    Args:
        session: where it is looked up.
        identity: the caller; an admin needs no permission.
        identifier: an actor's id, or an alias.
        wanted: the level that the request needs.
        missing: the text for an actor that does not exist, with one place for the identifier.
        lock: take the row for changing it (PostgreSQL; on SQLite the transaction has the lock).
        share: keep others from changing the row until the end of the transaction.

    Raises:
        NotFound: there is none in the caller's tenant.
        PermissionDenied: the caller's level is lower.
    """
    actor, level = find_with_level(
        session, identity, identifier, missing=missing, lock=lock, share=share
    )
    if not level.allows(wanted):
        raise _denied()
    return actor


def find_target(
    session: Session, identity: Identity, identifier: str, wanted: Level, *, lock: bool = False
) -> Target:
    """Return what a message needs to know of its actor, and keep the actor from being deleted.

    As `find_actor` with `share`, or with `lock`; other changes of the actor are not kept out by
    the former.

    Raises:
        NotFound: there is none in the caller's tenant.
        PermissionDenied: the caller's level is lower.
    """
    sought = _sought(identity, identifier)
    for queries, is_possible in ((_ID_TARGETS, _ID.match), (_ALIAS_TARGETS, is_name)):
        if not is_possible(identifier):
            continue
        query = queries.locked if lock else queries.shared
        rows = session.connection().execute(query, sought).all()
        if rows:
            target = Target(*rows[0][:-1])
            if not level_on(identity, target.id, (row[-1] for row in rows)).allows(wanted):
                raise _denied()
            return target
    raise NotFound(NO_ACTOR_BELOW.format(identifier[:64]))


def find_with_level(
    session: Session,
    identity: Identity,
    identifier: str,
    *,
    missing: str = NO_ACTOR_BELOW,
    lock: bool = False,
    share: bool = False,
) -> tuple[Actor, Level]:
    """Return the actor and the caller's level on it; as `find_actor`, for those who ask more.

    Raises:
        NotFound: there is none in the caller's tenant.
    """
    sought = _sought(identity, identifier)
    for queries, is_possible in ((_ID_QUERIES, _ID.match), (_ALIAS_QUERIES, is_name)):
        if not is_possible(identifier):
            continue
        query = queries.shared if share else queries.locked if lock else queries.plain
        rows = session.execute(query, sought).all()
        if rows:
            actor: Actor = rows[0][0]
            return actor, level_on(identity, actor.id, (level for _, level in rows))
    raise NotFound(missing.format(identifier[:64]))


def _sought(identity: Identity, identifier: str) -> dict[str, Any]:
    return {
        "identifier": identifier,
        "tenant": identity.tenant,
        "username": identity.username,
    }


def _denied() -> PermissionDenied:
    return PermissionDenied("Not authorized -- you do not have access to this actor.")


def level_on(identity: Identity, actor_id: str, entries: Iterable[Level | None]) -> Level:
    """Return the caller's level on an actor, given the entries that speak of the caller."""
    grant = identity.grant
    is_for = grant is not None and grant.actor_id == actor_id
    return bounded(identity, highest(identity, entries), is_for=is_for)


def highest(identity: Identity, entries: Iterable[Level | None]) -> Level:
    """Return the highest of the entries that speak of the caller; an admin has every right."""
    if identity.is_admin:
        return Level.UPDATE
    held = (level for level in entries if level)
    return max(held, key=lambda level: level.rank, default=Level.NONE)


def bounded(identity: Identity, held: Level, *, is_for: bool) -> Level:
    """Return what is left of `held` where the caller came with a nonce: at most its own level.

    `is_for` says whether that nonce is for the thing in question; on others it gives nothing.
    """
    if identity.grant is None:
        return held
    return min(held, identity.grant.level, key=lambda level: level.rank) if is_for else Level.NONE
