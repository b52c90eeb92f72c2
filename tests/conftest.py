"""Fixtures that every room's tests may use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import text

from bridge.clock import ManualClock
from bridge.db import Base, Database
from bridge.sites import Site
from tests.cluster import cluster, sandbox
from tests.factories.postgres import PostgresMissing, postgres_server
from tests.factories.sites import make_site

# A slow machine is no failure.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

__all__ = ["cluster", "sandbox"]  # one of each for the whole run, whichever room asks first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a cluster, which goes first, and otherwise what is in one file.

    So `make test` (pytest -n 2 --dist loadgroup) runs the one real cluster's tests one after the
    other, in one process, while another process runs all that needs none.
    """

    def group(item: pytest.Item) -> str:
        is_cluster = item.get_closest_marker("sandbox") is not None
        return "sandbox" if is_cluster else item.nodeid.partition("::")[0]

    items.sort(key=lambda item: group(item) != "sandbox")
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server of the suite's own, without tables."""
    try:
        server = postgres_server()
        url = server.__enter__()
    except PostgresMissing as missing:
        pytest.skip(f"PostgreSQL: {missing}")
    yield url
    server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """A database of that server with the models' tables, shared by all tests of a session."""
    database = Database(postgres_url)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the models' tables; tests copy it."""
    path = tmp_path_factory.mktemp("template") / "bridge.db"
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.engine)
    database.close()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path
) -> Iterator[Database]:
    """An empty database with every table: once on SQLite, once on PostgreSQL."""
    if request.param == "postgresql":
        shared: Database = request.getfixturevalue("postgres_database")
        yield shared
        with shared.engine.begin() as connection:
            names = ", ".join(table.name for table in Base.metadata.sorted_tables)
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        shared.close()  # so that no test finds another's connection
        return
    path = tmp_path / "bridge.db"
    shutil.copy(sqlite_template, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until it is pushed."""
    return ManualClock()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with two tenants and keys."""
    return make_site(tmp_path)
