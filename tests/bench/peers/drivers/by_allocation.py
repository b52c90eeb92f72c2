"""What runs within one allocation of all nodes: GNU parallel or HyperQueue, a share on each.

``mode`` is "parallel" or "hyperqueue". Each node writes down when its share began, with what runs
it in place, and when it ended.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from common import AIM_S, FIRST, MESSAGE, MOST, NODES, REQUEST, SLOTS, answer, scratch, texts
from rates import Rate, measure_rate

EACH = SLOTS // NODES
PARALLEL = """begun=$EPOCHREALTIME
{peers}/parallel --will-cite --jobs {each} {message} :::: {folder}/messages.$SLURM_NODEID || exit
echo "$begun $EPOCHREALTIME" > {folder}/times.$SLURM_NODEID
"""
HYPERQUEUE = """
exec {python} {here}/on_hyperqueue.py {each} {message} {folder}/messages.$SLURM_NODEID \\
  {folder}/times.$SLURM_NODEID
"""


def run_share(folder: Path) -> None:
    """Submit the allocation and wait until it ends.

    Raises:
        SystemExit: it failed, or a message did.
    """
    script = {"parallel": PARALLEL, "hyperqueue": HYPERQUEUE}[REQUEST["mode"]].format(
        peers=REQUEST["peers"],
        python=sys.executable,
        here=Path(__file__).parent,
        each=EACH,
        message=MESSAGE,
        folder=folder,
    )
    share = folder / "share"
    share.write_text(f"#!/bin/bash\n{script}")
    share.chmod(0o755)
    size = [f"--nodes={NODES}", "--ntasks-per-node=1", f"--cpus-per-task={EACH}"]
    done = subprocess.run(["srun", *size, share], capture_output=True, check=False)
    if done.returncode:
        # Of several tasks, whose output srun may mix in the midst of a letter.
        said = done.stderr.decode(errors="replace")[-800:]
        raise SystemExit(f"{REQUEST['mode']}: exit code {done.returncode}, {said}")


def run(count: int) -> float:
    """Return the seconds from the first share's beginning to the last one's end."""
    folder = scratch(REQUEST["mode"])
    messages = texts(count)
    for node in range(NODES):
        lines = "".join(f"{text}\n" for text in messages[node::NODES])
        (folder / f"messages.{node}").write_text(lines)
    run_share(folder)
    times = [(folder / f"times.{node}").read_text().split() for node in range(NODES)]
    return max(float(end) for _, end in times) - min(float(begun) for begun, _ in times)


begun = time.monotonic()
run(SLOTS)
start_s = time.monotonic() - begun
rate = measure_rate(run, FIRST, AIM_S, MOST)
answer(Rate(rate.count, rate.seconds, start_s))
