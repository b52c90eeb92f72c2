"""Logins that users leave for registries: for the images of their own actors, and never shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.auth import Identity, SecretBox
from bridge.core.images import is_registry
from bridge.db import RegistryLogin
from bridge.errors import InvalidField, NotFound, PermissionDenied
from bridge.services.rows import check_room, find_or_insert
from bridge.sites import Site

MAX_PER_USER = 100
MAX_LOGIN = 255
MAX_PASSWORD = 8192  # tokens of some registries are long


def list_logins(session: Session, identity: Identity) -> Sequence[RegistryLogin]:
    """Return the caller's own logins; there are no others, for admins neither."""
    query = select(RegistryLogin).where(
        RegistryLogin.tenant == identity.tenant, RegistryLogin.username == identity.username
    )
    return session.scalars(query.order_by(RegistryLogin.host)).all()


def find_login(session: Session, identity: Identity, host: str) -> RegistryLogin:
    """Return the caller's login for the registry `host`.

    Raises:
        NotFound: there is none.
    """
    row = session.get(RegistryLogin, (identity.tenant, identity.username, host[:256].lower()))
    if row is None:
        raise NotFound(f"No login found for the registry {host[:256]!r}.")
    return row


def leave_login(
    session: Session,
    identity: Identity,
    site: Site,
    box: SecretBox | None,
    host: str,
    login: str,
    password: str,
    now: datetime,
) -> RegistryLogin:
    """Keep a login, in the place of an older one; images that are asked for from now on use it.

    Args:
        session: the transaction.
        identity: the caller, whose login it is.
        site: says whether users may leave some.
        box: the site's keys.
        host: the registry, host[:port], as references have it.
        login: the user's name there.
        password: or a token.
        now: the present moment.

    Raises:
        InvalidField: one of them cannot be, or the site has no keys.
        PermissionDenied: the tenant's users may leave none.
        LimitReached: the caller has too many.
    """
    host = host.lower()
    if not site.tenants[identity.tenant].images.user_logins:
        raise PermissionDenied("Users of your tenant may not leave logins for registries.")
    if box is None:
        raise InvalidField("The site has no key to encrypt passwords with, so it keeps none.")
    if not is_registry(host):
        raise InvalidField(
            f"Invalid registry {host[:100]!r}: expected host[:port], as images have it in front, "
            "such as docker.io or registry.example.org:5000."
        )
    _check(login, "username", MAX_LOGIN)
    _check(password, "password", MAX_PASSWORD)
    if ":" in login:  # HTTP's Basic authentication ends the name there
        raise InvalidField("Invalid registry login: a username has no colon in it.")
    key = (identity.tenant, identity.username, host)
    if session.get(RegistryLogin, key) is None:
        mine = (RegistryLogin.tenant == key[0]) & (RegistryLogin.username == key[1])
        count = select(func.count()).select_from(RegistryLogin).where(mine)
        check_room(session, count, MAX_PER_USER, "You have", "logins for registries")
    fresh = RegistryLogin(
        tenant=key[0], username=key[1], host=host, login=login, password="",
        create_time=now, last_update_time=now,
    )  # fmt: skip
    row = find_or_insert(session, lambda: session.get(RegistryLogin, key), fresh)
    row.login, row.password, row.last_update_time = login, box.encrypt(password), now
    return row


def remove_login(session: Session, identity: Identity, host: str) -> None:
    """Forget a login; images that were pulled with it stay until they are pulled anew.

    Raises:
        NotFound: there is none.
    """
    session.delete(find_login(session, identity, host))


def _check(text: str, name: str, limit: int) -> None:
    """Refuse what no header could carry; the text itself is not repeated."""
    if not 0 < len(text) <= limit or not text.isprintable():
        raise InvalidField(
            f"Invalid registry login: {name} has {len(text)} characters; expected 1 to {limit} "
            "printable characters."
        )
