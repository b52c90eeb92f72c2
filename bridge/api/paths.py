"""The three prefixes under which the same routes are served, and links that keep to them.

``/actors/v2`` is agavepy's and abaco-cli's (camelCase), ``/v3/actors`` is tapipy's (snake_case),
``/actors`` is Abaco's own, in the case that the site names. The middleware folds repeated slashes
without a redirect, as clients count on (abaco_contract.md 0.1, clients.md 0.4), and takes the
prefix off, so that the application has one set of routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from bridge.core.case import Case
from bridge.core.names import RESERVED_ALIASES
from bridge.sites import Site

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

ROOT = "/actors"
PREFIXES = ("/actors/v2", "/v3/actors", ROOT)  # the longer one of two that match comes first
_ENVIRON_KEY = "bridge.prefix"
_SLASHES = re.compile(r"/{2,}")


class PrefixMiddleware:
    """Rewrites every path to begin with ``/actors`` and notes the prefix it came by."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = _SLASHES.sub("/", environ.get("PATH_INFO", ""))
        for prefix in PREFIXES:
            if path == prefix or path.startswith(prefix + "/"):
                environ[_ENVIRON_KEY] = prefix
                path = ROOT + path[len(prefix) :]
                break
        environ["PATH_INFO"] = path
        if "HTTP_TRANSFER_ENCODING" not in environ:
            # With it, werkzeug takes a body that ends before its Content-Length for whole.
            environ.pop("wsgi.input_terminated", None)
        return self._app(environ, start_response)


def prefix_of(environ: WSGIEnvironment) -> str:
    """Return the prefix that the request came by."""
    prefix: str = environ.get(_ENVIRON_KEY, ROOT)
    return prefix


def case_of(prefix: str, site: Site) -> Case:
    """Return the case of the JSON keys under `prefix` (clients.md 0.2)."""
    return {"/actors/v2": "camel", "/v3/actors": "snake"}.get(prefix, site.case)  # type: ignore[return-value]


def refuse_reserved() -> None:
    """Let no route of an actor answer where the word for the actor is another route's.

    ``PUT /actors/aliases`` would else look for an actor that no one can have: it is a method that
    the list of aliases does not have.

    Raises:
        MethodNotAllowed: werkzeug's; the URL is another route's, for other methods.
        NotFound: werkzeug's; it is nobody's.
    """
    if (request.view_args or {}).get("actor_id") not in RESERVED_ALIASES:
        return
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None
    allowed = []
    for method in ("GET", "POST", "PUT", "DELETE"):
        with suppress(HTTPException):
            if "actor_id" not in adapter.match(method=method)[1]:
                allowed.append(method)
    if allowed:
        raise MethodNotAllowed(valid_methods=allowed)
    raise NotFound


@dataclass(frozen=True)
class Links:
    """Absolute URLs of things, under the prefix by which the client came."""

    server: str  # the public URL of the bridge, without a slash at its end
    prefix: str

    def actor(self, actor_id: str) -> str:
        """Return the URL of an actor."""
        return f"{self.server}{self.prefix}/{actor_id}"

    def messages(self, actor_id: str) -> str:
        """Return the URL of an actor's mailbox."""
        return f"{self.actor(actor_id)}/messages"

    def executions(self, actor_id: str) -> str:
        """Return the URL of an actor's executions."""
        return f"{self.actor(actor_id)}/executions"

    def execution(self, actor_id: str, execution_id: str) -> str:
        """Return the URL of an execution."""
        return f"{self.executions(actor_id)}/{execution_id}"

    def logs(self, actor_id: str, execution_id: str) -> str:
        """Return the URL of an execution's log."""
        return f"{self.execution(actor_id, execution_id)}/logs"

    def results(self, actor_id: str, execution_id: str) -> str:
        """Return the URL of an execution's results."""
        return f"{self.execution(actor_id, execution_id)}/results"

    def alias(self, alias: str) -> str:
        """Return the URL of an alias."""
        return f"{self.server}{self.prefix}/aliases/{quote(alias, safe='')}"

    def nonce(self, actor_id: str, alias: str | None, nonce_id: str) -> str:
        """Return the URL of a nonce of an actor, or of an alias."""
        return f"{self.actor(actor_id) if alias is None else self.alias(alias)}/nonces/{nonce_id}"

    def owner(self, username: str) -> str:
        """Return the URL of a profile, as the gateway of this prefix has it; not served here."""
        if self.prefix == "/v3/actors":
            return f"{self.server}/v3/oauth2/profiles/{username}"
        return f"{self.server}/profiles/v2/{username}"
