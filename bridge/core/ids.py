"""Ids of actors, executions, workers and nonces.

Abaco's are Hashids of a UUID, 11 to 13 letters and digits (abaco_contract.md 1.5). Ours have the
same look and are random; whether a word is an id or an alias is decided by looking it up. They
never end in ``v`` or ``2``: agavepy in JWT mode strips those from the end of a URL (clients.md
0.13).
"""

from __future__ import annotations

import os
import secrets
import string

ALPHABET = string.ascii_letters + string.digits
_LAST = "".join(c for c in ALPHABET if c not in "v2")
LENGTH = 13
CREDENTIAL_LENGTH = 24

# Bytes to letters and digits: a batch of messages wants ids by the thousand.
_TO_ALPHABET = bytes(ord(ALPHABET[n % len(ALPHABET)]) for n in range(256))
_TO_LAST = bytes(ord(_LAST[n % len(_LAST)]) for n in range(256))


def new_id(length: int = LENGTH) -> str:
    """Return a new id: 13 letters and digits, 77 bits of chance less a fraction of one."""
    chance = os.urandom(length)
    return (chance[:-1].translate(_TO_ALPHABET) + chance[-1:].translate(_TO_LAST)).decode()


def new_nonce_id(tenant: str) -> str:
    """Return a new nonce's id, ``<TENANT>_<24 letters and digits>``.

    Whoever knows it may use it: it has about 142 bits of chance, where Abaco's can be guessed from
    the time.
    """
    return f"{tenant}_{new_id(CREDENTIAL_LENGTH)}"


def new_token() -> str:
    """Return an array's token: 128 bits as 32 hexadecimal digits.

    The token is the Slurm job's name, so it keeps to characters that no parser of squeue or sacct
    output can trip over.
    """
    return secrets.token_hex(16)
