"""From a request's headers to an identity.

Three ways, the first that is there counts: Abaco's ``X-Jwt-Assertion-<TENANT>``, Tapis's
``X-Tapis-Token``, and ``Authorization: Bearer`` (clients.md 0.11). The first names the tenant in
the header; the others in the token, which is believed only once that tenant's own key has
verified it.
"""

from __future__ import annotations

from collections.abc import Iterable

from bridge.auth.claims import TAPIS_TENANT, roles_of, tenant_of, username_of
from bridge.auth.identity import Identity, build_identity
from bridge.auth.keys import load_public_keys
from bridge.auth.known import Known, KnownTokens, key_of
from bridge.auth.tokens import check_times, read_claims, read_unverified
from bridge.clock import Clock
from bridge.errors import AuthenticationError
from bridge.sites import Site

_ASSERTION = "x-jwt-assertion-"


def carries_token(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether `headers` have a token, good or bad: then no nonce counts."""
    return _find_token(headers) is not None


class Authenticator:
    """Knows the site's tenants and their keys; a request's headers in, an identity out."""

    def __init__(self, site: Site, clock: Clock) -> None:
        """Read every tenant's public keys.

        Raises:
            SiteConfigError: lists every key file that cannot be used.
        """
        self._site = site
        self._clock = clock
        self._keys = load_public_keys(site)
        self._known = KnownTokens()

    def authenticate(self, headers: Iterable[tuple[str, str]]) -> Identity:
        """Return the identity that `headers` prove.

        Raises:
            AuthenticationError: no token, or one that does not hold.
            PermissionDenied: the user has no role that counts in the tenant.
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
        if known is None:
            named = _named_tenant(token) if tenant_name is None else tenant_name
            known = self._verify(named, token, jwt_header_name)
            self._known.add(key, known)
        else:
            check_times(known.claims, self._clock.now())
        return known.identity

    def _verify(self, tenant_name: str, token: str, jwt_header_name: str) -> Known:
        found = self._site.tenant(tenant_name)
        if found is None:
            raise AuthenticationError(
                f"Invalid JWT. There is no tenant {tenant_name[:64].upper()!r} here."
            )
        name, tenant = found
        claims = read_claims(token, self._keys[name], self._clock.now())
        named = tenant_of(claims)
        if named is not None and named.upper() != name.upper():
            raise AuthenticationError(
                f"Invalid JWT. It is for the tenant {named[:64]!r}, the request for {name!r}."
            )
        roles = roles_of(claims)
        identity = build_identity(name, tenant, username_of(claims), roles, jwt_header_name)
        times = {name: value for name, value in claims.items() if name in ("exp", "nbf")}
        return Known(identity, times)


def _find_token(headers: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the name of the header that counts and the token in it, or None."""
    bearer = tapis = None
    for name, value in headers:
        lower = name.lower()
        if lower.startswith(_ASSERTION):
            return name, value
        if lower == "x-tapis-token" and value:
            tapis = name, value
        elif lower == "authorization" and value[:7].lower() == "bearer " and value[7:]:
            bearer = name, value[7:]
    return tapis or bearer


def _named_tenant(token: str) -> str:
    """Return the tenant that a token names: where to look for the key that must verify it."""
    named = tenant_of(read_unverified(token))
    if named is None:
        raise AuthenticationError(
            f"Invalid JWT. It names no tenant: expected the claim {TAPIS_TENANT}, or the "
            "token in a header X-Jwt-Assertion-<TENANT>."
        )
    return named
