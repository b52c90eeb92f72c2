"""Ids of actors, executions, workers and nonces.

Abaco's are Hashids of a UUID, 11 to 13 letters and digits (abaco_contract.md 1.5). Ours have the
same look and are random; whether a word is an id or an alias is decided by looking it up. They
never end in ``v`` or ``2``: agavepy in JWT mode strips those from the end of a URL (clients.md
0.13).
"""

from __future__ import annotations

import secrets
import string

ALPHABET = string.ascii_letters + string.digits
_LAST = "".join(c for c in ALPHABET if c not in "v2")
LENGTH = 13
CREDENTIAL_LENGTH = 24


def new_id(length: int = LENGTH) -> str:
    """Return a new id: 13 letters and digits, about 77 bits of chance."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length - 1)) + secrets.choice(_LAST)


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
