"""Slurm alone: a job array with a container in each task, or one `sbatch` per message.

Jobs write down how their message ended and when, so that what is measured ends with the last of
them and not when accounting has it.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from common import AIM_S, FIRST, MESSAGE, REQUEST, answer, scratch, texts
from rates import measure_rate

LARGEST_ARRAY = 1000  # MaxArraySize of the sandbox, less one
POLL_S = 0.2
TIMEOUT_S = 240
SBATCH = ["sbatch", "--parsable", "--output=/dev/null", "--cpus-per-task=1"]


def run_array(folder: Path, messages: list[str]) -> None:
    """Submit one array whose task N takes line N."""
    lines = folder / "messages"
    lines.write_text("".join(f"{text}\n" for text in messages))
    script = f"""#!/bin/bash
mapfile -t -s $((SLURM_ARRAY_TASK_ID - 1)) -n 1 line < {lines}
{MESSAGE} "${{line[0]}}"
echo "$? $EPOCHREALTIME" >> {folder}/ends
"""
    job = folder / "job"
    job.write_text(script)
    subprocess.run([*SBATCH, f"--array=1-{len(messages)}", job], check=True, capture_output=True)


def run_jobs(folder: Path, messages: list[str]) -> None:
    """Submit a job for each."""
    job = folder / "job"
    job.write_text(f'#!/bin/bash\n{MESSAGE} "$1"\necho "$? $EPOCHREALTIME" >> {folder}/ends\n')
    for text in messages:
        subprocess.run([*SBATCH, job, text], check=True, capture_output=True)


def run(count: int) -> float:
    """Return the seconds from the first submission to the last end."""
    folder = scratch(REQUEST["mode"])
    ends = folder / "ends"
    begun = time.time()
    {"array": run_array, "sbatch": run_jobs}[REQUEST["mode"]](folder, texts(count))
    rows: list[str] = []
    while len(rows) < count and time.time() < begun + TIMEOUT_S:
        time.sleep(POLL_S)
        rows = ends.read_text().splitlines() if ends.exists() else []
    codes = [row.split()[0] for row in rows]
    if codes != ["0"] * count:
        raise SystemExit(f"{REQUEST['mode']}: expected {count} times 0, found {codes}")
    return max(float(row.split()[1]) for row in rows) - begun


answer(measure_rate(run, FIRST, AIM_S, LARGEST_ARRAY))
