"""What an admin reads about a site file that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.errors import SiteConfigError
from bridge.sandbox.images import CHECKOUT
from bridge.sites import load_site
from tests.unit.sites.broken import BROKEN, Broken

FOLDER = CHECKOUT / "site_configs"


def report(path: Path) -> list[str]:
    """Return the lines about the file at `path`, without its name."""
    with pytest.raises(SiteConfigError) as caught:
        load_site(path)
    lines = caught.value.message.splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def test_there_are_fifty() -> None:
    assert len({(one.example, one.old, one.new) for one in BROKEN}) == len(BROKEN) >= 50


@pytest.mark.parametrize("broken", BROKEN, ids=[one.report.split(":")[0] for one in BROKEN])
def test_one_mistake(broken: Broken, tmp_path: Path) -> None:
    text = (FOLDER / f"{broken.example}.toml").read_text(encoding="utf-8")
    assert broken.old in text
    path = tmp_path / "site.toml"
    path.write_text(text.replace(broken.old, broken.new, 1), encoding="utf-8")
    lines = [re.sub(r"^[0-9: ]*", "", line) for line in report(path)]
    assert broken.report in lines
    assert "hunter2" not in "\n".join(lines)
