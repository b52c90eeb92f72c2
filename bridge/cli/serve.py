"""`bridge api`: the HTTP side, served by gunicorn."""

from __future__ import annotations

import logging
import os
from typing import Any

import click
from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from bridge import logs
from bridge.api import create_app
from bridge.cli.connections import TimedWorker
from bridge.cli.loaded import keep_what_is_loaded
from bridge.cli.reload import note_reload, read_site, refuse_reload
from bridge.db import Database
from bridge.db.upgrade import check
from bridge.errors import BridgeError, SettingsError
from bridge.settings import Settings, read_settings
from bridge.sites import Site


@click.command()
@click.option("--bind", default="127.0.0.1:8080", show_default=True, help="host:port to listen on.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--threads", default=8, show_default=True, type=click.IntRange(1), help="Threads of each."
)
def api(bind: str, workers: int, threads: int) -> None:
    """Serve Abaco's HTTP contract.

    Needs the database alone: no cluster, and no rights but those of an ordinary user. SIGHUP makes
    it read the site file again; requests under way have 30 s to end.
    """
    if os.geteuid() == 0:
        raise SettingsError(
            "bridge api does not run as root: it needs no right that an ordinary user lacks. "
            "Start it as the bridge's service user."
        )
    settings = read_settings()
    logs.configure(settings.log_level)
    site = read_site(settings.site_file)
    try_site(site, settings)
    check(settings.database_url)
    options = {"bind": bind, "workers": workers, "threads": threads}
    Server(site, settings, options).run()


def try_site(site: Site, settings: Settings) -> None:
    """Make the application once for nothing: what is wrong shows here, not in each process.

    Raises:
        SiteConfigError: a file that the site names cannot be used.
    """
    database = Database(settings.database_url)
    create_app(site, database)
    database.close()


class _JsonLogger(Logger):  # type: ignore[misc]
    """Gunicorn's own lines, in the form of all others."""

    def setup(self, cfg: Any) -> None:
        """Leave formatting and the stream to the root logger."""
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn with threads, set from code alone."""

    def __init__(self, site: Site, settings: Settings, options: dict[str, Any]) -> None:
        self.site = site
        self.settings = settings
        self._options = options | {
            "worker_class": TimedWorker,
            "accesslog": None,
            "logger_class": _JsonLogger,
            # The tokens of Abaco's own suite are 7,600 bytes long, and a query may set variables.
            "limit_request_field_size": 32_768,
            "limit_request_line": 8190,
            # Clients keep connections between polls; one closed after two seconds, gunicorn's
            # default, meets them in the middle of a request.
            "keepalive": 75,
            "control_socket_disable": True,
            "post_worker_init": lambda _worker: keep_what_is_loaded(),
        }
        super().__init__()

    def load_config(self) -> None:
        """Take no file and no argument: what is set is set above."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serve until a signal ends it."""
        _Arbiter(self).run()

    def renew(self) -> bool:
        """Read the site file again; whether the site that it describes is now in force."""
        try:
            site = read_site(self.settings.site_file)
            try_site(site, self.settings)
        except BridgeError as error:
            refuse_reload(error, "api", self.settings.database_url)
            return False
        note_reload(self.site, site, "api", self.settings.database_url)
        self.site = site
        return True

    def load(self) -> Flask:
        """Make the application; each process has connections of its own."""
        return create_app(self.site, Database(self.settings.database_url))


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Gunicorn's parent of all processes, which reloads nothing that cannot be used."""

    def handle_hup(self) -> None:
        """Take the site file over: new processes for requests to come, the old ones finish."""
        if self.app.renew():
            super().handle_hup()
