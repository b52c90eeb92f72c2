"""Messages a second: how many of them make a fair measurement, and what is compared with what.

Pure, and of the standard library alone: the drivers on the nodes import it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TOO_SHORT = 0.8  # of the time that was aimed at
TRIES = 3


@dataclass(frozen=True)
class Rate:
    """What one contender did: `count` messages in `seconds`.

    `start_s` is what the first messages took, one for each slot, from nothing to their ends;
    where it is given, workers or an allocation stayed, and `seconds` begins with them in place.
    `workers_per_s` is the bridge's rate as its workers saw it, from first start to last end.
    """

    count: int
    seconds: float
    start_s: float | None = None
    workers_per_s: float | None = None

    @property
    def per_s(self) -> float:
        """Messages a second."""
        return self.count / self.seconds

    def figures(self) -> dict[str, float]:
        """Return what bench.json says of it."""
        found = {"per_s": self.per_s, "count": self.count, "seconds": self.seconds}
        further = {"start_s": self.start_s, "workers_per_s": self.workers_per_s}
        found |= {name: value for name, value in further.items() if value is not None}
        return {name: round(value, 3) for name, value in found.items()}


def scale_count(count: int, seconds: float, aim_s: float, most: int) -> int:
    """Return how many messages take about `aim_s`, when `count` of them took `seconds`."""
    return max(1, min(most, math.ceil(count * aim_s / max(seconds, 1e-6))))


def measure_rate(run: Callable[[int], float], first: int, aim_s: float, most: int) -> Rate:
    """Return the rate of `run`, repeated with more messages while it is over too soon.

    Args:
        run: runs that many messages and returns the seconds.
        first: how many to begin with.
        aim_s: how long a measurement is to be; what takes longer at once is taken as it is.
        most: never more messages than that.
    """
    count, seconds = first, run(first)
    for _ in range(TRIES):
        if seconds >= TOO_SHORT * aim_s or count >= most:
            break
        count = max(count, scale_count(count, seconds, aim_s, most))
        seconds = run(count)
    return Rate(count, seconds)


# Of one workload: which two contenders' rates a ratio divides.
DIVIDED: Mapping[str, tuple[str, str, str]] = {
    "true_image_vs_loop": ("true", "image", "loop"),
    "python_image_vs_loop": ("python", "image", "loop"),
    "digits_none_vs_loop": ("digits", "none", "loop"),
    "digits_image_vs_loop": ("digits", "image", "loop"),
    "digits_image_vs_array": ("digits", "image", "array"),
    "digits_process_vs_parsl": ("digits", "process", "parsl_function"),
    "digits_process_vs_bare": ("digits", "process", "bare"),
}
PEERS = ("sbatch", "submitit", "parsl", "dask", "parallel", "hyperqueue")
FRESH = ("none", "image")  # the bridge's modes with a container for each message


def divide(rates: Mapping[str, Mapping[str, Rate]]) -> dict[str, float]:
    """Return the ratios that can be had from rates by workload and contender.

    Like is compared with like: against what starts from an idle cluster each time (the array,
    `sbatch`, submitit) the bridge's rate is the one from an idle cluster, ``image_idle`` for
    ``image``, where that was measured.
    """
    pairs = dict(DIVIDED)
    for peer in PEERS:
        of_peer = rates.get("true", {})
        best = max(
            (mode for mode in FRESH if mode in of_peer),
            key=lambda mode: ours(of_peer, mode, peer).per_s,
            default=None,
        )
        if best:
            pairs[f"{peer}_vs_peer"] = ("true", best, peer)
    found = {}
    for name, (workload, mode, peer) in pairs.items():
        measured = rates.get(workload, {})
        if mode in measured and peer in measured:
            found[name] = round(ours(measured, mode, peer).per_s / measured[peer].per_s, 3)
    return found


FROM_IDLE = ("array", "sbatch", "submitit")


def ours(measured: Mapping[str, Rate], mode: str, peer: str) -> Rate:
    """Return the bridge's rate in the state that the peer's was measured in."""
    idle = measured.get(f"{mode}_idle")
    return idle if idle is not None and peer in FROM_IDLE else measured[mode]
