"""Reading the site file in a process that stays, and what is logged of it."""

from __future__ import annotations

import logging
from pathlib import Path

from bridge.errors import BridgeError
from bridge.sites import Site
from bridge.sites.changes import find_changes
from bridge.sites.load import read_site_file

log = logging.getLogger(__name__)


def read_site(path: Path) -> Site:
    """Return the site that `path` describes; log what in it has no effect or is unlikely meant.

    Raises:
        SiteConfigError: the file cannot be read or has mistakes.
    """
    file = read_site_file(path)
    for warning in file.warnings:
        log.warning("%s", file.line(warning))
    return file.site


def note_reload(old: Site, new: Site) -> None:
    """Log that `new` is in force, and what in it differs from `old`."""
    changes = find_changes(old, new)
    said = ", ".join(changes) if changes else "no key; files of keys were read again"
    log.info("site file reloaded; changed: %s", said)


def refuse_reload(error: BridgeError) -> None:
    """Log that the old site stays in force, and why."""
    log.error("site file refused, the old one stays in force: %s", error.message)
