"""The one shape of every answer: message, status, version, result (abaco_contract.md 1.2)."""

from __future__ import annotations

import json
from typing import Any

from flask import Response

from bridge import __version__

# Exactly this: with a charset behind it, tapipy takes the body for bytes (clients.md 0.3).
CONTENT_TYPE = "application/json"


def success(result: Any, message: str) -> Response:
    """Return a 200 with `result`; also for what was created, as Abaco does."""
    return _respond(200, "success", message, result)


def failure(status: int, message: str) -> Response:
    """Return an error in the same shape, its result null."""
    return _respond(status, "error", message, None)


def _respond(status: int, word: str, message: str, result: Any) -> Response:
    body = {"message": message, "status": word, "version": __version__, "result": result}
    return Response(json.dumps(body, allow_nan=False), status=status, content_type=CONTENT_TYPE)
