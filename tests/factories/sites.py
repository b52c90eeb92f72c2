"""Sites for tests: one cluster, two tenants, keys made for the run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bridge.services.queued import Gate, QueueCounts
from bridge.sites import Site


def make_key(name: str, bits: int = 2048) -> RSAPrivateKey:
    """Return the run's key called `name`; making one takes a tenth of a second."""
    return _make_key(name, bits)


@cache
def _make_key(_name: str, bits: int) -> RSAPrivateKey:
    return generate_private_key(65537, bits)


def write_keys(directory: Path, name: str, bits: int = 2048) -> tuple[Path, Path]:
    """Write the key called `name` as (public, private) PEM files."""
    key = make_key(name, bits)
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
