"""Signing tokens, for sites that have no issuer of their own."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import jwt

from bridge.auth.identity import check_username
from bridge.auth.keys import load_private_key
from bridge.clock import Clock
from bridge.errors import SiteConfigError
from bridge.sites import Tenant
from bridge.sites.identity import WSO2_USER


def sign_token(
    tenant: Tenant,
    tenant_name: str,
    username: str,
    roles: Sequence[str],
    lifetime_s: int,
    clock: Clock,
) -> str:
    """Return a token that says who `username` is, in all the words that the tenant understands.

    By default those are WSO2's and Tapis's. The key decides between RS256 and ES256.

    Raises:
        SiteConfigError: the tenant has no private key, it cannot be read, or the tenant does not
            take what it signs.
        AuthenticationError: the username would not be believed.
    """
    check_username(username)
    if tenant.private_key is None:
        raise SiteConfigError(
            f"tenants.{tenant_name}.private_key is not set: this site's tokens come from an issuer "
            "of its own. Set it to the PEM file to sign with, or ask that issuer."
        )
    key = load_private_key(tenant.private_key)
    if key.algorithm not in tenant.algorithms:
        raise SiteConfigError(
            f"tenants.{tenant_name}.private_key signs with {key.algorithm}, which its algorithms "
            f"do not have: {', '.join(tenant.algorithms)}."
        )
    issued_at = int(clock.now().timestamp())
    names = tenant.claims
    claims: dict[str, object] = {
        **dict.fromkeys(names.tenant, tenant_name),
        **dict.fromkeys(names.roles, ",".join(roles)),
        **dict.fromkeys(names.username, username),
        "iss": tenant.issuer or "abaco-bridge",
        "iat": issued_at,
        "exp": issued_at + lifetime_s,
        "jti": str(uuid.uuid4()),
    }
    claims.setdefault("sub", f"{username}@{tenant_name}")
    if WSO2_USER in names.username:
        claims[WSO2_USER] = f"{username}@{tenant_name}"
    if tenant.audience is not None:
        claims["aud"] = tenant.audience
    return jwt.encode(claims, key.private, algorithm=key.algorithm)
