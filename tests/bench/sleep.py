"""The share of the workers' allocated time that is spent inside containers: sleeps of 100 ms.

Inside a container is what the execution itself says: from its start_time to its finish_time, that
is with the set-up of the container's namespaces and its end. How much of that the container saw, by
its own clock, is a figure beside it (`own_clock_share`), taken of a sample.

Allocated is what Slurm's accounting says of the array tasks, from start to end of each: the start
of the worker, the image's check and mount, and the wait for the order to leave are in it. One thing
is not: the bridge keeps one idle worker of an actor for `idle_timeout_s` on purpose, in case more
comes. What the last task to end waited after the last message was over is counted apart
(`kept_warm_s`).
"""

from __future__ import annotations

import json
from typing import Any

from bridge.sandbox import Sandbox
from tests.bench.clocked import REUSE, Clocked, moment

COUNT = 6000
SLEEP_S = 0.1
SAMPLE = 100


def measure() -> tuple[dict[str, float], dict[str, Any]]:
    """Return (ratios, figures)."""
    sandbox = Sandbox("bench")
    sandbox.up(nodes=2, port=0, say=print)
    try:
        return run(sandbox, COUNT)
    finally:
        sandbox.down()


def run(sandbox: Sandbox, count: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return (ratios, figures) of `count` messages on a sandbox that is up."""
    clocked = Clocked(sandbox)
    clocked.register()
    since = sandbox.run("login", ["date", "+%Y-%m-%dT%H:%M:%S"]).stdout.strip()
    clocked.post(*[str(SLEEP_S)] * count)
    clocked.wait()
    rows = list(clocked.executions())
    spans = [(moment(row["startTime"]), moment(row["finishTime"])) for row in rows]
    inside_s = sum(finish - start for start, finish in spans)
    own_s = [end - begin for begin, end in map(clocked.clocks, ids(rows))]
    wait_for_workers(sandbox)
    tasks = read_tasks(sandbox, since)
    clocked.delete()
    last = max(finish for _, finish in spans)
    kept_s = max(0.0, max(end for _, end in tasks) - last)
    allocated_s = sum(end - start for start, end in tasks) - kept_s
    figures = {
        "messages": count,
        "tasks": len(tasks),
        "allocated_s": round(allocated_s, 1),
        "inside_s": round(inside_s, 1),
        "own_clock_share": round(count * sum(own_s) / len(own_s) / allocated_s, 4),
        "kept_warm_s": round(kept_s, 1),
        "mean_ms": round(1000 * inside_s / count, 2),
        "reuse": REUSE,
    }
    ratios = {"sleep_slot_share": round(inside_s / allocated_s, 4)}
    print(json.dumps({**ratios, **figures}, indent=1))
    return ratios, {"sleep": figures}


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """Return the ids of a sample."""
    return [row["id"] for row in rows[:: max(1, len(rows) // SAMPLE)]]


def wait_for_workers(sandbox: Sandbox) -> None:
    """Wait until the last worker has left."""
    script = 'while [ -n "$(squeue --noheader --format=%i)" ]; do sleep 0.5; done'
    sandbox.run("login", ["sh", "-c", script], timeout_s=180)


def read_tasks(sandbox: Sandbox, since: str) -> list[tuple[float, float]]:
    """Return start and end of the bridge's array tasks since then, seconds since the epoch."""
    argv = ["sacct", "-aXnP", "-S", since, "-o", "JobName,Submit,Start,End"]
    said = sandbox.run("login", argv, env={"SLURM_TIME_FORMAT": "%s"}).stdout
    begun = sandbox.run("login", ["date", "-d", since, "+%s"]).stdout
    return [
        (float(start), float(end))
        for name, submit, start, end in (line.split("|") for line in said.splitlines())
        if name.startswith("bridge-") and float(submit) >= float(begun) and start.isdigit()
    ]
