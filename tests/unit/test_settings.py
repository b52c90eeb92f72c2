from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import SettingsError
from bridge.settings import read_settings


def test_the_site_file_is_found_again_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings({"BRIDGE_SITE": "site.toml"})
    assert settings.site_file == tmp_path / "site.toml"
    assert settings.database_url == "sqlite:////var/lib/bridge/bridge.db"


def test_what_is_missing_or_wrong() -> None:
    with pytest.raises(SettingsError, match="BRIDGE_SITE is not set"):
        read_settings({})
    with pytest.raises(SettingsError, match="BRIDGE_LOG_LEVEL is 'LOUD'"):
        read_settings({"BRIDGE_SITE": "/x", "BRIDGE_LOG_LEVEL": "loud"})
