"""What needs no scheduler: the plain loop on every node, and the limits that nothing can pass.

The plain loop is `xargs -P` with the very `apptainer exec` line that a worker uses, less the shim
that reports the start. The limits are the same command forked and run again and again without a
container of its own (in one that stays, on each node), and a bare fork.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bridge.sandbox.demo import USER
from tests.bench.peers.rates import Rate, measure_rate
from tests.bench.peers.stage import BINDS, NODES, PLACE, SLOTS, Stage
from tests.bench.peers.workloads import DIGITS, Workload, build_line

EACH = SLOTS // NODES
MOST = 50_000
LIMIT_S = 5.0  # enough for what is even
_TIMED = 'begun=$(date +%s.%N); {} > /dev/null || exit; echo "$begun $(date +%s.%N)"'
_FORKS = """use Time::HiRes "time"; my $begun = time; my $left = () = <STDIN>;
while ($left--) { my $child = fork // die; exit unless $child; waitpid $child, 0; }
printf "%.6f %.6f\\n", $begun, time;
"""


def measure_loop(stage: Stage, workload: Workload, aim_s: float) -> Rate:
    """Return the rate of the plain loop."""
    script = _TIMED.format(f"xargs -P {EACH} -n 1 {stage.place(workload)}/message")
    argv = ["sh", "-c", script]
    rate = measure_rate(lambda n: run_on_nodes(stage, workload, argv, n, NODES), 16, aim_s, MOST)
    stage.check_labels(workload, "loop", rate.count)
    return rate


def measure_limit(stage: Stage, workload: Workload, aim_s: float) -> Rate:
    """Return the rate of the command within one container on each node."""
    command = shlex.join(workload.command)
    which = f"-I% env MSG=% {command}" if workload is DIGITS else f"-n 1 {command}"
    inside = ["/bin/sh", "-c", _TIMED.format(f"xargs -P {EACH} {which}")]
    argv = build_line(stage.sifs[workload.name], inside, BINDS)
    return measure_rate(
        lambda n: run_on_nodes(stage, workload, argv, n, NODES), 100, min(aim_s, LIMIT_S), MOST
    )


def measure_forks(stage: Stage, workload: Workload, aim_s: float) -> Rate:
    """Return how often a small process forks, and waits for its child, in each slot."""
    argv = ["perl", "-e", _FORKS]
    return measure_rate(
        lambda n: run_on_nodes(stage, workload, argv, n, SLOTS), 8000, min(aim_s, LIMIT_S), MOST
    )


def measure_bare(stage: Stage, workload: Workload, aim_s: float) -> Rate:
    """Return the rate of one process in one container that classifies picture after picture."""
    script = f"{PLACE}/drivers/classify.py".replace(f"/work/{USER}/", "/work/", 1)
    inside = ["/usr/bin/python3", script, "/opt/digits"]
    argv = build_line(stage.sifs[workload.name], inside, BINDS)

    def run(count: int) -> float:
        lines = cycle(stage.texts(workload), count + 1)  # the first loads the model
        return float(run_on_node(stage, 0, argv, lines).split()[-1])

    return measure_rate(run, 1000, min(aim_s, LIMIT_S), MOST)


def run_on_nodes(
    stage: Stage, workload: Workload, argv: Sequence[str], count: int, ways: int
) -> float:
    """Give `ways` processes, spread over the nodes, a share of the messages each on stdin.

    Each prints when it began and ended; returned is the time from the first to the last of these.
    """
    texts = cycle(stage.texts(workload), count)
    with ThreadPoolExecutor(ways) as pool:
        said = pool.map(lambda way: run_on_node(stage, way, argv, texts[way::ways]), range(ways))
        times = [[float(word) for word in text.split()] for text in said]
    return max(end for _, end in times) - min(begun for begun, _ in times)


def run_on_node(stage: Stage, way: int, argv: Sequence[str], texts: Sequence[str]) -> str:
    """Run `argv` as the user, with a line for each message; return what it printed."""
    node = stage.sandbox.nodes[way % NODES]
    lines = "".join(f"{text}\n" for text in texts).encode()
    return stage.sandbox.run(node, argv, user=USER, stdin=lines, timeout_s=300).stdout


def cycle(texts: Sequence[str], count: int) -> list[str]:
    """Return that many messages, each different text in turn."""
    return list(itertools.islice(itertools.cycle(texts), count))
