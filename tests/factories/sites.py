"""Sites for tests: one cluster, two tenants, keys made for the run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from bridge.services.queued import Gate, QueueCounts
from bridge.sites import Site


def make_key(name: str, bits: int = 2048) -> RSAPrivateKey:
    """Return the run's key called `name`; making one takes a tenth of a second."""
    return _make_key(name, bits)


@cache
def _make_key(_name: str, bits: int) -> RSAPrivateKey:
    return generate_private_key(65537, bits)


@cache
def make_ec_key(_name: str) -> EllipticCurvePrivateKey:
    """Return the run's P-256 key of this name."""
    return generate_ec_key(SECP256R1())


def make_jwk(key: RSAPrivateKey | EllipticCurvePrivateKey, **more: Any) -> dict[str, Any]:
    """Return the public half of a key as an entry of a key set."""
    algorithm = ECAlgorithm if isinstance(key, EllipticCurvePrivateKey) else RSAAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), **more}


def write_keys(directory: Path, name: str, bits: int = 2048) -> tuple[Path, Path]:
    """Write the key called `name` as (public, private) PEM files."""
    return write_pair(directory, name, make_key(name, bits))


def write_pair(
    directory: Path, name: str, key: RSAPrivateKey | EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    """Write a key as (public, private) PEM files called `name`."""
    public, private = directory / f"{name}.pub", directory / f"{name}.pem"
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public, private


def write_encryption_keys(directory: Path, *keys: bytes) -> Path:
    """Write the keys of secrets, one where none is given."""
    path = directory / "encryption.key"
    path.write_bytes(b"\n".join(keys or (Fernet.generate_key(),)) + b"\n")
    path.chmod(0o600)
    return path


def make_site(directory: Path, **changes: Any) -> Site:
    """Return a site with the tenants PHYSICS and BIOLOGY, each with a key of its own."""
    tenants = {}
    for name in ("PHYSICS", "BIOLOGY"):
        public, private = write_keys(directory, name.lower())
        tenants[name] = {
            "cluster": "alpha",
            "account": name.lower(),
            "public_keys": [str(public)],
            "private_key": str(private),
            "mounts": [
                {"host_path": "/work/{username}", "container_path": "/work", "mode": "rw"},
                {"host_path": "/corral/{tenant}", "container_path": "/corral", "mode": "ro"},
            ],
        }
    data: dict[str, Any] = {
        "name": "test",
        "public_url": "https://bridge.example.org",
        "clusters": {
            "alpha": {
                "spool": "/scratch/{username}/.bridge",
                "image_cache": "/work/.bridge/images",
            }
        },
        "tenants": tenants,
    }
    if "encryption_key_file" not in changes:
        data["encryption_key_file"] = str(write_encryption_keys(directory))
    return Site.model_validate(data | changes)


def make_gate(**limits: Any) -> Gate:
    """Return what lets in the messages of a site whose tenants have these limits."""
    tenant = {"cluster": "alpha", "limits": limits}
    data = {
        "name": "test",
        "public_url": "https://bridge.example.org",
        "clusters": {"alpha": {"spool": "/scratch/{username}", "image_cache": "/work/images"}},
        "tenants": {"PHYSICS": tenant, "BIOLOGY": tenant},
    }
    return Gate(Site.model_validate(data), QueueCounts())


def with_tenant(site: Site, name: str = "PHYSICS", **changes: Any) -> Site:
    """Return `site` with other values for keys of one tenant."""
    data = site.model_dump(exclude_unset=True)
    data["tenants"][name].update(changes)
    return Site.model_validate(data)
