"""JSON Web Key Sets (RFC 7517): reading one, and getting one from an issuer's URL.

The URL is the site's own word, so no address is refused; but what answers there is bounded: one
request, no redirects, so many bytes, so many seconds.
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from bridge.auth.keys import PublicKey, name_algorithm, warn_of_short
from bridge.net import cut_off_after, find_addresses, open_connection, tls

log = logging.getLogger(__name__)

MAX_BYTES = 1 << 20
MAX_KEYS = 100
FETCH_S = 5.0
_HEADERS = {"Accept": "application/json, application/jwk-set+json", "Connection": "close"}
# What of a key is looked at: never its private half, which some publish by mistake.
_PARTS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}


def parse_jwks(text: bytes, where: str) -> tuple[PublicKey, ...]:
    """Return the keys of a set that may verify tokens here; the others do not count.

    Args:
        text: the set.
        where: it came from, for complaints.

    Raises:
        ValueError: it is no key set, or has none that may.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    try:
        found = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError('it is no key set: expected JSON, {"keys": [...]}') from error
    if not isinstance(found, list) or len(found) > MAX_KEYS:
        raise ValueError(f"it is no key set: expected a list of at most {MAX_KEYS} keys")
    keys = tuple(_read_keys(found, where))
    if not keys:
        raise ValueError("it has no key for RS256 or ES256")
    return keys


def fetch_jwks(url: str) -> bytes:
    """Return what an issuer answers with.

    Raises:
        OSError: it cannot be reached, or what answers is not that.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        raw = open_connection(find_addresses(host, port), port)
    except UnicodeError as error:
        raise OSError("its host is no name") from error
    with raw, cut_off_after(raw, FETCH_S) as late:
        try:
            secure = parts.scheme == "https"
            stream = tls().wrap_socket(raw, server_hostname=host) if secure else raw
            text = _get(stream, parts.netloc, path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if late.is_set():
                raise _too_slow() from error
            raise OSError(str(error) or type(error).__name__) from error
        if late.is_set():  # cut off, which looks like the end of it
            raise _too_slow()
        return text


def _too_slow() -> OSError:
    return OSError(f"it took more than {FETCH_S:.0f} seconds")


def _get(stream: Any, netloc: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(netloc, timeout=FETCH_S)
    connection.sock = stream
    try:
        connection.request("GET", path, headers=_HEADERS)
        answer = connection.getresponse()
        if answer.status != 200:  # a redirect too: it would be somebody else's word
            raise OSError(f"it answers {answer.status}")
        return answer.read(MAX_BYTES + 1)
    finally:
        connection.close()


def _read_keys(found: list[Any], where: str) -> Iterator[PublicKey]:
    for item in found:
        try:
            key = _read_key(item)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
            facts = {"file": where, "why": str(error)[:200]}
            log.warning("a key of a set does not count", extra={"facts": facts})
            continue
        if key is not None:
            warn_of_short(key.public, where)
            yield key


def _read_key(item: dict[str, Any]) -> PublicKey | None:
    """Return a key of a set, None for one that is for something else."""
    kind, kid = item["kty"], item.get("kid")
    if kind not in _PARTS or item.get("use", "sig") != "sig":
        return None
    if "verify" not in item.get("key_ops", ["verify"]):
        return None
    reader = RSAAlgorithm if kind == "RSA" else ECAlgorithm
    public = reader.from_jwk({part: item[part] for part in _PARTS[kind]})
    algorithm = name_algorithm(public)
    if algorithm is None or item.get("alg", algorithm) != algorithm:
        return None
    assert isinstance(public, (RSAPublicKey, EllipticCurvePublicKey))
    return PublicKey(public, algorithm, kid if isinstance(kid, str) else None)
