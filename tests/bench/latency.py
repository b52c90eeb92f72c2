"""How long a message waits for its container, at a worker that waits and on an idle cluster.

Measured from `message_received_time`, which the API notes before it writes the message, to the
first thing the container does: it prints its own clock. So the database, the scheduler, the spool,
the worker's polling and the start of the container (`reuse=image`) are all in it.

* Warm: one actor, whose worker has run something before; messages follow each other after random
  pauses of 0 to 5 s.
* Cold: an actor that was registered just now and has no worker, on a cluster without a job. An
  empty job of the same owner is submitted before each such message, with `sbatch` on the login
  node, from before `sbatch` to the first thing it does. What is beyond that is the bridge's and the
  container's. The image is on the cluster already.
"""

from __future__ import annotations

import json
import random
import time

from bridge.sandbox import Sandbox
from bridge.sandbox.demo import USER
from tests.bench.clocked import REUSE, Clocked, moment, percentile

WARM, COLD = 80, 9
LONGEST_PAUSE_S = 5.0
SEED = 7
_EMPTY = """
rm -f "$1"
date +%s.%N
sbatch --parsable --quiet --partition=normal --mem=400 --output=/dev/null \
  --wrap "date +%s.%N > $1.new && mv $1.new $1" > /dev/null
while ! cat "$1" 2> /dev/null; do sleep 0.1; done
"""


def measure() -> tuple[dict[str, float], dict[str, object]]:
    """Return (ratios, figures)."""
    sandbox = Sandbox("bench")
    sandbox.up(nodes=2, port=0, say=print)
    try:
        return run(sandbox)
    finally:
        sandbox.down()


def run(
    sandbox: Sandbox, warm: int = WARM, cold: int = COLD
) -> tuple[dict[str, float], dict[str, object]]:
    """Return (ratios, figures) of so many messages on a sandbox that is up."""
    clocked = Clocked(sandbox)
    warm_ms = measure_warm(clocked, warm)
    empty_ms, cold_ms = measure_cold(sandbox, clocked, cold)
    ratios = {
        "warm_start_p50_ms": round(percentile(warm_ms, 0.5), 1),
        "warm_start_p99_ms": round(percentile(warm_ms, 0.99), 1),
        "cold_start_extra_p50_ms": round(percentile(cold_ms, 0.5) - percentile(empty_ms, 0.5), 1),
    }
    figures = {
        "warm_messages": len(warm_ms),
        "warm_max_ms": round(max(warm_ms), 1),
        "cold_messages": len(cold_ms),
        "cold_p50_ms": round(percentile(cold_ms, 0.5), 1),
        "cold_max_ms": round(max(cold_ms), 1),
        "empty_job_p50_ms": round(percentile(empty_ms, 0.5), 1),
        "reuse": REUSE,
    }
    print(json.dumps({**ratios, **figures}, indent=1))
    return ratios, {"latency": figures}


def measure_warm(clocked: Clocked, count: int) -> list[float]:
    """Return the waits of `count` messages that found a worker, milliseconds."""
    pauses = random.Random(SEED)
    clocked.register()
    clocked.post("0")
    clocked.wait()
    ids = []
    for _ in range(count):
        time.sleep(pauses.uniform(0, LONGEST_PAUSE_S))
        ids += clocked.post("0")
    clocked.wait()
    waits = [wait_ms(clocked, one) for one in ids]
    clocked.delete()
    return waits


def measure_cold(sandbox: Sandbox, clocked: Clocked, count: int) -> tuple[list[float], list[float]]:
    """Return the waits of as many empty jobs, and of messages without a worker, milliseconds."""
    empty, cold = [], []
    for _ in range(count):
        empty.append(run_empty(sandbox))
        clocked.register()
        [execution] = clocked.post("0")
        clocked.wait()
        cold.append(wait_ms(clocked, execution))
        clocked.delete()
    return empty, cold


def wait_ms(clocked: Clocked, execution: str) -> float:
    """Return the milliseconds from a message's receipt to the start of its container."""
    received = moment(clocked.one(execution)["messageReceivedTime"])
    return 1000 * (clocked.clocks(execution)[0] - received)


def run_empty(sandbox: Sandbox) -> float:
    """Return the milliseconds from before sbatch to the start of a job that does nothing else."""
    path = f"/scratch/{USER}/empty"
    said = sandbox.run("login", ["sh", "-c", _EMPTY, "-", path], user=USER).stdout
    asked, began = said.split()
    return 1000 * (float(began) - float(asked))
