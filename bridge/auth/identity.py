"""The caller of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.core.statuses import Level
from bridge.errors import AuthenticationError, PermissionDenied
from bridge.sites import Tenant

EVERYONE = "Internal/everyone"
LIMITED = "Internal/abaco-limited"
# The entry in an actor's permissions that stands for every user of the tenant.
WORLD = "ABACO_WORLD"

# What useradd(8) takes, and capitals and dots, which site directories have. It starts paths
# ({username} in mounts and spools) and nothing that looks like a path or an option gets through.
_USERNAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")


@dataclass(frozen=True)
class NonceGrant:
    """What a nonce gives of its owner's rights: a level on one actor, and nothing elsewhere.

    Attributes:
        nonce_id: the nonce; a credential, never shown.
        level: the highest that it gives, also where its owner is an admin.
        actor_id: the actor that it is for, or to which its alias pointed when it was redeemed.
        alias: the alias that it is for, or None.
    """

    nonce_id: str = field(repr=False)
    level: Level
    actor_id: str
    alias: str | None = None


@dataclass(frozen=True)
class Identity:
    """A user of a tenant, with what their roles mean there.

    Attributes:
        tenant: the tenant's name as the site file spells it.
        username: the user's name, also on the cluster.
        roles: as the token gives them.
        is_admin: has every right in the tenant.
        is_privileged: may set an actor's restricted fields; an admin may too.
        jwt_header_name: the header that carried the token, in title case, where it was Abaco's
            own form; otherwise empty.
        claimed: what the token says of the user's account on a cluster, where the tenant is
            believed that: `login`, `uid`, `gid`, `groups`, each or none.
        grant: the bounds of the nonce that the request came with, or None: it came with a token.
    """

    tenant: str
    username: str
    roles: tuple[str, ...]
    is_admin: bool = False
    is_privileged: bool = False
    jwt_header_name: str = ""
    claimed: Mapping[str, Any] | None = None
    grant: NonceGrant | None = None


def build_identity(
    name: str, tenant: Tenant, username: str, roles: tuple[str, ...], jwt_header_name: str = ""
) -> Identity:
    """Return the identity of `username` in the tenant called `name`.

    Raises:
        AuthenticationError: the username is none that a Unix system would have.
        PermissionDenied: no role of the user counts here.

    Source: abaco_contract.md 2.3.
    """
    check_username(username)
    known = {tenant.user_role, LIMITED, tenant.admin_role, tenant.privileged_role}
    if not known.intersection(roles):
        raise PermissionDenied("Not authorized -- missing required role.")
    is_admin = tenant.admin_role in roles
    return Identity(
        tenant=name,
        username=username,
        roles=roles,
        is_admin=is_admin,
        is_privileged=is_admin or tenant.privileged_role in roles,
        jwt_header_name=jwt_header_name,
    )


def check_username(username: str) -> None:
    """Refuse a name that could not be a Unix login, or that means something else here.

    Raises:
        AuthenticationError: says the name and what is expected.
    """
    if not _USERNAME.match(username) or username == WORLD:
        raise AuthenticationError(
            f"Invalid JWT. The username {username[:64]!r} is not a Unix login name: expected up to "
            "32 letters, digits, '_', '.' or '-', starting with a letter or '_'."
        )
