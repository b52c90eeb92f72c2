"""Fixtures that every room's tests may use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import text
from xdist.scheduler import LoadScopeScheduling

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


# Whose tests share the one real cluster.
CLUSTER_TESTS = ("tests/acceptance/", "tests/integration/node/", "tests/integration/sandbox/",
                 "tests/integration/sessions/", "tests/integration/slurm/")  # fmt: skip


class Halves(LoadScopeScheduling):  # type: ignore[misc]
    """The tests of the real cluster, one after the other, beside all others, file by file.

    For pytest-xdist: `make test` is pytest -n 2 --dist loadscope --no-loadscope-reorder.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "cluster" if nodeid.startswith(CLUSTER_TESTS) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Halves:
    """Share the tests out between the two processes."""
    return Halves(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See that a test of the cluster is where those are, or two processes would bring it up."""
    for item in items:
        if item.get_closest_marker("sandbox") and not item.nodeid.startswith(CLUSTER_TESTS):
            raise pytest.UsageError(f"{item.nodeid}: expected in one of {', '.join(CLUSTER_TESTS)}")


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
