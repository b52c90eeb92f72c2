"""A bridge on loopback with something of everything in its SQLite database."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from bridge.api import create_app
from bridge.auth import sign_token
from bridge.clock import ManualClock
from bridge.core.statuses import ExecutionStatus
from bridge.core.waits import Waits
from bridge.db import Actor, Database, Execution, Log, Result
from bridge.sites.images import ImagePolicy
from tests.factories.rows import START, add_account, add_array, add_worker
from tests.factories.sites import make_site

ROLES = ("Internal/abaco-admin", "Internal/everyone")
LATER = START + timedelta(days=365)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def log_request(self, *_: Any, **__: Any) -> None:
        """Write nothing for each of thousands."""


@dataclass
class Served:
    """A running bridge, a credential for it, and the ids of what is there."""

    url: str
    token: str
    ids: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture
def served(tmp_path: Path, sqlite_template: Path) -> Iterator[Served]:
    """Serve on a free port of loopback; waits are over after the first question."""
    database_path = tmp_path / "bridge.db"
    shutil.copy(sqlite_template, database_path)
    database = Database(f"sqlite:///{database_path}")
    moments = iter(range(0, 1_000_000_000, 1000))
    waits = Waits(pause=lambda _seconds: None, read_s=lambda: next(moments))
    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True, request_handler=_Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    site = make_site(tmp_path, public_url=url)
    # The shortest image that the document allows is a SIF file in the root directory.
    images = ImagePolicy(sif_directories=(Path("/"),))
    tenant = site.tenants["PHYSICS"].model_copy(update={"run_as_executor": True, "images": images})
    site = site.model_copy(update={"tenants": {**site.tenants, "PHYSICS": tenant}})
    app = server.app = create_app(site, database, ManualClock(START), waits)
    with database.begin() as session:
        add_account(session, "root_admin")
    token = sign_token(site.tenants["PHYSICS"], "PHYSICS", "root_admin", ROLES, 3600, ManualClock())
    made = _fill(app, database, token)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Served(url, token, made)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        database.close()


def _fill(app: Flask, database: Database, token: str) -> dict[str, list[str]]:
    """Make some of everything, most of it as a client does; return ids by path parameter."""
    client = app.test_client()

    def post(path: str, method: str = "POST", **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        response = client.open(path, method=method, json=body, headers=headers)
        assert response.status_code == 200, response.json
        return response.json["result"]

    actors = [
        post("/actors", image="debian", name=f"n{n}", stateless=n > 0)["id"] for n in range(4)
    ]
    doomed = [post("/actors", image="debian")["id"] for _ in range(30)]
    first = actors[0]
    executions, doomed_executions = (
        [post(f"/actors/{first}/messages", message="m")["execution_id"] for _ in range(number)]
        for number in (8, 30)
    )
    aliases, doomed_aliases = (
        [
            post("/actors/aliases", alias=f"{word}{n}", actor_id=first)["alias"]
            for n in range(number)
        ]
        for word, number in (("alias", 4), ("doomed", 30))
    )
    secret = {"value": "v", "is_secret": True, "actors": first}
    configs, doomed_configs = (
        [post("/actors/configs", name=f"{word}{n}", **secret)["name"] for n in range(number)]
        for word, number in (("config", 4), ("doomed", 30))
    )
    nonces, doomed_nonces, alias_nonces, doomed_alias_nonces = (
        [post(f"/actors/{path}/nonces")["id"] for _ in range(number)]
        for path in (first, f"aliases/{aliases[0]}")
        for number in (8, 30)
    )
    registries, doomed_registries = (
        [f"{word}{n}.example.org" for n in range(number)]
        for word, number in (("r", 4), ("doomed", 30))
    )
    for registry in registries + doomed_registries:
        post(f"/actors/registries/{registry}", "PUT", username="me", password="word")
    _run(database, first, executions[:4])
    credential = {"Authorization": f"Bearer {token}"}
    listed = client.get(f"/actors/{first}/workers", headers=credential).json["result"]
    workers = [worker["id"] for worker in listed]
    return {
        "actor_id": [*[first] * 8, *actors, aliases[1]],  # most is below the first
        "stateless_actor": actors[1:],  # the first keeps state, and a PUT has to say so
        "doomed_actor": doomed,
        "execution_id": executions,
        "doomed_execution": doomed_executions,
        "alias": [*[aliases[0]] * 8, *aliases],
        "doomed_alias": doomed_aliases,
        "name": configs,
        "doomed_config": doomed_configs,
        "registry": registries,
        "doomed_registry": doomed_registries,
        "nonce_id": nonces,
        "doomed_nonce": doomed_nonces,
        "alias_nonce": alias_nonces,
        "doomed_alias_nonce": doomed_alias_nonces,
        "worker_id": workers[:8],
        "doomed_worker": workers[8:],
        "asset": ["start.js", "index.css"],
    }


def _run(database: Database, actor_id: str, executions: list[str]) -> None:
    """Let the first of the executions run and the others have run, with logs and results."""
    with database.begin() as session:
        array = add_array(session, session.get_one(Actor, actor_id), task_count=40)
        worker = add_worker(session, array)
        for number, execution_id in enumerate(executions):
            row = session.query(Execution).filter_by(id=execution_id).one()
            row.array_id, row.worker_id = array.id, worker.id
            row.status, row.start_time = ExecutionStatus.RUNNING, START
            if number:
                row.status, row.finish_time, row.exit_code = ExecutionStatus.COMPLETE, START, 0
                row.final_state = {"ExitCode": 0, "StartedAt": "2026-01-01T00:00:00.000Z"}
            session.add(Log(execution_id=execution_id, text="hello\n", expires_at=LATER))
            session.add_all(
                Result(execution_id=execution_id, number=n, payload=b"\0", expires_at=LATER)
                for n in range(50)
            )
