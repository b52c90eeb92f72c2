"""What a token's claims say, in WSO2's and in Tapis's words (abaco_contract.md 2.2, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.auth.identity import EVERYONE
from bridge.errors import AuthenticationError

WSO2_USER = "http://wso2.org/claims/enduser"
WSO2_ROLES = "http://wso2.org/claims/role"
TAPIS_USER = "tapis/username"
TAPIS_TENANT = "tapis/tenant_id"


def username_of(claims: Mapping[str, Any]) -> str:
    """Return the username: WSO2's up to its first ``@``, else Tapis's.

    Raises:
        AuthenticationError: the token names no user.
    """
    for claim in (WSO2_USER, TAPIS_USER):
        value = claims.get(claim)
        if isinstance(value, str) and value:
            return value.split("@", 1)[0] if claim == WSO2_USER else value
    raise AuthenticationError(
        f"Invalid JWT. It names no user: expected the claim {WSO2_USER} or {TAPIS_USER}."
    )


def roles_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the roles; a token without any has the one that everybody has."""
    value = claims.get(WSO2_ROLES)
    roles = tuple(role for role in value.split(",") if role) if isinstance(value, str) else ()
    return roles or (EVERYONE,)


def tenant_of(claims: Mapping[str, Any]) -> str | None:
    """Return the tenant that the token names, or None.

    Raises:
        AuthenticationError: the claim is there and is no name.
    """
    value = claims.get(TAPIS_TENANT)
    if value is None or (isinstance(value, str) and value):
        return value
    raise AuthenticationError(f"Invalid JWT. Its claim {TAPIS_TENANT} is not a name.")
