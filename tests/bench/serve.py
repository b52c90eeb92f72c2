"""What `tests.bench.posting` measures: the bridge's API, or the least that could stand for it.

Both are served by the same gunicorn with the same settings and write the same rows to a database
of the same kind. ``python -m tests.bench.serve bridge|bare <site.toml> <database URL> <port>``.
"""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import insert

from bridge.api import create_app
from bridge.cli.serve import Server
from bridge.core.statuses import ExecutionStatus
from bridge.db import Database, Execution, Message
from bridge.settings import Settings
from bridge.sites import Site, load_site

ACTOR = "BenchActor0001"
BATCH = 1000
THREADS = 8


def create_bare(database: Database) -> Flask:
    """Return an application that inserts the rows of a message, or of a batch, and nothing else."""
    app = Flask("bare")
    numbers = itertools.count(1)
    to_executions, to_messages = insert(Execution), insert(Message)

    def write(count: int) -> dict[str, int]:
        ids = [f"b{next(numbers):012}" for _ in range(count)]
        now = datetime.now(UTC)
        with database.engine.begin() as connection:
            connection.execute(to_executions, [_execution(name, now) for name in ids])
            connection.execute(to_messages, [_message(name) for name in ids])
        return {"written": count}

    @app.post("/one")
    def one() -> dict[str, int]:
        return write(1)

    @app.post("/many")
    def many() -> dict[str, int]:
        return write(BATCH)

    return app


def _execution(name: str, now: datetime) -> dict[str, Any]:
    return {
        "id": name,
        "tenant": "PHYSICS",
        "actor_id": ACTOR,
        "actor_revision": 1,
        "executor": "alice",
        "username": "alice",
        "executor_uid": None,
        "executor_gid": None,
        "idempotency_key": None,
        "status": ExecutionStatus.SUBMITTED,
        "message_received_time": now,
    }


def _message(name: str) -> dict[str, Any]:
    return {
        "execution_id": name,
        "content_type": "str",
        "payload": b"hello",
        "size": 5,
        "environment": {},
    }


class _Measured(Server):
    """The server of `bridge api` with one worker, around one of the two applications."""

    def __init__(self, kind: str, site: Site, settings: Settings, port: int) -> None:
        self._kind = kind
        options = {"bind": f"127.0.0.1:{port}", "workers": 1, "threads": THREADS}
        super().__init__(site, settings, options)

    def load(self) -> Flask:
        """Make the application in the worker."""
        database = Database(self.settings.database_url)
        return create_bare(database) if self._kind == "bare" else create_app(self.site, database)


def main() -> None:
    """Serve until told to end."""
    kind, site_file, database_url, port = sys.argv[1:]
    settings = Settings(Path(site_file), database_url)
    _Measured(kind, load_site(settings.site_file), settings, int(port)).run()


if __name__ == "__main__":
    main()
