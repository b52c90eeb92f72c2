"""No process with uid 0 opens what a user controls: design section 3, invariant 5.

The main job is watched in test_digits.py; here is what it does not do.
"""

from __future__ import annotations

import pytest

from tests.acceptance.watching import watched
from tests.cluster import Cluster, wait_for

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

BOB, ALICE = 2002, 2001
# What an owner may have put where the bridge is going to write and read.
TRAPS = """\
set -e
rm -rf /scratch/bob/.bridge
mkdir -m 700 /home/bob/away
ln -s /home/bob/away /scratch/bob/.bridge
ln -s /etc/shadow /home/bob/shadow
mkfifo /home/bob/fifo
"""


def test_the_watch_sees_root(cluster: Cluster) -> None:
    """A daemon of root's that opens a user's file, on the login node and on a compute node."""
    sandbox = cluster.sandbox
    nodes = ("login", sandbox.nodes[0])
    with watched(cluster) as opened:
        for node in nodes:
            log = "/root/bait.log"
            sandbox.run(node, ["rm", "-f", log])
            script = "cat /work/alice/bait /home/alice/.bashrc; echo done"
            sandbox.run(node, ["touch", "/work/alice/bait"], user="alice")
            sandbox.start(node, ["sh", "-c", script], user="root", log_path=log)
            wait_for(lambda n=node: b"done" in sandbox.get(n, "/root/bait.log"), 20, "the bait")
    seen = {(one.node, one.path) for one in opened.by(0)}
    expected = {
        (node, path) for node in nodes for path in ("/work/alice/bait", "/home/alice/.bashrc")
    }
    assert seen == expected
    bait = {path for _, path in expected}
    assert not bait & {one.path for one in opened.by(ALICE)}  # she touched it from outside


def test_nothing_of_a_user_s_is_opened_by_root(cluster: Cluster) -> None:
    client = cluster.client("bob")
    actor = cluster.actor(client, "probe")
    with watched(cluster) as opened:
        wanted = '{"send": ["one", 70000], "sleep": 1}'
        (told,) = cluster.post(client, actor, wanted)
        assert cluster.end(client, actor, told)["status"] == "COMPLETE"
        assert client.call("GET", f"/{actor}/executions/{told}/logs")["logs"]
        assert client.send("GET", f"/{actor}/executions/{told}/results").content == b"one"
        (stopped,) = cluster.post(client, actor, '{"sleep": 300}')
        cluster.running(client, actor)
        client.call("DELETE", f"/{actor}/executions/{stopped}")
        cluster.end(client, actor, stopped)
        client.call("DELETE", f"/{actor}")
        cluster.idle()
    assert any("/.bridge/" in one.path for one in opened.by(BOB))
    assert opened.by(0) == []


def test_nor_when_the_owner_has_laid_traps(cluster: Cluster) -> None:
    cluster.idle()
    client = cluster.client("bob")
    actor = cluster.actor(client, "echo")
    cluster.sandbox.run("login", ["sh", "-c", TRAPS], user="bob")
    try:
        with watched(cluster) as opened:
            (execution,) = cluster.post(client, actor, "hello")
            cluster.end(client, actor, execution, 200)
            client.call("DELETE", f"/{actor}")
            cluster.idle()
    finally:
        undo = "rm -rf /scratch/bob/.bridge /home/bob/away /home/bob/shadow /home/bob/fifo"
        cluster.sandbox.run("login", ["sh", "-c", undo], user="bob")
    assert opened.by(BOB)
    assert opened.by(0) == []
