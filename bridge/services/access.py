"""Finding an actor for a caller, with the level that the request needs (abaco_contract.md 2.4).

An identifier is looked up; nothing is decided by how it looks. An actor of another tenant, and a
deleted one, does not exist for anybody.
"""

from __future__ import annotations

import re

from sqlalchemy import and_, bindparam, select
from sqlalchemy.orm import Session

from bridge.auth.identity import WORLD, Identity
from bridge.core.statuses import Level
from bridge.db import Actor, Permission
from bridge.errors import NotFound, PermissionDenied

_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")

# Abaco's own texts: one for the actor itself (3.2), one for what is below it (3.3).
NO_ACTOR = "No actor found with identifier: {}."
NO_ACTOR_BELOW = "No actor found with id: {}."

# The actor once for each permission that speaks of the caller, or once with null. A user's own
# entry and that of ABACO_WORLD give the stated level and no more (Appendix B). Made once: putting
# a statement together costs more than sending it.
_QUERY = (
    select(Actor, Permission.level)
    .outerjoin(
        Permission,
        and_(
            Permission.actor_id == Actor.id,
            Permission.username.in_(bindparam("names", expanding=True)),
        ),
    )
    .where(
        Actor.id == bindparam("id"),
        Actor.tenant == bindparam("tenant"),
        Actor.deleted_at.is_(None),
    )
)
_LOCKED = _QUERY.with_for_update(of=Actor)
_SHARED = _QUERY.with_for_update(of=Actor, read=True)


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
    """Return the actor, in one statement.

    Args:
        session: where it is looked up.
        identity: the caller; an admin needs no permission.
        identifier: an actor's id.
        wanted: the level that the request needs.
        missing: the text for an actor that does not exist, with one place for the identifier.
        lock: take the row for changing it (PostgreSQL; on SQLite the transaction has the lock).
        share: keep others from changing the row until the end of the transaction.

    Raises:
        NotFound: there is none in the caller's tenant.
        PermissionDenied: the caller's level is lower.
    """
    query = _SHARED if share else _LOCKED if lock else _QUERY
    sought = {"id": identifier, "tenant": identity.tenant, "names": (identity.username, WORLD)}
    rows = session.execute(query, sought).all() if _ID.match(identifier) else []
    if not rows:
        raise NotFound(missing.format(identifier[:64]))
    levels: list[Level | None] = [level for _, level in rows]
    if not identity.is_admin and not any(level and level.allows(wanted) for level in levels):
        raise PermissionDenied("Not authorized -- you do not have access to this actor.")
    return rows[0][0]
