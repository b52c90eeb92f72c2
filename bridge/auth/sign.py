"""Signing tokens, for sites that have no issuer of their own."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import jwt

from bridge.auth.claims import TAPIS_TENANT, TAPIS_USER, WSO2_ROLES, WSO2_USER
from bridge.auth.identity import check_username
from bridge.auth.keys import load_private_key
from bridge.clock import Clock
from bridge.errors import SiteConfigError
from bridge.sites import Tenant


def sign_token(
    tenant: Tenant,
    tenant_name: str,
    username: str,
    roles: Sequence[str],
    lifetime_s: int,
    clock: Clock,
) -> str:
    """Return a token that says who `username` is, in both WSO2's and Tapis's words.

    Raises:
        SiteConfigError: the tenant has no private key, or it cannot be read.
        AuthenticationError: the username would not be believed.
    """
    check_username(username)
    if tenant.private_key is None:
        raise SiteConfigError(
            f"tenants.{tenant_name}.private_key is not set: this site's tokens come from an issuer "
            "of its own. Set it to the PEM file to sign with, or ask that issuer."
        )
    issued_at = int(clock.now().timestamp())
    claims = {
        "iss": "abaco-bridge",
        "sub": f"{username}@{tenant_name}",
        "iat": issued_at,
        "exp": issued_at + lifetime_s,
        "jti": str(uuid.uuid4()),
        WSO2_USER: f"{username}@{tenant_name}",
        WSO2_ROLES: ",".join(roles),
        TAPIS_USER: username,
        TAPIS_TENANT: tenant_name,
    }
    return jwt.encode(claims, load_private_key(tenant.private_key), algorithm="RS256")
