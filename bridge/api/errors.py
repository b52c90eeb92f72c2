"""Every error as the envelope: ours by their class, Flask's by their code, the rest as a 500."""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from bridge.api.audit import note_refusal
from bridge.api.envelope import failure
from bridge.errors import BridgeError

log = logging.getLogger(__name__)

_FAILED = "The bridge failed to handle this request; the failure is in its log."


def register(app: Flask) -> None:
    """Make `app` answer every error in the one shape."""
    app.register_error_handler(BridgeError, _answer_ours)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def _answer_ours(error: BridgeError) -> Response:
    note_refusal(error)
    if error.status >= 500:
        log.error("A request failed", extra={"facts": {"path": _path(), "why": error.message}})
    return failure(error.status, error.message)


def _answer_http(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: no such URL or method, too large, not readable."""
    if isinstance(error, NotFound):
        return failure(404, "Invalid request: there is no such URL here.")
    if isinstance(error, MethodNotAllowed):
        response = failure(405, "Invalid HTTP method on requested resource.")
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response
    return failure(error.code or 500, error.description or error.name)


def _answer_unexpected(error: Exception) -> Response:
    """Answer a fixed sentence; what happened is for the log alone."""
    note_refusal(error)
    log.error(
        "A request failed unexpectedly",
        exc_info=error,
        extra={"facts": {"method": request.method, "path": _path()}},
    )
    return failure(500, _FAILED)


def _path() -> str:
    """Return the request's path for the log; a nonce in it is a credential and stays out."""
    nonce_id = (request.view_args or {}).get("nonce_id")
    return request.path.replace(nonce_id, "<nonce>") if nonce_id else request.path
