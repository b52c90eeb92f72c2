"""Mounts on the real cluster: what the actor shows is what the kernel has, and `ro` is `ro`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from bridge.sandbox.demo import Client
from tests.cluster import Cluster

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

CORRAL = '  { host_path = "/corral", container_path = "/corral", mode = "ro" },\n'
MORE = """\
  { host_path = "{home}", container_path = "/homes/{login}", mode = "ro" },
  { host_path = "/scratch/{username}", container_path = "/homes/{login}/scratch", mode = "rw" },
  { host_path = "/work/{login}/{uid}.{gid}", container_path = "/data/{login}", if_missing = "skip"},
"""
BIOLOGY = '  { host_path = "/work/{username}", container_path = "/work", mode = "rw" },\n]\n'
REFUSED = (
    '  { host_path = "/work/{username}/project", container_path = "/work", mode = "rw", '
    'if_missing = "refuse" },\n]\n'
)
# Of the runtime, and of Abaco's files: what every container has besides.
OURS = ("/", "/proc", "/sys", "/dev", "/etc", "/tmp", "/var/tmp", "/.singularity.d")


@pytest.fixture(scope="module")
def mounts(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with a site that has more mounts."""
    site = cluster.sandbox.run("login", ["cat", "/etc/bridge/site.toml"]).stdout
    physics, biology = site.index("[tenants.PHYSICS]"), site.index("[tenants.BIOLOGY]")
    assert CORRAL in site[physics:biology]
    assert BIOLOGY in site[biology:]
    other = site[biology:].replace(BIOLOGY, REFUSED)
    cluster.start(changes={CORRAL: CORRAL + MORE, site[biology:]: other})
    yield cluster
    cluster.start()


def as_user(cluster: Cluster, username: str, script: str, *words: str) -> str:
    done = cluster.sandbox.run("login", ["sh", "-euc", script, "-", *words], user=username)
    return done.stdout.strip()


@pytest.fixture
def extra(mounts: Cluster) -> Iterator[str]:
    """The directory that is alice's third mount, there for now."""
    uid, gid = (as_user(mounts, "alice", f"id -{what}") for what in "ug")
    path = f"/work/alice/{uid}.{gid}"
    as_user(mounts, "alice", 'mkdir -p "$1"', path)
    yield path
    as_user(mounts, "alice", 'rm -rf "$1"', path)


def run(cluster: Cluster, client: Client, actor: str, **orders: Any) -> list[Any]:
    """Post a message to a probe; return its lines."""
    options = {"json": orders} if orders else {"data": {"message": "x"}}
    execution = client.call("POST", f"/{actor}/messages", **options)["executionId"]
    return [json.loads(line) for line in cluster.log(client, actor, execution).splitlines()]


def fail(cluster: Cluster, client: Client, actor: str, execution: str) -> str:
    """Return all that its owner is told of an execution that ends in ERROR."""
    ended = cluster.end(client, actor, execution)
    assert ended["status"] == "ERROR"
    return json.dumps(ended)


def refresh(cluster: Cluster, username: str) -> None:
    """Have the cluster asked about a user again, as it is after ten minutes."""
    script = (
        "import sqlite3; d = sqlite3.connect('/var/lib/bridge/bridge.db', timeout=30); "
        f"d.execute('delete from cluster_users where username = ?', ({username!r},)); d.commit()"
    )
    cluster.sandbox.run("login", ["python3", "-c", script], user="bridge")


def test_what_the_actor_shows_is_what_the_container_has(mounts: Cluster, extra: str) -> None:
    refresh(mounts, "alice")
    client = mounts.client()
    actor = mounts.actor(client, "probe")
    shown = client.call("GET", f"/{actor}")["mounts"]
    assert [mount["container_path"] for mount in shown] == [
        "/scratch", "/work", "/corral", "/homes/alice", "/homes/alice/scratch",
        "/data/alice",
    ]  # fmt: skip
    assert [mount["host_path"] for mount in shown][3:] == ["/home/alice", "/scratch/alice", extra]

    seen = run(mounts, client, actor)[0]
    for mount in shown:
        path = mount["container_path"]
        assert seen["mounts"][path] == mount["mode"], path
        volume, _, below = mount["host_path"][1:].partition("/")
        root = seen["roots"][path]  # on the filesystem, which may be a volume of the sandbox
        of_volume = f"-{volume}/_data/{below}".rstrip("/")
        assert root == mount["host_path"] or root.endswith(of_volume), path
    others = set(seen["mounts"]) - {mount["container_path"] for mount in shown}
    assert [
        path
        for path in sorted(others)
        if path not in OURS
        and not path.startswith(("/_abaco_", "/proc/", "/sys/", "/dev/", "/etc/", "/.singularity"))
    ] == []
    client.call("DELETE", f"/{actor}")


def test_read_only_is_so_for_the_owner_too(mounts: Cluster, extra: str) -> None:
    refresh(mounts, "alice")
    client = mounts.client()
    actor = mounts.actor(client, "probe")
    _, tried = run(mounts, client, actor, force=["/data/alice", "/homes/alice", "/work"])
    assert set(tried["/work"].values()) >= {"written"}  # the tricks would show it
    for path in ("/data/alice", "/homes/alice"):
        assert len(tried[path]) > 3
        assert {how for how, what in tried[path].items() if what == "written"} == set(), tried[path]
        assert tried[path]["plainly"] == "OSError: Read-only file system"
    # Without the container the owner may: it was the mount that did not let them.
    as_user(mounts, "alice", 'touch "$1/mine" && rm "$1/mine"', extra)
    client.call("DELETE", f"/{actor}")


def test_what_is_missing_is_left_out_or_refused(mounts: Cluster) -> None:
    refresh(mounts, "alice")
    client = mounts.client()
    actor = mounts.actor(client, "probe")
    shown = [mount["container_path"] for mount in client.call("GET", f"/{actor}")["mounts"]]
    assert "/data/alice" not in shown
    assert "/data/alice" not in run(mounts, client, actor)[0]["mounts"]
    client.call("DELETE", f"/{actor}")

    refresh(mounts, "carol")
    token = {"Authorization": f"Bearer {mounts.service.token('carol')}"}
    body = {"image": mounts.sandbox.ensure_image("probe")}
    url = f"{mounts.sandbox.url}/actors"
    answer = requests.post(url, json=body, headers=token, timeout=60)
    assert answer.status_code == 400
    assert "User carol sees no directory /work/carol/project on" in answer.json()["message"]
    as_user(mounts, "carol", "mkdir -p /work/carol/project")
    refresh(mounts, "carol")
    answer = requests.post(url, json=body, headers=token, timeout=60)
    assert answer.status_code == 200
    requests.delete(f"{url}/{answer.json()['result']['id']}", headers=token, timeout=60)


def test_a_directory_that_went_since_is_said_in_a_sentence(mounts: Cluster, extra: str) -> None:
    refresh(mounts, "alice")
    client = mounts.client()
    actor = mounts.actor(client, "probe")
    as_user(mounts, "alice", 'rm -r "$1"', extra)
    execution = client.call("POST", f"/{actor}/messages", data={"message": "x"})["executionId"]
    said = fail(mounts, client, actor, execution)
    words = f"{extra} of this node, which is to be mounted at /data/alice, cannot be: No"
    assert words in said
    client.call("DELETE", f"/{actor}")


def test_a_link_in_its_place_leads_only_where_the_owner_may_go(mounts: Cluster, extra: str) -> None:
    """The scheduler looks and the runtime mounts as the owner: nothing is gained by a link."""
    as_user(mounts, "bob", "mkdir -p -m 0755 /work/bob/private && touch /work/bob/private/secret")
    link = 'rm -r "$1"; ln -s /work/bob/private "$1"'
    refresh(mounts, "alice")
    client = mounts.client()
    actor = mounts.actor(client, "probe")  # while there is a directory
    as_user(mounts, "alice", link, extra)
    execution = client.call("POST", f"/{actor}/messages", data={"message": "x"})["executionId"]
    said = fail(mounts, client, actor, execution)
    assert f"{extra} of this node" in said
    assert "Permission denied" in said
    client.call("DELETE", f"/{actor}")

    refresh(mounts, "alice")
    actor = mounts.actor(client, "probe")  # while there is the link
    (names,) = run(mounts, client, actor, list=["/data/alice"])[1]
    assert names == "No such file or directory"
    as_user(mounts, "alice", 'rm "$1"', extra)
    client.call("DELETE", f"/{actor}")
