"""The application, and clients that speak to it as users of it do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from bridge.api import create_app
from bridge.auth import sign_token
from bridge.clock import ManualClock
from bridge.core.waits import Waits
from bridge.db import Database
from bridge.sites import Site
from tests.factories.rows import add_account

ADMIN = "Internal/abaco-admin"
PRIVILEGED = "Internal/abaco-privileged"
EVERYONE = "Internal/everyone"
# Keys and the clock's start are the same for the whole run, so tokens are signed once.
_TOKENS: dict[tuple[str, str, tuple[str, ...]], str] = {}


class Caller:
    """One user with one kind of header, under one prefix."""

    def __init__(self, app: Flask, prefix: str, headers: dict[str, str]) -> None:
        self._client = app.test_client()
        self.prefix = prefix
        self.headers = headers

    def __call__(self, method: str, path: str = "", **arguments: Any) -> TestResponse:
        """Send a request to `path` under the prefix."""
        headers = {**self.headers, **arguments.pop("headers", {})}
        return self._client.open(self.prefix + path, method=method, headers=headers, **arguments)

    def get(self, path: str = "", **arguments: Any) -> TestResponse:
        return self("GET", path, **arguments)

    def post(self, path: str = "", **arguments: Any) -> TestResponse:
        return self("POST", path, **arguments)

    def put(self, path: str = "", **arguments: Any) -> TestResponse:
        return self("PUT", path, **arguments)

    def delete(self, path: str = "", **arguments: Any) -> TestResponse:
        return self("DELETE", path, **arguments)


@pytest.fixture
def waits() -> Waits:
    """Waits that are over after the first question."""
    moments = iter(range(0, 1_000_000, 1000))
    return Waits(pause=lambda _seconds: None, read_s=lambda: next(moments))


@pytest.fixture
def app(site: Site, database: Database, clock: ManualClock, waits: Waits) -> Flask:
    """The application; alice, bob and carol have accounts on the cluster."""
    with database.begin() as session:
        for number, name in enumerate(("alice", "bob", "carol", "root_admin"), start=2001):
            add_account(session, name, uid=number, gid=number)
    return create_app(site, database, clock, waits)


@pytest.fixture
def caller(app: Flask, site: Site) -> Callable[..., Caller]:
    """Makes callers: `caller("bob", prefix="/v3/actors", role=ADMIN)`."""

    def make(
        username: str = "alice",
        *roles: str,
        tenant: str = "PHYSICS",
        prefix: str = "/actors",
    ) -> Caller:
        about = (tenant, username, roles or (EVERYONE,))
        if about not in _TOKENS:
            _TOKENS[about] = sign_token(site.tenants[tenant], *about, 3600, ManualClock())
        token = _TOKENS[about]
        return Caller(app, prefix, {"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def alice(caller: Callable[..., Caller]) -> Caller:
    """A plain user, under the bare prefix (snake_case)."""
    return caller("alice")


@pytest.fixture
def bob(caller: Callable[..., Caller]) -> Caller:
    """Another plain user of the same tenant."""
    return caller("bob")


@pytest.fixture
def admin(caller: Callable[..., Caller]) -> Caller:
    """An admin of the tenant."""
    return caller("root_admin", ADMIN)
