"""Reading signed tokens: RS256 and nothing else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.warnings import InsecureKeyLengthWarning

from bridge.errors import AuthenticationError

# bridge.auth.keys says this once, when it reads the key; PyJWT would at every request.
warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)


def normalise_token(token: str) -> str:
    """Return `token` with its signature in the alphabet that JWT libraries read.

    The gateways that Abaco stood behind sign in the standard base64 alphabet, with padding, and
    some tokens carry junk after it. Header and payload are what was signed: they stay as they are.

    Source: abaco_contract.md 2.2, tried on the five tokens of Abaco's own test suite.
    """
    signed, dot, signature = token.strip().rpartition(".")
    signature = signature.partition("=")[0].replace("+", "-").replace("/", "_")
    return f"{signed}{dot}{signature}"


def read_claims(token: str, keys: Iterable[RSAPublicKey], now: datetime) -> dict[str, Any]:
    """Return the claims of a token that one of `keys` has signed and that holds at `now`.

    Raises:
        AuthenticationError: ``Invalid JWT.`` and why.
    """
    text = normalise_token(token)
    reason: jwt.InvalidTokenError = jwt.InvalidSignatureError("there is no key to verify it with")
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                key,
                algorithms=["RS256"],
                # Times are checked below, against the clock of the house; the others mean nothing
                # here: gateways fill in `aud` and milliseconds in `iat` as they like.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.InvalidSignatureError as error:
            reason = error
        except jwt.InvalidTokenError as error:
            raise _invalid(error) from error
        else:
            check_times(claims, now)
            return claims
    raise _invalid(reason) from reason


def read_unverified(token: str) -> dict[str, Any]:
    """Return the claims of a token as it states them, believed for nothing but finding its keys.

    Raises:
        AuthenticationError: it is no token at all.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            normalise_token(token), options={"verify_signature": False}
        )
    except jwt.InvalidTokenError as error:
        raise _invalid(error) from error
    return claims


def check_times(claims: Mapping[str, Any], now: datetime) -> None:
    """Check `exp` and `nbf`, both in seconds, where the token has them.

    The tokens of Abaco's own suite have milliseconds there: read as seconds that is a far future,
    which is why they still work (abaco_contract.md 0.3).

    Raises:
        AuthenticationError: it does not hold at `now`.
    """
    seconds = now.timestamp()
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
        if claim == "exp" and value <= seconds:
            raise AuthenticationError("Invalid JWT. It has expired; ask for a new one.")
        if claim == "nbf" and value > seconds:
            raise AuthenticationError("Invalid JWT. It is not valid yet (nbf).")


def _invalid(error: Exception) -> AuthenticationError:
    return AuthenticationError(f"Invalid JWT. {error}".rstrip(".") + ".")
