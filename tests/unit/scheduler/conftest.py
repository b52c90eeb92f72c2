"""The world in which a scheduler is tested."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.clock import ManualClock
from bridge.db import Database
from bridge.scheduler import feed, journals, plan
from bridge.sessions import SessionPool
from bridge.sessions.openers import local_opener
from bridge.sessions.program import AgentProgram
from bridge.sites import Site
from tests.factories.sites import make_site
from tests.unit.scheduler.world import World


@pytest.fixture(autouse=True)
def _rounds_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a round do all of its work, however slow the machine; short ones have tests."""
    for module, name in ((plan, "PLANS_S"), (feed, "FEED_S"), (journals, "HARVEST_S")):
        monkeypatch.setattr(module, name, 60.0)


@pytest.fixture(scope="session")
def sessions() -> Iterator[SessionPool]:
    """Sessions by real agents on this machine, kept for all tests."""
    program = AgentProgram()
    pool = SessionPool(local_opener(program.argv(sys.executable)))
    yield pool
    pool.close()
    program.remove()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose one cluster keeps its spools and images here."""
    cluster = {
        "spool": f"{tmp_path}/spool/{{username}}",
        "image_cache": f"{tmp_path}/images",
        "linger_s": 1,
        "lost_after_s": 30,
        "fence_grace_s": 5,
        "batch": {"max_retries": 3},
    }
    return make_site(tmp_path, clusters={"alpha": cluster})


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty database on SQLite."""
    path = tmp_path / "bridge.db"
    shutil.copy(sqlite_template, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def world(
    site: Site, sqlite: Database, clock: ManualClock, sessions: SessionPool
) -> Iterator[World]:
    """A world on SQLite."""
    world = World(site, sqlite, clock, sessions)
    yield world
    world.slurm.close()


@pytest.fixture
def each_world(
    site: Site, database: Database, clock: ManualClock, sessions: SessionPool
) -> Iterator[World]:
    """A world on SQLite, then one on PostgreSQL."""
    world = World(site, database, clock, sessions)
    yield world
    world.slurm.close()
