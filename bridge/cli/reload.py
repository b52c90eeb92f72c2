"""Reading the site file in a process that stays, and what is logged and recorded of it."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from bridge.audit import Entry, tell, write
from bridge.clock import SystemClock
from bridge.db import Database
from bridge.errors import BridgeError
from bridge.sites import Site
from bridge.sites.changes import find_changes, find_fixed
from bridge.sites.files import check_writers
from bridge.sites.load import read_site_file

log = logging.getLogger(__name__)


def read_site(path: Path) -> Site:
    """Return the site that `path` describes; log what in it has no effect or is unlikely meant.

    Raises:
        SiteConfigError: the file cannot be read, has mistakes, or is everybody's to write.
    """
    file = read_site_file(path)
    check_writers(path)
    for warning in file.warnings:
        log.warning("%s", file.line(warning))
    return file.site


def note_reload(old: Site, new: Site, process: str, database_url: str) -> None:
    """Log and record that `new` is in force, and what in it differs from `old`."""
    changes = find_changes(old, new)
    said = ", ".join(changes) if changes else "no key; files of keys were read again"
    log.info("site file reloaded; changed: %s", said)
    fixed = find_fixed(old, new)
    if fixed:  # the scheduler has refused it, or will
        log.warning("the scheduler needs a restart for: %s", ", ".join(fixed))
    _record(process, database_url, f"changed: {said}", "")


def refuse_reload(error: BridgeError, process: str, database_url: str) -> None:
    """Log and record that the old site stays in force, and why."""
    log.error("site file refused, the old one stays in force: %s", error.message)
    _record(process, database_url, "the old one stays in force", type(error).__name__)


def _record(process: str, database_url: str, detail: str, refused: str) -> None:
    entry = Entry(
        at=SystemClock().now(),
        tenant="",
        username="",
        via="signal",
        action="site.reload",
        object=f"process {process}",
        detail=detail[:255],
        result="refused" if refused else "ok",
        code=refused,
    )
    database = Database(database_url)
    try:
        with database.begin() as session:
            write(session, entry)
    except SQLAlchemyError as error:  # what was reloaded is in force all the same
        log.warning("not in the audit table: %s", type(error).__name__)
    finally:
        database.close()
    tell(entry)
