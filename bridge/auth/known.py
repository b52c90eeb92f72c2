"""Tokens that were verified already: an RSA check costs as much as the rest of a request."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.auth.identity import Identity
from bridge.auth.keys import PublicKey

MAX_TOKENS = 4096


@dataclass(frozen=True)
class Known:
    """What a token proved. Whenever it comes, its times and its key are looked at again."""

    identity: Identity
    claims: Mapping[str, Any]
    key: PublicKey


class KnownTokens:
    """The tokens that came last, by their hash: no credential is kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: bytes) -> Known | None:
        """Return what is known under a key of `key_of`."""
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def add(self, key: bytes, known: Known) -> None:
        """Remember one more; the one that has not come for longest makes room."""
        with self._lock:
            self._known[key] = known
            if len(self._known) > MAX_TOKENS:
                self._known.popitem(last=False)


def key_of(*words: str) -> bytes:
    """Return the hash of a token together with the header and the tenant that it came with."""
    return hashlib.sha256("\0".join(words).encode(errors="surrogatepass")).digest()
