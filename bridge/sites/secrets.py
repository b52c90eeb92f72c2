"""Secrets that the site file names by their files, never by their values."""

from __future__ import annotations

from pathlib import Path

from bridge.errors import SiteConfigError

MIN_BYTES = 16


def read_secret(path: Path, key: str, min_bytes: int = MIN_BYTES) -> bytes:
    """Return what is in the file, without white space around it.

    Args:
        path: the file.
        key: the site file's key that names it, for the error.
        min_bytes: how short it may be: others choose the passwords that they give us.

    Raises:
        SiteConfigError: it cannot be read, or is too short to be a secret.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SiteConfigError(f"{key}: {path} cannot be read ({error.strerror}).") from error
    if len(secret) < min_bytes:
        raise SiteConfigError(
            f"{key}: {path} has {len(secret)} bytes: expected a secret of at least {min_bytes}."
        )
    return secret
