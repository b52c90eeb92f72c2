"""Finding an actor for a caller, with the level that the request needs (abaco_contract.md 2.4).

An identifier is an actor's id or an alias of the caller's tenant. It is looked up, first as an id;
nothing is decided by how it looks. An actor of another tenant, and a deleted one, does not exist
for anybody. An alias leads to its actor and gives no right on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Select, and_, bindparam, select
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

# The actor once for each permission that speaks of the caller, or once with null. A user's own
# entry and that of ABACO_WORLD give the stated level and no more (Appendix B).
_ACTORS = (
    select(Actor, Permission.level)
    .outerjoin(
        Permission,
        and_(
            Permission.actor_id == Actor.id,
            Permission.username.in_(bindparam("names", expanding=True)),
        ),
    )
    .where(Actor.tenant == bindparam("tenant"), Actor.deleted_at.is_(None))
)
_BY_ID = _ACTORS.where(Actor.id == bindparam("identifier"))
_BY_ALIAS = _ACTORS.join(Alias, Alias.actor_id == Actor.id).where(
    Alias.tenant == bindparam("tenant"), Alias.alias == bindparam("identifier")
)


class _Queries:
    """One way of looking for an actor: only to read it, to keep it, to change it.

    Made once: putting a statement together costs more than sending it.
    """

    def __init__(self, query: Select[Actor, Level]) -> None:
        fresh = query.execution_options(populate_existing=True)  # it may have been read before
        self.plain = query
        self.shared = fresh.with_for_update(of=Actor, read=True)
        self.locked = fresh.with_for_update(of=Actor)


_ID_QUERIES = _Queries(_BY_ID)
_ALIAS_QUERIES = _Queries(_BY_ALIAS)


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
        raise PermissionDenied("Not authorized -- you do not have access to this actor.")
    return actor


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
    sought = {
        "identifier": identifier,
        "tenant": identity.tenant,
        "names": (identity.username, WORLD),
    }
    for queries, is_possible in ((_ID_QUERIES, _ID.match), (_ALIAS_QUERIES, is_name)):
        if not is_possible(identifier):
            continue
        query = queries.shared if share else queries.locked if lock else queries.plain
        rows = session.execute(query, sought).all()
        if rows:
            actor: Actor = rows[0][0]
            return actor, level_on(identity, actor, (level for _, level in rows))
    raise NotFound(missing.format(identifier[:64]))


def level_on(identity: Identity, actor: Actor, entries: Iterable[Level | None]) -> Level:
    """Return the caller's level on `actor`, given the entries that speak of the caller."""
    grant = identity.grant
    is_for = grant is not None and grant.actor_id == actor.id
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
