"""Cross-origin requests: any page may ask, since nothing here counts on cookies.

Source: abaco_contract.md 0.22.
"""

from __future__ import annotations

from flask import Response, request

from bridge.api.envelope import success

_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
_HEADERS = "Authorization, Content-Type, X-Tapis-Token"


def allow_origin(response: Response) -> Response:
    """Let the page that sent the request read the answer."""
    if "Origin" in request.headers or request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def answer_options() -> Response:
    """Answer a preflight, which carries no credential: 200, and what may be sent."""
    response = success(None, "What may be sent is in the headers.")
    response.headers["Access-Control-Allow-Methods"] = _METHODS
    # The name of Abaco's own header has the tenant in it: what is asked for is allowed.
    response.headers["Access-Control-Allow-Headers"] = request.headers.get(
        "Access-Control-Request-Headers", _HEADERS
    )
    return response
