"""The Flask application, made from its parts."""

from __future__ import annotations

from flask import Flask, Response, current_app, g, request

from bridge.api import (
    actors,
    admin,
    aliases,
    audit,
    configs,
    cors,
    docs,
    errors,
    executions,
    messages,
    metrics,
    nonces,
    openapi,
    permissions,
    registries,
    results,
    search,
    state,
    tapis,
    utilization,
    workers,
)
from bridge.api.context import Context
from bridge.api.credentials import identify
from bridge.api.describe import description_of
from bridge.api.paths import PrefixMiddleware, refuse_reserved
from bridge.auth import Authenticator, load_secret_box
from bridge.clock import Clock, SystemClock
from bridge.core.waits import Waits
from bridge.db import Database
from bridge.sites import Site, read_secret

_RESOURCES = (
    actors,
    messages,
    executions,
    results,
    search,
    state,
    permissions,
    aliases,
    nonces,
    configs,
    registries,
    workers,
    openapi,
    docs,
    tapis,
    utilization,
    admin,
    metrics,
)


def create_app(
    site: Site, database: Database, clock: Clock | None = None, waits: Waits | None = None
) -> Flask:
    """Return the application that serves `site` from `database`.

    Raises:
        SiteConfigError: a file with a key or token cannot be used.
    """
    clock = clock or SystemClock()
    app = Flask("bridge.api", static_folder=None)
    app.extensions["bridge"] = Context(
        site=site,
        database=database,
        clock=clock,
        waits=waits or Waits(),
        authenticator=Authenticator(site, clock),
        metrics_token=_read_metrics_token(site),
        secrets=load_secret_box(site),
    )
    app.url_map.merge_slashes = False  # the middleware folds them, without a redirect
    app.config["MAX_CONTENT_LENGTH"] = site.limits.max_text_message_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = site.limits.max_text_message_bytes
    for resource in _RESOURCES:
        app.register_blueprint(resource.blueprint)
    audit.register(app)
    app.before_request(_authenticate)
    app.after_request(cors.allow_origin)
    errors.register(app)
    app.wsgi_app = PrefixMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _read_metrics_token(site: Site) -> bytes | None:
    path = site.metrics_token_file
    return None if path is None else read_secret(path, "metrics_token_file")


def _authenticate() -> Response | None:
    """Let nobody unknown past; URLs and methods that do not exist answer as such to everybody."""
    if request.routing_exception is not None:
        return None
    if request.method == "OPTIONS":
        return cors.answer_options()
    refuse_reserved()
    about = description_of(current_app.view_functions.get(request.endpoint or ""))
    if about is None or not about.is_public:
        g.identity = identify()
    return None
