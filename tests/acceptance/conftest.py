"""Acceptance: the real cluster, over HTTP."""

import pytest

from tests.cluster import Cluster


@pytest.fixture(autouse=True)
def _sandbox_services(request: pytest.FixtureRequest) -> None:
    """Start what an earlier test killed, so that each test begins with the bridge whole."""
    if "cluster" in request.fixturenames:
        running: Cluster = request.getfixturevalue("cluster")
        for name in ("api", "scheduler"):
            if not running.service.is_running(name):
                running.service.start(name)
        running.service.wait_ready()
