"""Keys that sign and verify tokens: RSA for RS256, P-256 for ES256, and nothing else.

Which algorithm a signature has is the key's to say, never the token's: a token that names another
one than its key's does not hold.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from bridge.errors import SiteConfigError

log = logging.getLogger(__name__)

_SAFE_BITS = 2048
_NEW_BITS = 3072
_LEAST_BITS = 1024  # Abaco's own suite has such a key


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies: with its one algorithm, and its name in a key set where it has one."""

    public: RSAPublicKey | EllipticCurvePublicKey
    algorithm: str
    kid: str | None = None


@dataclass(frozen=True)
class PrivateKey:
    """A key that signs, with its one algorithm."""

    private: RSAPrivateKey | EllipticCurvePrivateKey
    algorithm: str


def name_algorithm(key: object) -> str | None:
    """Return what a key of this type signs with, None for a key that is of no use here."""
    if isinstance(key, (RSAPublicKey, RSAPrivateKey)) and key.key_size >= _LEAST_BITS:
        return "RS256"
    if isinstance(key, (EllipticCurvePublicKey, EllipticCurvePrivateKey)):
        return "ES256" if isinstance(key.curve, SECP256R1) else None
    return None


def load_public_key(path: Path) -> PublicKey:
    """Return the public key in the PEM file at `path`.

    Raises:
        SiteConfigError: the file is missing or holds no such key.
    """
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SiteConfigError(f"{path} holds no public key in PEM.") from error
    algorithm = name_algorithm(key)
    if algorithm is None or not isinstance(key, (RSAPublicKey, EllipticCurvePublicKey)):
        raise _unfit(path)
    warn_of_short(key, str(path))
    return PublicKey(key, algorithm)


def load_private_key(path: Path) -> PrivateKey:
    """Return the private key in the PEM file at `path`.

    Raises:
        SiteConfigError: the file is missing or holds no such key.
    """
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SiteConfigError(f"{path} holds no unencrypted private key in PEM.") from error
    algorithm = name_algorithm(key)
    if algorithm is None or not isinstance(key, (RSAPrivateKey, EllipticCurvePrivateKey)):
        raise _unfit(path)
    return PrivateKey(key, algorithm)


def make_pair(algorithm: str) -> tuple[bytes, bytes]:
    """Return a new key for "RS256" or "ES256" in PEM: the private half, and the public one."""
    key: RSAPrivateKey | EllipticCurvePrivateKey
    key = generate_ec(SECP256R1()) if algorithm == "ES256" else generate_rsa(65537, _NEW_BITS)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private, public


def warn_of_short(key: RSAPublicKey | EllipticCurvePublicKey, where: str) -> None:
    """Complain of an RSA key that is believed and should not be."""
    if isinstance(key, RSAPublicKey) and key.key_size < _SAFE_BITS:
        log.warning(
            "A key is shorter than recommended: tokens under it can be forged by the well equipped",
            extra={"facts": {"file": where, "bits": key.key_size, "recommended": _SAFE_BITS}},
        )


def _unfit(path: Path) -> SiteConfigError:
    return SiteConfigError(
        f"{path} holds no RSA key of {_LEAST_BITS} bits or more and no P-256 key; tokens are "
        "signed with RS256 or ES256."
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SiteConfigError(f"{path} cannot be read ({error.strerror}).") from error
