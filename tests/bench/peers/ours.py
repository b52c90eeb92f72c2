"""The bridge itself: a batch over HTTP until its last execution is final in the database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from bridge.sandbox.demo import POSTERS, USER
from tests.bench.peers.loops import cycle
from tests.bench.peers.rates import Rate, measure_rate
from tests.bench.peers.stage import SLOTS, Stage, compare_labels
from tests.bench.peers.workloads import DIGITS, Workload

FIRST = {"none": 16, "image": 100, "process": 1000}  # messages of the first try
AT_ONCE = 5000  # messages of one batch
MOST = 50_000
POLL_S = 0.25
TIMEOUT_S = 240.0
OPEN = '["SUBMITTED","RUNNING"]'
SPOOLS = f"/scratch/{USER}/.bridge/sandbox"


class Bridge:
    """An actor of a workload in one of the bridge's modes, and what it was given so far."""

    def __init__(self, stage: Stage, workload: Workload, reuse: str) -> None:
        self._stage = stage
        self._workload = workload
        self._client = stage.client
        self.reuse = reuse
        self.posted: list[str] = []
        self.workers_per_s = 0.0
        self.actor = stage.register(workload, reuse)

    def run(self, count: int) -> float:
        """Return the seconds from the first batch's POST to the last final execution."""
        texts = cycle(self._stage.texts(self._workload), count)
        skip = len(self.posted)
        begun = time.monotonic()
        for at in range(0, count, AT_ONCE):
            batch = [{"message": text} for text in texts[at : at + AT_ONCE]]
            self._client.call("POST", f"/{self.actor}/messages/batch", json=batch)
        while self._count(**{"status.in": OPEN}):
            if time.monotonic() > begun + TIMEOUT_S:
                raise RuntimeError(f"bridge, {self.reuse}: not all final in {TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)
        seconds = time.monotonic() - begun
        self.posted += texts
        self._check(skip)
        return seconds

    def have_workers(self) -> None:
        """Have as many workers as every contender, and wait until all are there."""
        self._stage.admin.call("POST", f"/{self.actor}/workers", json={"num": SLOTS})
        end = time.monotonic() + TIMEOUT_S
        while self._ready() < SLOTS:
            if time.monotonic() > end:
                raise RuntimeError(f"bridge, {self.reuse}: no {SLOTS} workers in {TIMEOUT_S:.0f} s")
            time.sleep(0.5)

    def _ready(self) -> int:
        workers = self._client.call("GET", f"/{self.actor}/workers")
        return sum(worker["status"] == "READY" for worker in workers)

    def wait_idle(self) -> None:
        """Wait until no worker is left; those that stay are sent away."""
        for worker in self._client.call("GET", f"/{self.actor}/workers"):
            self._stage.admin.call("DELETE", f"/{self.actor}/workers/{worker['id']}")
        queue = ["squeue", "--noheader", "--format=%i"]
        end = time.monotonic() + TIMEOUT_S
        while self._stage.sandbox.run("login", queue).stdout.strip():
            if time.monotonic() > end:
                raise RuntimeError(f"bridge, {self.reuse}: workers stay for {TIMEOUT_S:.0f} s")
            time.sleep(0.5)

    def stop(self) -> None:
        """Delete the actor, and with it its workers."""
        self._client.call("DELETE", f"/{self.actor}")

    def _count(self, **filters: str) -> int:
        query = {**filters, "limit": "1"}
        found = self._client.call("GET", f"/{self.actor}/executions", params=query)
        return int(found["_metadata"]["totalCount"])

    def _check(self, skip: int) -> None:
        """See that all ended as they should; note the rate from first start to last end.

        Raises:
            RuntimeError: an execution failed, or has another label than the classifier's own; or
                its worker started containers in another way than it was to.
        """
        grep = ["grep", "--recursive", "--no-messages", "--max-count=1", '"t":"fell_back"', SPOOLS]
        fell_back = self._stage.sandbox.run("login", grep, user=USER, check=False).stdout
        if fell_back:
            raise RuntimeError(f"bridge, {self.reuse}: {fell_back}")
        good = self._count(status="COMPLETE", exitCode="0")
        if good != len(self.posted):
            raise RuntimeError(
                f"bridge, {self.reuse}: expected {len(self.posted)} executions COMPLETE with exit"
                f" code 0, found {good}"
            )
        path = f"/{self.actor}/executions?skip={skip}&limit={len(self.posted) - skip}"
        rows = self._client.call("GET", path)["executions"]
        self.workers_per_s = rate_of_rows(rows)
        if self._workload is DIGITS:
            self._check_labels(rows[: len(self._stage.labels)], self.posted[skip:])

    def _check_labels(self, rows: Sequence[dict[str, Any]], pictures: Sequence[str]) -> None:
        def read(row: dict[str, Any]) -> str:
            path = f"/{self.actor}/executions/{row['id']}/logs"
            return str(self._client.call("GET", path)["logs"]).split()[0]

        with ThreadPoolExecutor(POSTERS) as pool:
            labels = pool.map(read, rows)
        names = (picture.rpartition("/")[2] for picture in pictures)
        found = dict(zip(names, labels, strict=False))
        compare_labels(found, self._stage.labels, f"bridge, {self.reuse}", len(pictures))


def rate_of_rows(rows: Sequence[dict[str, Any]]) -> float:
    """Return executions a second from the first start to the last end, as the workers saw them."""
    starts = [datetime.fromisoformat(row["startTime"]) for row in rows]
    ends = [datetime.fromisoformat(row["finishTime"]) for row in rows]
    return len(rows) / (max(ends) - min(starts)).total_seconds()


def measure_bridge(
    stage: Stage, workload: Workload, reuse: str, aim_s: float, *, from_idle: bool
) -> dict[str, Rate]:
    """Return rates by contender.

    ``<reuse>`` is with workers that were asked for, from the POST on; ``<reuse>_idle`` begins with
    none.
    """
    bridge = Bridge(stage, workload, reuse)
    try:
        bridge.wait_idle()
        start_s = bridge.run(SLOTS)
        bridge.have_workers()
        warm = measure_rate(bridge.run, FIRST[reuse], aim_s, MOST)
        rates = {reuse: Rate(warm.count, warm.seconds, start_s, bridge.workers_per_s)}
        if from_idle:
            bridge.wait_idle()
            seconds = bridge.run(warm.count)
            idle = Rate(warm.count, seconds, workers_per_s=bridge.workers_per_s)
            rates[f"{reuse}_idle"] = idle
    finally:
        bridge.stop()
    return rates
