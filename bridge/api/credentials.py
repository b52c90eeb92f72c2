"""Who sends the request being served: by its token, else by the nonce in its query."""

from __future__ import annotations

import re

from flask import request

from bridge.api.context import context
from bridge.auth import Identity, carries_token, redeem_nonce
from bridge.core.statuses import Level
from bridge.errors import NotFound

_VARIABLE = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")


def identify() -> Identity:
    """Return the caller; a nonce counts only where no token came, and its use is counted here.

    Raises:
        AuthenticationError: neither, or one that does not hold.
        PermissionDenied: no role of the caller's counts, or the nonce's level is lower.
        NotFound: a nonce, at a URL that names neither actor nor alias.

    Source: abaco_contract.md 2.5.
    """
    here = context()
    nonce_id = request.args.get("x-nonce")
    if nonce_id is None or not here.site.accept_nonce or carries_token(request.headers):
        return here.authenticator.authenticate(request.headers)
    rule = request.url_rule.rule if request.url_rule else ""
    named = request.view_args or {}
    word = named.get("alias") or named.get("actor_id")
    if word is None:
        shown = _VARIABLE.sub(r"{\1}", rule).replace("{search_type}", "{database}")
        raise NotFound(f"'x-nonce' query parameter on the '{shown}' endpoint does not resolve.")
    return redeem_nonce(
        here.database,
        here.site,
        nonce_id,
        word,
        _wanted(rule),
        here.now(),
        is_alias="alias" in named,
    )


def _wanted(rule: str) -> Level:
    """Return the level that the request needs of a nonce (abaco_contract.md 2.4)."""
    if request.method in ("GET", "HEAD"):
        return Level.READ
    if request.method == "POST" and rule.startswith("/actors/<actor_id>/messages"):
        return Level.EXECUTE
    return Level.UPDATE
