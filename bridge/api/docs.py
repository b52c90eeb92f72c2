"""``/docs``: the OpenAPI documents as a page for people, which asks nothing of the internet.

Swagger UI's own files come with flask-swagger-ui; of that package nothing else is used, because its
page has a script in it that the policy below would have to let through.
"""

from __future__ import annotations

import json
from importlib import resources
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response

from bridge.api.context import context
from bridge.api.describe import BARE, describe
from bridge.api.paths import PREFIXES
from bridge.errors import NotFound

blueprint = Blueprint("docs", __name__)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Abaco Bridge</title>
  <link rel="stylesheet" href="/docs/swagger-ui.css">
  <link rel="stylesheet" href="/docs/index.css">
  <link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="/docs/swagger-ui-bundle.js"></script>
  <script src="/docs/swagger-ui-standalone-preset.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
_CONFIG = {
    "dom_id": "#swagger-ui",
    "urls": [
        {"name": prefix, "url": f"/openapi.json?prefix={quote(prefix)}"}
        for prefix in reversed(PREFIXES)
    ],
    "layout": "StandaloneLayout",
    "docExpansion": "list",
    "validatorUrl": None,  # by default the document is shown to a service on the internet
}
_START = f"""const config = {json.dumps(_CONFIG)};
config.presets = [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset];
window.ui = SwaggerUIBundle(config);
"""
_ASSETS = {
    "favicon-32x32.png": "image/png",
    "index.css": "text/css",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
}


@blueprint.get("/docs")
@describe("get_docs", result=BARE, media={"text/html": "The page."}, is_public=True)
def page() -> Response:
    """Show this interface to a browser."""
    # Its requests go to the server that the documents name: the site's public URL.
    url = urlsplit(context().site.public_url)
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles on elements
            "img-src 'self' data:",
            f"connect-src 'self' {url.scheme}://{url.netloc}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return _guard(response)


@blueprint.get("/docs/<asset>")
@describe(
    "get_docs_asset",
    result=BARE,
    media=dict.fromkeys(sorted(set(_ASSETS.values())), "A script, style or picture."),
    is_public=True,
)
def file(asset: str) -> Response:
    """Give a file that the page needs."""
    if asset == "start.js":
        return _guard(Response(_START, content_type="text/javascript; charset=utf-8"))
    if asset not in _ASSETS:
        raise NotFound(f"The page at /docs has no file {asset[:64]!r}.")
    data = (resources.files("flask_swagger_ui") / "dist" / asset).read_bytes()
    response = Response(data, mimetype=_ASSETS[asset])
    response.cache_control.max_age = 3600
    return _guard(response)


def _guard(response: Response) -> Response:
    """Keep a browser from taking the file for another type, and from telling where it was."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
