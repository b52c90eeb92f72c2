"""Reading signed tokens: RS256 and ES256, as the key has it, and nothing else.

What a token says of its own key (`jku`, `x5u`, `jwk`, `x5c`) is not looked at; only `kid` is, to
choose among the keys that the site trusts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from jwt.warnings import InsecureKeyLengthWarning

from bridge.auth.keys import PublicKey
from bridge.errors import AuthenticationError

# bridge.auth.keys says this once, when it reads the key; PyJWT would at every request.
warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)

# Twice those of Abaco's own suite: what anybody sends is parsed before it is believed.
MAX_CHARS = 16_384


@dataclass(frozen=True)
class TokenRules:
    """What a tenant wants of a token besides a signature.

    Attributes:
        algorithms: signatures that count.
        issuer: what `iss` must be, None: anything.
        audience: what `aud` must hold, None: anything.
        skew_s: by how much `exp` and `nbf` may be off.
    """

    algorithms: Collection[str] = ("RS256", "ES256")
    issuer: str | None = None
    audience: str | None = None
    skew_s: float = 0


def normalise_token(token: str) -> str:
    """Return `token` with its signature in the alphabet that JWT libraries read.

    The gateways that Abaco stood behind sign in the standard base64 alphabet, with padding, and
    some tokens carry junk after it. Header and payload are what was signed: they stay as they are.

    Source: abaco_contract.md 2.2, tried on the five tokens of Abaco's own test suite.
    """
    signed, dot, signature = token.strip().rpartition(".")
    signature = signature.partition("=")[0].replace("+", "-").replace("/", "_")
    return f"{signed}{dot}{signature}"


def read_claims(
    token: str,
    find_keys: Callable[[str | None], Sequence[PublicKey]],
    rules: TokenRules,
    now: datetime,
) -> tuple[dict[str, Any], PublicKey]:
    """Return the claims of a token that holds at `now`, and the key that has signed it.

    Args:
        token: as it came.
        find_keys: gives the keys that may have signed a token which names its key so.
        rules: of the tenant.
        now: the present moment.

    Raises:
        AuthenticationError: ``Invalid JWT.`` and why.
    """
    text = normalise_token(token)
    header = _read_header(text)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in rules.algorithms:
        raise AuthenticationError("Invalid JWT. The specified alg value is not allowed.")
    reason: jwt.InvalidTokenError = jwt.InvalidSignatureError("there is no key to verify it with")
    for key in find_keys(kid if isinstance(kid, str) else None):
        if key.algorithm != algorithm:
            continue
        try:
            claims = _decode(text, key)
        except jwt.InvalidSignatureError as error:
            reason = error
        except (jwt.InvalidTokenError, RecursionError) as error:
            raise _invalid(error) from error
        else:
            check_times(claims, now, rules.skew_s)
            _check_parties(claims, rules)
            return claims, key
    raise _invalid(reason) from reason


def read_unverified(token: str) -> dict[str, Any]:
    """Return the claims of a token as it states them, believed for nothing but finding its keys.

    Raises:
        AuthenticationError: it is no token at all.
    """
    text = normalise_token(token)
    _read_header(text)
    try:
        claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise _invalid(error) from error
    return claims


def check_times(claims: Mapping[str, Any], now: datetime, skew_s: float = 0) -> None:
    """Check `exp`, which must be there, and `nbf`, both in seconds.

    The tokens of Abaco's own suite have milliseconds there: read as seconds that is a far future,
    which is why they still work (abaco_contract.md 0.3).

    Raises:
        AuthenticationError: it does not hold at `now`.
    """
    seconds = now.timestamp()
    if claims.get("exp") is None:
        raise AuthenticationError("Invalid JWT. It never expires: expected the claim exp.")
    for claim in ("exp", "nbf"):
        value = claims.get(claim)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            raise AuthenticationError(f"Invalid JWT. Its {claim} is not a number of seconds.")
        if claim == "exp" and value <= seconds - skew_s:
            raise AuthenticationError("Invalid JWT. It has expired; ask for a new one.")
        if claim == "nbf" and value > seconds + skew_s:
            raise AuthenticationError("Invalid JWT. It is not valid yet (nbf).")


def _check_parties(claims: Mapping[str, Any], rules: TokenRules) -> None:
    """Check `iss` and `aud` where the tenant says what they must be."""
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        raise AuthenticationError("Invalid JWT. It is of another issuer (iss).")
    if rules.audience is not None:
        audience = claims.get("aud")
        if rules.audience not in (audience if isinstance(audience, list) else [audience]):
            raise AuthenticationError("Invalid JWT. It is for another audience (aud).")


def _read_header(text: str) -> dict[str, Any]:
    if len(text) > MAX_CHARS:
        raise AuthenticationError(f"Invalid JWT. It has more than {MAX_CHARS} characters.")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(text)
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise _invalid(error) from error
    return header


def _decode(text: str, key: PublicKey) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        text,
        key.public,
        algorithms=[key.algorithm],
        # Times are checked against the clock of the house; the others mean nothing here unless the
        # site says so: gateways fill in `aud` and milliseconds in `iat` as they like.
        options={
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": False,
            "verify_iss": False,
            "verify_sub": False,
            "verify_jti": False,
        },
    )
    return claims


def _invalid(error: Exception) -> AuthenticationError:
    return AuthenticationError(f"Invalid JWT. {error}".rstrip(".") + ".")
