"""submitit's `map_array`: a function that starts the container, in a job array.

What is measured ends with the last function's end, not when its result was found.
"""

from __future__ import annotations

import subprocess
import time

import submitit
from common import AIM_S, MESSAGE, SLOTS, answer, scratch, texts
from rates import measure_rate

LARGEST_ARRAY = 1000  # MaxArraySize of the sandbox, less one


def one(text: str) -> tuple[int, float]:
    """Return how the container for a message ended, and when."""
    return subprocess.run([MESSAGE, text], check=False).returncode, time.time()


def run(count: int) -> float:
    """Return the seconds from the submission to the last end."""
    executor = submitit.AutoExecutor(folder=scratch("submitit"), cluster="slurm")
    executor.update_parameters(
        timeout_min=10, cpus_per_task=1, tasks_per_node=1, slurm_array_parallelism=SLOTS
    )
    messages = texts(count)
    begun = time.time()
    ends = [job.result() for job in executor.map_array(one, messages)]
    if any(code for code, _ in ends):
        raise SystemExit(f"submitit: expected {count} times 0, found {[code for code, _ in ends]}")
    return max(when for _, when in ends) - begun


if __name__ == "__main__":
    answer(measure_rate(run, 8, AIM_S, LARGEST_ARRAY))
