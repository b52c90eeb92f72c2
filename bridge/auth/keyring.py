"""A tenant's keys as they are at this moment: from PEM files, from a key set, from an issuer's URL.

PEM files are read once. A key set in a file is read again when the file changes. One at a URL is
fetched at the first token, again when it has grown old, and when a token names a key that is not in
it, though not more often than every `RETRY_S`; while it cannot be fetched, the old one counts. Each
process has its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bridge.auth.jwks import fetch_jwks, parse_jwks
from bridge.auth.keys import PublicKey, load_public_key
from bridge.clock import monotonic_s
from bridge.errors import KeysUnavailable, SiteConfigError
from bridge.sites import Site, Tenant

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between looks at a file
RETRY_S = 30.0  # between fetches, whatever came of the one before

Fetch = Callable[[str], bytes]


class _Source(Protocol):
    """Where keys come from that may change."""

    @property
    def missing(self) -> str | None: ...  # why nothing is known of it yet

    def current(self) -> tuple[PublicKey, ...]: ...

    def renewed(self) -> tuple[PublicKey, ...]: ...


class KeyRing:
    """The keys that may have signed one tenant's tokens."""

    def __init__(self, fixed: tuple[PublicKey, ...], sources: tuple[_Source, ...]) -> None:
        self._fixed = fixed
        self._sources = sources

    def keys(self) -> tuple[PublicKey, ...]:
        """Return all of them."""
        if not self._sources:
            return self._fixed
        return sum((source.current() for source in self._sources), self._fixed)

    def holds(self, key: PublicKey) -> bool:
        """Whether `key` is still one of them."""
        return key in self.keys()

    def find(self, kid: str | None) -> tuple[PublicKey, ...]:
        """Return those that may have signed a token which names its key `kid`, or names none.

        A key without a name may have signed any.

        Raises:
            KeysUnavailable: there are none, and a set that was never fetched cannot be.
        """
        found = _matching(self.keys(), kid)
        if kid is not None and self._sources and all(key.kid is None for key in found):
            found = _matching(sum((s.renewed() for s in self._sources), self._fixed), kid)
        missing = [source.missing for source in self._sources if source.missing]
        if missing and not found:
            raise KeysUnavailable(missing[0])
        return found


def load_rings(
    site: Site, fetch: Fetch = fetch_jwks, read_s: Callable[[], float] = monotonic_s
) -> dict[str, KeyRing]:
    """Return each tenant's keys by the tenant's name; nothing is fetched yet.

    Raises:
        SiteConfigError: lists every file that is missing or holds no key that verifies.
    """
    rings: dict[str, KeyRing] = {}
    mistakes: list[str] = []
    for name, tenant in site.tenants.items():
        fixed = []
        for path in tenant.public_keys:
            try:
                fixed.append(load_public_key(path))
            except SiteConfigError as error:
                mistakes.append(f"tenants.{name}.public_keys: {error.message}")
        try:
            sources = _sources(name, tenant, fetch, read_s)
        except SiteConfigError as error:
            mistakes.append(error.message)
        else:
            rings[name] = KeyRing(tuple(fixed), sources)
    if mistakes:
        raise SiteConfigError("\n".join(mistakes))
    return rings


def _sources(
    name: str, tenant: Tenant, fetch: Fetch, read_s: Callable[[], float]
) -> tuple[_Source, ...]:
    sources: list[_Source] = []
    if tenant.jwks_file is not None:
        sources.append(_File(tenant.jwks_file, f"tenants.{name}.jwks_file", read_s))
    if tenant.jwks_url is not None:
        sources.append(_Url(tenant.jwks_url, name, tenant.jwks_lifetime_s, fetch, read_s))
    return tuple(sources)


def _matching(keys: tuple[PublicKey, ...], kid: str | None) -> tuple[PublicKey, ...]:
    return tuple(key for key in keys if kid is None or key.kid in (None, kid))


class _File:
    """A key set in a file, looked at once a second at most."""

    missing: str | None = None

    def __init__(self, path: Path, key: str, read_s: Callable[[], float]) -> None:
        self._path = path
        self._read_s = read_s
        self._looked_at = read_s()
        try:
            self._seen, self._keys = self._read()
        except (OSError, ValueError) as error:
            raise SiteConfigError(f"{key}: {path}: {_why(error)}.") from error

    def current(self) -> tuple[PublicKey, ...]:
        """Return its keys; what cannot be read leaves the ones before."""
        now = self._read_s()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            try:
                if _identify(self._path.stat()) != self._seen:
                    self._seen, self._keys = self._read()
            except (OSError, ValueError) as error:
                facts = {"file": str(self._path), "why": _why(error)}
                log.warning("a key set is not read again", extra={"facts": facts})
        return self._keys

    def renewed(self) -> tuple[PublicKey, ...]:
        """Return its keys: the file has been looked at just now."""
        return self._keys

    def _read(self) -> tuple[tuple[int, ...], tuple[PublicKey, ...]]:
        with self._path.open("rb") as file:
            seen = _identify(os.fstat(file.fileno()))
            return seen, parse_jwks(file.read(), str(self._path))


def _identify(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Url:
    """A key set that an issuer publishes."""

    def __init__(
        self, url: str, tenant: str, lifetime_s: float, fetch: Fetch, read_s: Callable[[], float]
    ) -> None:
        self._url = url
        self._tenant = tenant
        self._lifetime_s = lifetime_s
        self._fetch = fetch
        self._read_s = read_s
        self._lock = threading.Lock()
        self._keys: tuple[PublicKey, ...] | None = None  # replaced whole
        self._fetched_at = 0.0
        self._tried_at: float | None = None

    @property
    def missing(self) -> str | None:
        """Why nothing is known of it, until it was fetched once."""
        if self._keys is not None:
            return None
        return (
            f"The keys of tenant {self._tenant} cannot be had from its issuer at the moment, so no "
            "token of it can be checked; try again."
        )

    def current(self) -> tuple[PublicKey, ...]:
        """Return its keys.

        Who comes when they have grown old fetches them; others have the old ones meanwhile. The
        first ones are waited for by all.
        """
        if self._keys is None:
            return self.renewed()
        is_old = self._read_s() - self._fetched_at >= self._lifetime_s
        if is_old and self._is_due() and self._lock.acquire(blocking=False):
            try:
                self._renew()
            finally:
                self._lock.release()
        return self._keys

    def renewed(self) -> tuple[PublicKey, ...]:
        """Return its keys, fetched again if that was not tried just now."""
        with self._lock:
            if self._is_due():
                self._renew()
        return self._keys or ()

    def _is_due(self) -> bool:
        return self._tried_at is None or self._read_s() - self._tried_at >= RETRY_S

    def _renew(self) -> None:
        self._tried_at = self._read_s()
        try:
            self._keys = parse_jwks(self._fetch(self._url), self._url)
            self._fetched_at = self._tried_at
        except (OSError, ValueError) as error:
            facts = {"tenant": self._tenant, "url": self._url, "why": _why(error)}
            log.warning("a key set is not fetched", extra={"facts": facts})


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
