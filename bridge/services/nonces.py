"""Nonces: make, list, take back (abaco_contract.md 3.10, 3.11). Redeeming is bridge.auth.nonces.

A nonce is a credential of its owner's, so its id is not for everybody who may read the actor, as
it is in Abaco, where a READ permission is enough to list, and then use, another's UPDATE nonce.
Shown are one's own; those of all to whoever has UPDATE, who may have to take them back; and to a
request that itself came with a nonce of a lower level than UPDATE, that nonce alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, CursorResult, delete, func, select
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.ids import new_nonce_id
from bridge.core.statuses import Level
from bridge.db import Actor, Nonce
from bridge.errors import InvalidField, PermissionDenied
from bridge.services.access import find_with_level
from bridge.services.aliases import find_alias
from bridge.services.rows import check_room

UNLIMITED = -1
MAX_NONCES = 1000


@dataclass(frozen=True)
class NonceDescription:
    """A nonce as it was asked for; `max_uses` is -1 where there is no limit."""

    level: Level = Level.EXECUTE
    max_uses: int = UNLIMITED
    description: str = ""


@dataclass(frozen=True)
class Subject:
    """What nonces are for: an actor, or an alias and the actor to which it points now.

    Attributes:
        actor: the actor.
        alias: the alias, or None.
        level: the caller's level; on both, where there are two.
    """

    actor: Actor
    alias: str | None
    level: Level


def find_subject(
    session: Session,
    identity: Identity,
    word: str,
    wanted: Level,
    *,
    is_alias: bool,
    share: bool = False,
) -> Subject:
    """Return what `word` names.

    Args:
        session: where it is looked up.
        identity: the caller.
        word: an actor's id or an alias of it; with `is_alias` an alias, itself the subject.
        wanted: the level that is needed: on the actor, and on the alias where that is the subject.
        is_alias: the nonces are the alias's.
        share: keep both from being deleted until the end of the transaction.

    Raises:
        NotFound: there is no such actor or alias.
        PermissionDenied: the caller's level is lower, on one of them.
    """
    noun = "alias and actor" if is_alias else "actor"
    if is_alias:
        find_alias(session, identity, word, wanted, noun=noun)
    actor, level = find_with_level(session, identity, word, share=share)
    if not level.allows(wanted):
        raise PermissionDenied(f"Not authorized -- you do not have access to this {noun}.")
    if is_alias and share:  # the actor is held first, as everybody does who holds both
        find_alias(session, identity, word, wanted, noun=noun, share=True)
    return Subject(actor, word if is_alias else None, level)


def create_nonce(
    session: Session,
    identity: Identity,
    subject: Subject,
    description: NonceDescription,
    now: datetime,
) -> Nonce:
    """Return the new nonce, of the caller and with the caller's roles.

    Raises:
        LimitReached: the actor or alias has too many.
    """
    count = select(func.count()).where(*_of(subject))
    whose = f"Alias {subject.alias} has" if subject.alias else f"Actor {subject.actor.id} has"
    check_room(session, count, MAX_NONCES, whose, "nonces")
    nonce = Nonce(
        id=new_nonce_id(identity.tenant),
        tenant=identity.tenant,
        actor_id=None if subject.alias else subject.actor.id,
        alias=subject.alias,
        owner=identity.username,
        roles=list(identity.roles),
        level=description.level,
        description=description.description,
        max_uses=description.max_uses,
        current_uses=0,
        remaining_uses=description.max_uses,
        create_time=now,
    )
    session.add(nonce)
    session.flush()
    return nonce


def list_nonces(
    session: Session,
    identity: Identity,
    subject: Subject,
    *,
    limit: int | None = None,
    skip: int = 0,
) -> Sequence[Nonce]:
    """Return the nonces that the caller may see, oldest first."""
    query = (
        select(Nonce)
        .where(*_of(subject), *_visible(identity, subject))
        .order_by(Nonce.create_time, Nonce.id)
        .offset(skip)
        .limit(limit)
    )
    return session.scalars(query).all()


def find_nonce(session: Session, identity: Identity, subject: Subject, nonce_id: str) -> Nonce:
    """Return one of those that the caller may see.

    Raises:
        InvalidField: there is none; Abaco answers 400.
    """
    query = select(Nonce).where(*_of(subject), *_visible(identity, subject))
    nonce = None
    if nonce_id.isprintable():
        nonce = session.scalars(query.where(Nonce.id == nonce_id)).one_or_none()
    if nonce is None:
        raise InvalidField("Nonce not found.")
    return nonce


def delete_nonce(session: Session, subject: Subject, nonce_id: str) -> None:
    """Take the nonce back; a request with it that is under way goes on.

    Raises:
        InvalidField: there is none. Abaco answers 500 (Appendix B).
    """
    deleted = 0
    if nonce_id.isprintable():
        done = session.execute(delete(Nonce).where(*_of(subject), Nonce.id == nonce_id))
        assert isinstance(done, CursorResult)
        deleted = done.rowcount
    if not deleted:
        raise InvalidField("Nonce not found.")


def _of(subject: Subject) -> tuple[ColumnElement[bool], ...]:
    if subject.alias is None:
        return (Nonce.actor_id == subject.actor.id,)
    return Nonce.tenant == subject.actor.tenant, Nonce.alias == subject.alias


def _visible(identity: Identity, subject: Subject) -> tuple[ColumnElement[bool], ...]:
    """Return what keeps others' credentials from a caller who cannot take them back."""
    if subject.level is Level.UPDATE:
        return ()
    if identity.grant is not None:
        return (Nonce.id == identity.grant.nonce_id,)
    return (Nonce.owner == identity.username,)
