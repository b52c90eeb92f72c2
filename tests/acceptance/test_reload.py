"""The site file changes while the bridge works on the real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.sandbox.service import SITE_FILE
from tests.cluster import Cluster, wait_for

pytestmark = pytest.mark.sandbox


@pytest.fixture
def site(cluster: Cluster) -> Iterator[str]:
    """The site file's text; what a test leaves in its place is undone."""
    yield cluster.sandbox.run("login", ["cat", SITE_FILE]).stdout
    cluster.start()


def hang_up(cluster: Cluster, text: str, answer: str) -> None:
    """Put `text` in the place of the site file, and tell both processes, which say `answer`."""
    cluster.sandbox.put("login", SITE_FILE, text.encode(), owner="bridge", mode=0o640)
    for name in ("api", "scheduler"):
        before = cluster.service.log(name).count(answer)
        cluster.sandbox.run("login", ["kill", "-HUP", str(cluster.service.pid(name))])
        wait_for(
            lambda name=name, before=before: cluster.service.log(name).count(answer) > before,  # type: ignore[misc]
            60,
            f"{name} to say {answer!r}",
        )


def test_what_runs_goes_on_and_what_comes_has_the_new_values(cluster: Cluster, site: str) -> None:
    client = cluster.client()
    slow = cluster.actor(client, "sleeper")
    since = cluster.now()
    first = cluster.post(client, slow, "12")
    cluster.running(client, slow)

    assert "time_limit_s = 3600" in site
    hang_up(cluster, site.replace("time_limit_s = 3600", "time_limit_s = 1740"), "file reloaded")
    quick = cluster.actor(client, "echo")
    (second,) = cluster.post(client, quick, "after")
    assert cluster.end(client, quick, second)["status"] == "COMPLETE"

    hang_up(cluster, site.replace('cluster = "sandbox"', 'cluster = "sand"'), "file refused")
    third = cluster.post(client, quick, "still")
    statuses = [row["status"] for one in (slow, quick) for row in cluster.final(client, one)]
    assert statuses == ["COMPLETE"] * 3
    assert cluster.starts([*first, second, *third]) == dict.fromkeys([*first, second, *third], 1)

    argv = ["sacct", "-aXnP", "-S", since, "-u", "alice", "-o", "Timelimit"]
    limits = cluster.sandbox.run("login", argv).stdout.split()
    assert {"01:00:00", "00:29:00"} == set(limits)


def test_reloads_lose_and_repeat_nothing(cluster: Cluster, site: str) -> None:
    client = cluster.client()
    actor = cluster.actor(client, "echo")
    ids = []
    for number in range(40):
        if number % 8 == 4:
            for name in ("api", "scheduler"):
                cluster.sandbox.run("login", ["kill", "-HUP", str(cluster.service.pid(name))])
        ids += cluster.post(client, actor, f"message {number}")
    statuses = [execution["status"] for execution in cluster.final(client, actor)]
    assert statuses == ["COMPLETE"] * 40
    assert cluster.starts(ids) == dict.fromkeys(ids, 1)
    assert cluster.sandbox.run("login", ["cat", SITE_FILE]).stdout == site


def test_the_sandbox_passes_its_own_check(cluster: Cluster) -> None:
    done = cluster.sandbox.run(
        "login",
        ["bridge", "config", "check", "--files"],
        user="bridge",
        env=cluster.service.environment,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert "1 cluster, 2 tenants: no mistakes" in done.stdout
