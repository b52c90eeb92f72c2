"""Links between actors: whom an actor's events go to, and that they never go round in a circle.

An actor has at most one link, so what follows from it is a chain. Links and aliases are resolved as
they are at this moment: whoever points an alias elsewhere later may still close a circle, so
delivery has a bound of its own.
"""

from __future__ import annotations

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.statuses import Level
from bridge.db import Actor, Alias
from bridge.errors import InvalidField, NotFound, PermissionDenied
from bridge.services.access import find_actor

MAX_CHAIN = 100


def find_link(session: Session, identity: Identity, link: str) -> Actor:
    """Return the actor that `link`, an id or an alias, is to.

    Raises:
        InvalidField: there is none that the caller may post to. Abaco looks that permission up and
            ignores it, a way of posting to other people's actors.
    """
    try:
        return find_actor(session, identity, link, Level.EXECUTE)
    except (NotFound, PermissionDenied) as error:
        raise InvalidField(
            "Invalid link parameter. The link must be a valid actor id or alias for which you "
            "have EXECUTE permission."
        ) from error


def lock_links(session: Session, tenant: str) -> None:
    """Let nobody else change a link in this tenant until the end of the transaction.

    Two updates that each look at what the other has not yet committed could close a circle
    together. To be called before any row is locked; on SQLite the transaction has the only lock.
    """
    if session.get_bind().dialect.name == "postgresql":
        name = f"abaco-bridge links {tenant}"
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def check_no_cycle(session: Session, actor: Actor, target: Actor) -> None:
    """Refuse a link from `actor` to `target` that would lead back to `actor`.

    Raises:
        InvalidField: it is to itself, closes a circle, or begins a chain of more than a hundred.
    """
    if target.id == actor.id:
        raise InvalidField("Invalid link parameter. An actor cannot link to itself.")
    seen = {target.id}
    link = target.link
    while link:
        row = _follow(session, actor.tenant, link)
        if row is None or row[0] in seen:
            return  # to nobody, or into a circle of others that an alias has closed
        if row[0] == actor.id:
            raise InvalidField("Error: this update would result in a cycle of linked actors.")
        if len(seen) == MAX_CHAIN:
            raise InvalidField(
                f"Invalid link parameter. The chain of linked actors that begins there is longer "
                f"than {MAX_CHAIN}."
            )
        seen.add(row[0])
        link = row[1]


def _follow(session: Session, tenant: str, link: str) -> tuple[str, str] | None:
    """Return the id and the link of the actor that `link` is to; an id comes before an alias."""
    aliased = select(Alias.actor_id).where(Alias.tenant == tenant, Alias.alias == link)
    row = session.execute(
        select(Actor.id, Actor.link)
        .where(
            Actor.tenant == tenant,
            Actor.deleted_at.is_(None),
            or_(Actor.id == link, Actor.id.in_(aliased)),
        )
        .order_by(Actor.id != link)
        .limit(1)
    ).first()
    return None if row is None else (row[0], row[1])
