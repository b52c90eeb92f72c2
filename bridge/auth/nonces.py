"""Nonces as credentials (abaco_contract.md 2.5).

A nonce is bound to one actor, and counts where the URL has that actor's id, or to one alias, and
counts where the URL has that alias. The request then runs as the nonce's owner, with the roles that
the owner had when it was made, judged by what the site file says of them now, and within the bounds
of a `NonceGrant`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, case, select, update
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity, NonceGrant, build_identity
from bridge.core.statuses import Level
from bridge.db import Alias, Database, Nonce
from bridge.errors import AuthenticationError, PermissionDenied
from bridge.sites import Site

_ID = re.compile(r"[A-Za-z0-9-]{1,63}_[A-Za-z0-9]{1,64}\Z")
_UNKNOWN = "Nonce does not exist."
_SPENT = "No remaining uses left for this nonce."

_FIND = (
    select(Nonce, Alias.actor_id)
    .outerjoin(Alias, (Alias.tenant == Nonce.tenant) & (Alias.alias == Nonce.alias))
    .where(Nonce.id == bindparam("nonce_id"))
)
# Counted where it is checked: the database lets no two requests have the same last use.
_nonces = Nonce.__table__.c
_REDEEM = (
    update(Nonce.__table__)  # type: ignore[arg-type]
    .where(_nonces.id == bindparam("nonce_id"), _nonces.remaining_uses != 0)
    .values(
        current_uses=_nonces.current_uses + 1,
        remaining_uses=case(
            (_nonces.remaining_uses > 0, _nonces.remaining_uses - 1), else_=_nonces.remaining_uses
        ),
        last_use_time=bindparam("now"),
    )
)


def redeem_nonce(
    database: Database,
    site: Site,
    nonce_id: str,
    word: str,
    wanted: Level,
    now: datetime,
    *,
    is_alias: bool = False,
) -> Identity:
    """Return whom the nonce stands for, and count its use.

    A refusal counts nothing, and takes no lock: anybody can ask with a nonce made up.

    Args:
        database: where nonces are; the use is committed before the request goes on.
        site: says what the owner's roles mean.
        nonce_id: as it came.
        word: the actor's id or the alias that stands in the URL.
        wanted: the level that the request needs.
        now: noted as the time of its last use.
        is_alias: the URL takes aliases alone.

    Raises:
        AuthenticationError: there is no such nonce for this actor or alias, or it is used up.
        PermissionDenied: its level is lower, or its owner's roles no longer count.
    """
    with database.read() as session:
        identity = _identify(session, site, nonce_id, word, wanted, is_alias=is_alias)
    with database.begin() as session:
        used = session.connection().execute(_REDEEM, {"nonce_id": nonce_id, "now": now}).rowcount
    if used:
        return identity
    with database.read() as session:  # another had its last use meanwhile, or deleted it
        _identify(session, site, nonce_id, word, wanted, is_alias=is_alias)
    raise AuthenticationError(_SPENT)


def _identify(
    session: Session, site: Site, nonce_id: str, word: str, wanted: Level, *, is_alias: bool
) -> Identity:
    row = session.execute(_FIND, {"nonce_id": nonce_id}).first() if _ID.match(nonce_id) else None
    if row is None:
        raise AuthenticationError(_UNKNOWN)
    nonce: Nonce = row[0]
    found = site.tenant(nonce.tenant)
    is_bound = nonce.alias == word or (nonce.actor_id == word and not is_alias)
    if found is None or not is_bound:
        raise AuthenticationError(_UNKNOWN)
    if not nonce.level.allows(wanted):
        raise PermissionDenied("Nonce does not have sufficient permissions level.")
    if nonce.remaining_uses == 0:
        raise AuthenticationError(_SPENT)
    name, tenant = found
    owner = build_identity(name, tenant, nonce.owner, tuple(nonce.roles))
    grant = NonceGrant(nonce.id, nonce.level, nonce.actor_id or row[1], nonce.alias)
    return replace(owner, grant=grant)
