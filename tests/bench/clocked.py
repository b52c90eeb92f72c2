"""An actor whose containers say when they began and ended, and what became of its messages.

All clocks are one machine's: the sandbox's nodes and the API are containers on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from bridge.sandbox import Sandbox
from bridge.sandbox.demo import USER, Client
from bridge.sandbox.service import BridgeService

REUSE = "image"
POLL_S = 0.25
TIMEOUT_S = 300.0
PAGE = 1000


class Clocked:
    """The actor, on a sandbox that is up.

    Args:
        sandbox: the cluster.
        reuse: how its containers are started.
    """

    def __init__(self, sandbox: Sandbox, reuse: str = REUSE) -> None:
        self._sandbox = sandbox
        self._reuse = reuse
        service = BridgeService(sandbox)
        service.ensure()
        self._client = Client(sandbox.url, service.token(USER))
        self._image = sandbox.ensure_image("clock", print)
        self.actor = ""

    def register(self) -> None:
        """Register it and wait until its image is there."""
        asked = {"image": self._image, "batch": {"reuse": self._reuse}}
        self.actor = self._client.call("POST", json=asked)["id"]
        self._client.wait_ready(self.actor)

    def post(self, *texts: str) -> list[str]:
        """Post messages, one by one or as a batch; return their execution ids."""
        if len(texts) == 1:
            sent = self._client.call("POST", f"/{self.actor}/messages", data={"message": texts[0]})
            return [sent["executionId"]]
        batch = self._client.call("POST", f"/{self.actor}/messages/batch", json=list(texts))
        return [one["executionId"] for one in batch["executions"]]

    def wait(self) -> None:
        """Wait until nothing of it is open.

        Raises:
            RuntimeError: that took too long.
        """
        deadline = time.monotonic() + TIMEOUT_S
        filters = {"status.in": '["SUBMITTED","RUNNING"]', "limit": "1"}
        while True:
            found = self._client.call("GET", f"/{self.actor}/executions", params=filters)
            if not int(found["_metadata"]["totalCount"]):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all final in {TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def executions(self) -> Iterator[dict[str, Any]]:
        """Give all executions of the actor.

        Raises:
            RuntimeError: one is not COMPLETE.
        """
        skip = 0
        while True:
            filters = {"limit": PAGE, "skip": skip}
            found = self._client.call("GET", f"/{self.actor}/executions", params=filters)
            for row in found["executions"]:
                if row["status"] != "COMPLETE":
                    raise RuntimeError(f"execution {row['id']} is {row['status']}")
                yield row
            if len(found["executions"]) < PAGE:
                return
            skip += PAGE

    def one(self, execution: str) -> dict[str, Any]:
        """Return an execution's details."""
        found: dict[str, Any] = self._client.call("GET", f"/{self.actor}/executions/{execution}")
        return found

    def clocks(self, execution: str) -> tuple[float, float]:
        """Return when its container began and ended by its own clock, seconds since the epoch.

        That clock has hundredths of a second, which are taken for over when they have begun.
        """
        path = f"/{self.actor}/executions/{execution}/logs"
        first, last = self._client.call("GET", path)["logs"].split()
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + float(first) + 0.01, booted + float(last) + 0.01

    def delete(self) -> None:
        """Delete the actor, and wait until Slurm's queue is empty."""
        self._client.call("DELETE", f"/{self.actor}")
        queue = ["squeue", "--noheader", "--format=%i"]
        while self._sandbox.run("login", queue).stdout.strip():
            time.sleep(POLL_S)


def moment(text: str) -> float:
    """Return the seconds since the epoch of a moment as the API shows it."""
    return datetime.fromisoformat(text).timestamp()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of all does not exceed; of few, the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
