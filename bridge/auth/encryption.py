"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA256), keys from a file that the site names.

The file holds one key a line, as ``openssl rand -base64 32 | tr '+/' '-_'`` makes one; empty lines
and lines that begin with ``#`` do not count. The first key encrypts, every one
decrypts: a new key goes to the top, the old ones stay until what they encrypted has been written
anew.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from bridge.errors import ConfigsUnusable, SiteConfigError
from bridge.sites import Site


class SecretBox:
    """Encrypts and decrypts texts with the site's keys."""

    def __init__(self, keys: Sequence[Fernet]) -> None:
        """Take the keys, the one that encrypts first."""
        self._fernet = MultiFernet(keys)

    def encrypt(self, text: str) -> str:
        """Return `text` as ciphertext, itself a text of ASCII."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def decrypt(self, ciphertext: str) -> str:
        """Return what was encrypted.

        Raises:
            ConfigsUnusable: none of the keys made it, or it was changed since.
        """
        try:
            return self._fernet.decrypt(ciphertext.encode()).decode()
        except InvalidToken as error:
            raise ConfigsUnusable(
                "A secret was encrypted with a key that the site no longer has."
            ) from error


def load_secret_box(site: Site) -> SecretBox | None:
    """Return the box with the keys of the file that `site` names, or None where it names none.

    Raises:
        SiteConfigError: the file cannot be read, may be read by everybody, or a line is no key.
    """
    path = site.encryption_key_file
    return None if path is None else SecretBox(_read_keys(path))


def _read_keys(path: Path) -> list[Fernet]:
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise SiteConfigError(
            f"encryption_key_file: {path} cannot be read ({error.strerror})."
        ) from error
    except UnicodeDecodeError as error:
        raise SiteConfigError(f"encryption_key_file: {path} holds more than ASCII.") from error
    if stat.S_IMODE(mode) & stat.S_IRWXO:
        raise SiteConfigError(
            f"encryption_key_file: {path} is open to every user of this machine (mode "
            f"{stat.S_IMODE(mode):04o}); expected 0600 or 0640."
        )
    keys = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            keys.append(Fernet(line.strip()))
        except ValueError as error:
            raise SiteConfigError(
                f"encryption_key_file: line {number} of {path} is no key; expected 32 bytes in "
                "URL-safe base64."
            ) from error
    if not keys:
        raise SiteConfigError(f"encryption_key_file: {path} holds no key.")
    return keys
