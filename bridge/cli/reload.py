"""What is logged when a process that runs has been told to read the site file again."""

from __future__ import annotations

import logging

from bridge.errors import BridgeError
from bridge.sites import Site
from bridge.sites.changes import find_changes

log = logging.getLogger(__name__)


def note_reload(old: Site, new: Site) -> None:
    """Log that `new` is in force, and what in it differs from `old`."""
    changes = find_changes(old, new)
    said = ", ".join(changes) if changes else "no key; files of keys were read again"
    log.info("site file reloaded; changed: %s", said)


def refuse_reload(error: BridgeError) -> None:
    """Log that the old site stays in force, and why."""
    log.error("site file refused, the old one stays in force: %s", error.message)
