"""Watching who opens the files of users, on every node of the sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import Cluster, wait_for

MOUNTS = ("/scratch", "/work", "/home")
LIFETIME_S = 1200
_USERS = re.compile(r"/(scratch|work|home)/(alice|bob|carol|gateway)(/|$)")


@dataclass(frozen=True)
class Opening:
    """One file that was opened: where, by whom, by which program."""

    node: str
    uid: str
    origin: str
    program: str
    path: str


@dataclass
class Openings:
    """What was opened below users' directories, once the watch is over."""

    all: list[Opening] = field(default_factory=list)

    def by(self, uid: int) -> list[Opening]:
        """Return what daemons and what they started opened with this uid."""
        return [one for one in self.all if one.uid == str(uid) and one.origin == "daemon"]


@contextmanager
def watched(cluster: Cluster) -> Iterator[Openings]:
    """Watch every node meanwhile. What tests themselves run there from outside is told apart."""
    found = Openings()
    watchers = {
        (node, mount): _start(cluster, node, mount)
        for node in ("login", *cluster.sandbox.nodes)
        for mount in MOUNTS
    }
    try:
        for (node, _), (log, _) in watchers.items():
            wait_for(lambda n=node, p=log: b"ready" in cluster.sandbox.get(n, p), 20, "fanotify")
        yield found
    finally:
        for (node, _), (_, number) in watchers.items():
            cluster.sandbox.run(node, ["kill", str(number)])
    for (node, _), (log, _) in watchers.items():
        for line in cluster.sandbox.get(node, log).decode().splitlines():
            words = line.split(" ", 3)
            if len(words) == 4 and _USERS.match(words[3]):
                found.all.append(Opening(node, *words))


def _start(cluster: Cluster, node: str, mount: str) -> tuple[str, int]:
    source = Path(__file__).with_name("openers.py").read_bytes()
    cluster.sandbox.put(node, "/root/openers.py", source)
    if mount == "/home":  # a mount of its own, so that the node's programs are not watched too
        cluster.sandbox.run(node, ["sh", "-c", "mountpoint -q /home || mount --bind /home /home"])
    log = f"/root/openers{mount.replace('/', '-')}.log"
    cluster.sandbox.run(node, ["rm", "-f", log])
    argv = ["python3", "/root/openers.py", mount, str(LIFETIME_S)]
    return log, cluster.sandbox.start(node, argv, user="root", log_path=log)
