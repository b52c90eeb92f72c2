"""From a request's headers to an identity.

Three ways, the first that is there counts: Abaco's ``X-Jwt-Assertion-<TENANT>``, Tapis's
``X-Tapis-Token``, and ``Authorization: Bearer`` (clients.md 0.11). The first names the tenant in
the header; the others in the token, which is believed only once that tenant's own key has
verified it. Where a token that came in the first way names a tenant too, it must be the same.

A token is a bearer's: it may come again, in another of the three headers too, for as long as it
holds. It is the same user's then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bridge.auth.claims import account_of, find_tenant, named_tenants, roles_of, username_of
from bridge.auth.identity import Identity, build_identity
from bridge.auth.keyring import load_rings
from bridge.auth.known import Known, KnownTokens, key_of
from bridge.auth.tokens import TokenRules, check_times, read_claims, read_unverified
from bridge.clock import Clock
from bridge.errors import AuthenticationError
from bridge.sites import Site, Tenant

_ASSERTION = "x-jwt-assertion-"


def carries_token(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether `headers` have a token, good or bad: then no nonce counts."""
    return _find_token(headers) is not None


class Authenticator:
    """Knows the site's tenants and their keys; a request's headers in, an identity out."""

    def __init__(self, site: Site, clock: Clock) -> None:
        """Read the keys that every tenant has in files.

        Raises:
            SiteConfigError: lists every key file that cannot be used.
        """
        self._site = site
        self._clock = clock
        self._rings = load_rings(site)
        self._rules = {name: _rules(tenant) for name, tenant in site.tenants.items()}
        self._known = KnownTokens()

    def authenticate(self, headers: Iterable[tuple[str, str]]) -> Identity:
        """Return the identity that `headers` prove.

        Raises:
            AuthenticationError: no token, or one that does not hold.
            PermissionDenied: the user has no role that counts in the tenant.
            KeysUnavailable: the tenant's issuer cannot be asked for its keys.
        """
        found = _find_token(headers)
        if found is None:
            raise AuthenticationError("No JWT or nonce provided.")
        header, token = found
        if header.lower().startswith(_ASSERTION):
            tenant = header[len(_ASSERTION) :]
            return self._identify(tenant, token, jwt_header_name=header.title())
        return self._identify(None, token, jwt_header_name="")

    def _identify(self, tenant_name: str | None, token: str, *, jwt_header_name: str) -> Identity:
        key = key_of(tenant_name or "", jwt_header_name, token)
        known = self._known.find(key)
        # One whose key has been taken away since is verified again, with the keys that there are.
        if known is None or not self._rings[known.identity.tenant].holds(known.key):
            known = self._verify(tenant_name, token, jwt_header_name)
            self._known.add(key, known)
        else:
            skew_s = self._rules[known.identity.tenant].skew_s
            check_times(known.claims, self._clock.now(), skew_s)
        return known.identity

    def _verify(self, tenant_name: str | None, token: str, jwt_header_name: str) -> Known:
        name, tenant = self._find_tenant(tenant_name, token)
        find_keys = self._rings[name].find
        claims, key = read_claims(token, find_keys, self._rules[name], self._clock.now())
        for named in named_tenants(claims, tenant.claims):
            if named.upper() != name.upper():
                raise AuthenticationError(
                    f"Invalid JWT. It is for the tenant {named[:64]!r}, the request for {name!r}."
                )
        username, roles = username_of(claims, tenant.claims), roles_of(claims, tenant.claims)
        identity = build_identity(name, tenant, username, roles, jwt_header_name)
        times = {name: value for name, value in claims.items() if name in ("exp", "nbf")}
        return Known(replace(identity, claimed=account_of(claims, tenant)), times, key)

    def _find_tenant(self, tenant_name: str | None, token: str) -> tuple[str, Tenant]:
        if tenant_name is None:
            return find_tenant(read_unverified(token), self._site)
        found = self._site.tenant(tenant_name)
        if found is None:
            raise AuthenticationError(
                f"Invalid JWT. There is no tenant {tenant_name[:64].upper()!r} here."
            )
        return found


def _rules(tenant: Tenant) -> TokenRules:
    return TokenRules(tenant.algorithms, tenant.issuer, tenant.audience, tenant.clock_skew_s)


def _find_token(headers: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the name of the header that counts and the token in it, or None.

    Raises:
        AuthenticationError: two headers name a tenant each; a gateway and a client may have added
            one each, and neither is to win.
    """
    bearer = tapis = assertion = None
    for name, value in headers:
        lower = name.lower()
        if lower.startswith(_ASSERTION):
            if assertion is not None:
                raise AuthenticationError(
                    "Invalid JWT. Expected one header X-Jwt-Assertion-<TENANT>, found two."
                )
            assertion = name, value
        elif lower == "x-tapis-token" and value:
            tapis = name, value
        elif lower == "authorization" and value[:7].lower() == "bearer " and value[7:]:
            bearer = name, value[7:]
    return assertion or tapis or bearer
