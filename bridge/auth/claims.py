"""What a token's claims say, in the words that the site file gives for the tenant.

WSO2's and Tapis's by default (abaco_contract.md 2.2, section 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.auth.identity import EVERYONE
from bridge.core.accounts import is_login
from bridge.errors import AuthenticationError
from bridge.sites import Site, Tenant
from bridge.sites.identity import Claims

_MAX_ID = 2**31 - 1
_MAX_ROLES = 1000


def username_of(claims: Mapping[str, Any], names: Claims) -> str:
    """Return the username, up to its first ``@``.

    Raises:
        AuthenticationError: the token names no user.
    """
    for claim in names.username:
        value = claims.get(claim)
        if isinstance(value, str) and value:
            return value.split("@", 1)[0]
    raise AuthenticationError(
        f"Invalid JWT. It names no user: expected the claim {' or '.join(names.username)}."
    )


def roles_of(claims: Mapping[str, Any], names: Claims) -> tuple[str, ...]:
    """Return the roles; a token without any has the one that everybody has.

    Raises:
        AuthenticationError: the claim is neither a text nor a list of texts.
    """
    found = [claims[claim] for claim in names.roles if claims.get(claim) is not None]
    value = found[0] if found else ""
    roles = value.split(",") if isinstance(value, str) else value
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise AuthenticationError("Invalid JWT. Its roles are neither a text nor a list of texts.")
    return tuple(role for role in roles if role)[:_MAX_ROLES] or (EVERYONE,)


def named_tenants(claims: Mapping[str, Any], names: Claims) -> list[str]:
    """Return what the token calls its tenant, once for each claim that does.

    Raises:
        AuthenticationError: a claim is there and is no name.
    """
    found = []
    for claim in names.tenant:
        value = claims.get(claim)
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            raise AuthenticationError(f"Invalid JWT. Its claim {claim} is not a name.")
        found.append(value)
    return found


def find_tenant(claims: Mapping[str, Any], site: Site) -> tuple[str, Tenant]:
    """Return the tenant that a token is of, by its claims or else by its issuer.

    It is not believed yet: that tenant's keys have to verify the token, and it must name no other.

    Raises:
        AuthenticationError: it names none that there is.
    """
    said = None
    for tenant in site.tenants.values():
        for value in named_tenants(claims, tenant.claims):
            said = said or value
            found = site.tenant(value)
            if found is not None and value in named_tenants(claims, found[1].claims):
                return found
    if said is not None:
        raise AuthenticationError(f"Invalid JWT. There is no tenant {said[:64]!r} here.")
    issuer = claims.get("iss")
    issued = [
        (name, tenant)
        for name, tenant in site.tenants.items()
        if tenant.issuer is not None and tenant.issuer == issuer
    ]
    if len(issued) == 1:
        return issued[0]
    expected = dict.fromkeys(claim for t in site.tenants.values() for claim in t.claims.tenant)
    raise AuthenticationError(
        f"Invalid JWT. It names no tenant: expected the claim {' or '.join(expected)}, or the "
        "token in a header X-Jwt-Assertion-<TENANT>."
    )


def account_of(claims: Mapping[str, Any], tenant: Tenant) -> dict[str, Any] | None:
    """Return what the token says of the user's account, where the tenant is believed that.

    ``login``, ``uid``, ``gid`` and ``groups``, each or none; None where nothing is said.

    Raises:
        AuthenticationError: a claim is there and is no such thing.
    """
    if tenant.accounts != "claims":
        return None
    names = tenant.claims
    said = {
        key: claims.get(claim) if claim is not None else None
        for key, claim in (
            ("login", names.login),
            ("uid", names.uid),
            ("gid", names.gid),
            ("groups", names.groups),
        )
    }
    if all(value is None for value in said.values()):
        return None
    if said["login"] is None and names.login is not None:
        raise AuthenticationError(f"Invalid JWT. It names no account: expected {names.login}.")
    for key, value in said.items():
        numbers = value if key == "groups" else [value]
        is_good = (
            isinstance(value, str) and is_login(value)
            if key == "login"
            else isinstance(numbers, list) and all(map(_is_id, numbers))
        )
        if value is not None and not is_good:
            raise AuthenticationError(f"Invalid JWT. Its {key} of an account is not one.")
    return said


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_ID
