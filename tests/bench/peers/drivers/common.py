"""What the drivers share: a request as JSON on stdin, an answer as the last line on stdout.

The request has ``place`` (the workload's folder), ``peers``, ``texts`` (the different messages),
``slots``, ``nodes``, ``aim_s`` (how long to measure) and what one driver wants besides.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rates import Rate, measure_rate

REQUEST: dict[str, Any] = json.load(sys.stdin) if not sys.stdin.isatty() else {}
SLOTS: int = REQUEST.get("slots", 0)
NODES: int = REQUEST.get("nodes", 0)
AIM_S: float = REQUEST.get("aim_s", 0)
PLACE = Path(REQUEST.get("place", "."))
MESSAGE = str(PLACE / "message")
FIRST = 16  # messages of the first try
MOST = 20_000


def texts(count: int) -> list[str]:
    """Return the texts of that many messages, each different one in turn."""
    return list(itertools.islice(itertools.cycle(REQUEST["texts"]), count))


def scratch(name: str) -> Path:
    """Return a new folder of the workload's for files of the library."""
    folder = PLACE / f"{name}-{time.time_ns()}"
    folder.mkdir(parents=True)
    return folder


def timed(run: Callable[[int], None], count: int) -> float:
    """Return the seconds that `run` takes for so many messages."""
    begun = time.monotonic()
    run(count)
    return time.monotonic() - begun


def measure_warm(run: Callable[[int], None], begun: float) -> Rate:
    """Return the rate with workers that stay, asked for at `begun` of the monotonic clock."""
    run(SLOTS)
    start_s = time.monotonic() - begun
    rate = measure_rate(lambda count: timed(run, count), FIRST, AIM_S, MOST)
    return Rate(rate.count, rate.seconds, start_s)


def answer(rate: Rate) -> None:
    """Say what was found."""
    print(json.dumps(asdict(rate)))
