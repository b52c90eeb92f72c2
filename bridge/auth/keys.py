"""The tenants' keys, read from the PEM files that the site file names."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from bridge.errors import SiteConfigError
from bridge.sites import Site

log = logging.getLogger(__name__)

_SAFE_BITS = 2048


def load_public_keys(site: Site) -> dict[str, tuple[RSAPublicKey, ...]]:
    """Return each tenant's keys by the tenant's name.

    Raises:
        SiteConfigError: lists every file that is missing or holds no RSA public key.
    """
    keys: dict[str, tuple[RSAPublicKey, ...]] = {}
    mistakes: list[str] = []
    for name, tenant in site.tenants.items():
        loaded = []
        for path in tenant.public_keys:
            try:
                loaded.append(_load_public_key(path))
            except SiteConfigError as error:
                mistakes.append(f"tenants.{name}.public_keys: {error.message}")
        keys[name] = tuple(loaded)
    if mistakes:
        raise SiteConfigError("\n".join(mistakes))
    return keys


def load_private_key(path: Path) -> RSAPrivateKey:
    """Return the RSA private key in the PEM file at `path`.

    Raises:
        SiteConfigError: the file is missing or holds no such key.
    """
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SiteConfigError(f"{path} holds no unencrypted private key in PEM.") from error
    if not isinstance(key, RSAPrivateKey):
        raise SiteConfigError(f"{path} holds no RSA key; tokens are signed with RS256.")
    return key


def _load_public_key(path: Path) -> RSAPublicKey:
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SiteConfigError(f"{path} holds no public key in PEM.") from error
    if not isinstance(key, RSAPublicKey):
        raise SiteConfigError(f"{path} holds no RSA key; tokens are signed with RS256.")
    if key.key_size < _SAFE_BITS:
        log.warning(
            "A key is shorter than recommended: tokens under it can be forged by the well equipped",
            extra={"facts": {"file": str(path), "bits": key.key_size, "recommended": _SAFE_BITS}},
        )
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SiteConfigError(f"{path} cannot be read ({error.strerror}).") from error
