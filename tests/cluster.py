"""Fixtures of the tests on the real cluster; tests/conftest.py hands them to every room."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bridge.sandbox import Sandbox, check_host
from bridge.sandbox.demo import Client, read_jobs
from bridge.sandbox.service import BridgeService


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A cluster of the suite's own; what an earlier or killed run left behind is replaced."""
    missing = check_host()
    if missing:
        pytest.skip(f"the sandbox: {'; '.join(missing)}")
    # Two runs on one machine at the same time need two names.
    cluster = Sandbox(os.environ.get("BRIDGE_TEST_SANDBOX", "test"))
    cluster.down()
    cluster.up(nodes=2, port=0)
    yield cluster
    cluster.down()


class Cluster:
    """The sandbox with the bridge on it, as tests use it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.service = BridgeService(sandbox)
        self.address = sandbox.run("login", ["hostname", "-i"]).stdout.split()[0]
        self.start()

    def start(
        self,
        service: BridgeService | None = None,
        changes: Mapping[str, str] | None = None,
        **cluster: int | str,
    ) -> None:
        """Start what does not run of the bridge, with the keys of the site's cluster given.

        Webhooks may lead to the bridge itself, whose address is no public one.

        Args:
            service: the bridge as it is to be configured, if otherwise than by the site file.
            changes: further replacements in the site file's text.
            cluster: further keys of the site's cluster.
        """
        keys = "".join(f"{name} = {value}\n" for name, value in cluster.items())
        changes = {
            **(changes or {}),
            "lost_after_s = 10\n": f"lost_after_s = 5\n{keys}",
            'case = "camel"\n': f'case = "camel"\nwebhook_networks = ["{self.address}/32"]\n',
        }
        (service or self.service).ensure(changes)

    def client(self, username: str = "alice") -> Client:
        """Return a client with that user's token."""
        return Client(self.sandbox.url, self.service.token(username))

    def actor(self, client: Client, image: str, **fields: Any) -> str:
        """Return the id of a READY actor of a sample image."""
        reference = self.sandbox.ensure_image(image)
        actor: str = client.call("POST", json={"image": reference, **fields})["id"]
        client.wait_ready(actor)
        return actor

    def post(self, client: Client, actor: str, *messages: str) -> list[str]:
        """Post messages; return their execution ids."""
        return [
            client.call("POST", f"/{actor}/messages", data={"message": text})["executionId"]
            for text in messages
        ]

    def end(
        self, client: Client, actor: str, execution: str, timeout_s: float = 120
    ) -> dict[str, Any]:
        """Wait until an execution is final; return its details."""
        found: dict[str, Any] = {}

        def is_final() -> bool:
            found.update(client.call("GET", f"/{actor}/executions/{execution}"))
            return found["status"] in ("COMPLETE", "ERROR")

        wait_for(is_final, timeout_s, f"execution {execution} to be final")
        return found

    def log(self, client: Client, actor: str, execution: str) -> str:
        """Return what an execution printed, once it is COMPLETE."""
        ended = self.end(client, actor, execution)
        assert ended["status"] == "COMPLETE", ended
        logs: str = client.call("GET", f"/{actor}/executions/{execution}/logs")["logs"]
        return logs

    def final(self, client: Client, actor: str, timeout_s: float = 180) -> list[dict[str, Any]]:
        """Wait until every execution of the actor is final; return their details in order."""

        def all_final() -> bool:
            rows = client.call("GET", f"/{actor}/executions")["executions"]
            return all(row["status"] in ("COMPLETE", "ERROR") for row in rows)

        wait_for(all_final, timeout_s, "all executions to be final")
        rows = client.call("GET", f"/{actor}/executions")["executions"]
        return [client.call("GET", f"/{actor}/executions/{row['id']}") for row in rows]

    def running(self, client: Client, actor: str, count: int = 1) -> None:
        """Wait until that many executions of the actor run."""

        def enough() -> bool:
            rows = client.call("GET", f"/{actor}/executions")["executions"]
            return sum(row["status"] == "RUNNING" for row in rows) >= count

        wait_for(enough, 60, f"{count} executions to run")

    def idle(self) -> None:
        """Wait until Slurm has no job of the bridge any more."""
        queue = ["squeue", "--noheader", "--format=%i"]

        def is_empty() -> bool:
            return not self.sandbox.run("login", queue).stdout.strip()

        wait_for(is_empty, 120, "Slurm's queue to empty")

    def starts(self, ids: list[str]) -> dict[str, int]:
        """Return how often a container was started for each id, as the nodes counted."""
        lines = [line.split()[-1] for line in self.sandbox.container_starts()]
        return {one: lines.count(one) for one in ids}

    def jobs(self, since: str) -> dict[str, list[list[str]]]:
        """Return the bridge's array tasks since then, by array job id: id, user, state, node."""
        found: dict[str, list[list[str]]] = {}
        for row in read_jobs(self.sandbox, since):
            found.setdefault(row[0].partition("_")[0], []).append(row)
        return found

    def now(self) -> str:
        """Return the login node's time as sacct reads it, a moment after whatever ran before."""
        time.sleep(1.1)
        return self.sandbox.run("login", ["date", "+%Y-%m-%dT%H:%M:%S"]).stdout.strip()


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait for `condition`; fail with `what` when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.3)


@pytest.fixture(scope="session")
def cluster(sandbox: Sandbox) -> Iterator[Cluster]:
    """The bridge on the sandbox; what its logs say of a failure must never be a traceback."""
    running = Cluster(sandbox)
    yield running
    for name in ("api", "scheduler"):
        assert "Traceback" not in running.service.log(name), name
