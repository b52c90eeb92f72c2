"""What a request needs: the site, the database, the clock, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from flask import current_app, g, request

from bridge.api.paths import Links, case_of, prefix_of
from bridge.audit.allowance import Allowance
from bridge.auth import Authenticator, Identity, SecretBox
from bridge.clock import Clock
from bridge.core.case import Case
from bridge.core.waits import Waits
from bridge.db import Database
from bridge.services.queued import QueueCounts
from bridge.sites import Site

_EXTENSION = "bridge"


@dataclass(frozen=True)
class Context:
    """The application's own things; one for its whole life."""

    site: Site
    database: Database
    clock: Clock
    waits: Waits
    authenticator: Authenticator
    metrics_token: bytes | None  # what may read /metrics, besides admins
    secrets: SecretBox | None  # encrypts secret configs
    counts: QueueCounts = field(default_factory=QueueCounts)
    refusals: Allowance = field(default_factory=Allowance)  # rows of the audit trail

    def now(self) -> datetime:
        """Return the present moment, cut to the milliseconds that the API shows."""
        moment = self.clock.now()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def context() -> Context:
    """Return the context of the application that serves this request."""
    found: Context = current_app.extensions[_EXTENSION]
    return found


def identity() -> Identity:
    """Return who is asking; every route but OPTIONS has been authenticated before it runs."""
    found: Identity = g.identity
    return found


def case() -> Case:
    """Return the case in which this client writes and reads keys."""
    return case_of(prefix_of(request.environ), context().site)


def links() -> Links:
    """Return the maker of links for this request."""
    return Links(context().site.public_url.rstrip("/"), prefix_of(request.environ))
