"""BRIDGE_* settings: what one process needs before it can read the site file.

Everything about clusters and tenants stands in the site file (bridge/sites); this is only where
that file and the database are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """Settings of one process, read from the environment.

    Attributes:
        site_file: the site's TOML file (BRIDGE_SITE).
        database_url: an SQLAlchemy URL (BRIDGE_DATABASE), SQLite by default; a password in it
            should rather come from the driver's own password file.
        log_level: a name of the logging module (BRIDGE_LOG_LEVEL).
    """

    site_file: Path
    database_url: str
    log_level: str = "INFO"


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process.

    Raises:
        SettingsError: BRIDGE_SITE is missing, or BRIDGE_LOG_LEVEL is no level.
    """
    env = os.environ if environ is None else environ
    site = env.get("BRIDGE_SITE", "")
    if not site:
        raise SettingsError(
            "BRIDGE_SITE is not set: give the path of the site file, for example "
            "BRIDGE_SITE=/etc/bridge/site.toml (examples are in site_configs/)."
        )
    level = env.get("BRIDGE_LOG_LEVEL", "INFO").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(
            f"BRIDGE_LOG_LEVEL is {level!r}: expected DEBUG, INFO, WARNING or ERROR."
        )
    return Settings(
        site_file=Path(site).absolute(),  # the scheduler leaves its directory, and reads it again
        database_url=env.get("BRIDGE_DATABASE", "sqlite:////var/lib/bridge/bridge.db"),
        log_level=level,
    )
