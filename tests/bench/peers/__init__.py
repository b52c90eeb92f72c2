"""The bridge beside others that start containers, in one run: same image, slots and messages.

Every contender has four slots, two on each of the sandbox's two nodes: four workers of the bridge
or tasks of an array with a CPU each (Slurm has four to give), `xargs -P 2` on each node, two
processes in each of two jobs, an allocation of two nodes with two CPUs each. Each runs, for each
message, the same `apptainer exec` line on the same SIF.

A rate is messages by the time from the first submission to the last end. Where workers or an
allocation stay (Parsl, dask, GNU parallel, HyperQueue, the bridge) they are there when it begins,
and ``start_s`` tells what the first messages took from nothing; what starts from an idle cluster
each time (the array, `sbatch`, submitit) is compared with the bridge from an idle cluster. How many
messages follows from how fast they go: about `BENCH_SECONDS` a measurement.

Environment: `PEERS` (contenders) and `WORKLOADS` name what alone is to be measured, words apart;
every contender can be named for every workload, though by default not all are measured with each.
`BENCH_SECONDS` is 30 unless it is given: what a way does at first is then a small part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge.errors import SandboxError
from tests.bench.peers.loops import measure_bare, measure_forks, measure_limit, measure_loop
from tests.bench.peers.ours import measure_bridge
from tests.bench.peers.rates import Rate, divide
from tests.bench.peers.stage import NODES, SLOTS, Stage, bring_classifier, read_versions, staged
from tests.bench.peers.workloads import DIGITS, TRUE, WORKLOADS, Workload

Measure = Callable[[Stage, Workload, float], dict[str, Rate]]


def _alone(name: str, measure: Callable[[Stage, Workload, float], Rate]) -> Measure:
    return lambda stage, workload, aim_s: {name: measure(stage, workload, aim_s)}


def _driven(name: str, driver: str, **more: Any) -> Measure:
    def measure(stage: Stage, workload: Workload, aim_s: float) -> dict[str, Rate]:
        rate = Rate(**stage.drive(driver, workload, aim_s, **more))
        if more.get("mode") != "function":  # which looks at what it returns itself
            stage.check_labels(workload, name, rate.count)
        return {name: rate}

    return measure


def _bridge(reuse: str) -> Measure:
    def measure(stage: Stage, workload: Workload, aim_s: float) -> dict[str, Rate]:
        from_idle = reuse == "image" and workload in (TRUE, DIGITS)  # those that are divided
        return measure_bridge(stage, workload, reuse, aim_s, from_idle=from_idle)

    return measure


def _parsl_function(stage: Stage, workload: Workload, aim_s: float) -> dict[str, Rate]:
    """Return the rate of the classifier as a Python function in Parsl's warm workers."""
    more = {"digits": bring_classifier(stage.sandbox), "labels": stage.labels}
    return _driven("parsl_function", "by_parsl", mode="function", **more)(stage, workload, aim_s)


# In the order of measuring: what is divided by one another, one after the other.
CONTENDERS: dict[str, Measure] = {
    "forks": _alone("forks", measure_forks),
    "limit": _alone("limit", measure_limit),
    "none": _bridge("none"),
    "loop": _alone("loop", measure_loop),
    "image": _bridge("image"),
    "array": _driven("array", "by_slurm", mode="array"),
    "sbatch": _driven("sbatch", "by_slurm", mode="sbatch"),
    "submitit": _driven("submitit", "by_submitit"),
    "parsl": _driven("parsl", "by_parsl", mode="command"),
    "dask": _driven("dask", "by_dask"),
    "parallel": _driven("parallel", "by_allocation", mode="parallel"),
    "hyperqueue": _driven("hyperqueue", "by_allocation", mode="hyperqueue"),
    "parsl_function": _parsl_function,
    "process": _bridge("process"),
    "bare": _alone("bare", measure_bare),
}
STAYS = ("bare", "parsl_function", "process")  # of the digits alone: their images can
# What is measured where nobody says: all ratios, and what the rest of the time allows.
DEFAULT: dict[str, tuple[str, ...]] = {
    "true": tuple(name for name in CONTENDERS if name not in STAYS),
    "python": ("limit", "loop", "image"),
    "digits": (
        "limit", "none", "loop", "image", "array", "parsl_function", "process", "bare",
    ),
    "sleep": ("loop", "image", "array"),
}  # fmt: skip


def measure() -> tuple[dict[str, float], dict[str, Any]]:
    """Return (ratios, figures): figures of rates are by workload and contender.

    What fails is told in ``failed``, and the others go on.
    """
    aim_s = float(os.environ.get("BENCH_SECONDS") or 30)
    chosen = choose(_words("PEERS"), _words("WORKLOADS"))
    workloads = [one for one in WORKLOADS if one.name in chosen]
    with staged("bench", workloads, print) as stage:
        rates, failed = compete(stage, chosen, aim_s)
        versions = read_versions(stage.sandbox)
    figures = {
        "versions": versions,
        "failed": failed,
        "slots": SLOTS,
        "nodes": NODES,
        "rates": {
            workload: {name: rate.figures() for name, rate in found.items()}
            for workload, found in rates.items()
        },
    }
    return divide(rates), figures


def compete(
    stage: Stage, chosen: Mapping[str, Sequence[str]], aim_s: float
) -> tuple[dict[str, dict[str, Rate]], dict[str, str]]:
    """Return rates by workload and contender, and why there is none by those that failed."""
    rates: dict[str, dict[str, Rate]] = {workload: {} for workload in chosen}
    failed: dict[str, str] = {}
    pairs = [(one, name) for one in WORKLOADS if one.name in chosen for name in chosen[one.name]]
    for workload, name in pairs:
        try:
            found = CONTENDERS[name](stage, workload, aim_s)
        except (SandboxError, RuntimeError) as error:
            failed[f"{workload.name} {name}"] = str(error)
            print(f"{workload.name:8} {name:16} failed: {error}")
            stage.clear()
            continue
        rates[workload.name].update(found)
        for each, rate in found.items():
            print(f"{workload.name:8} {each:16} {rate.per_s:10.2f}/s  {rate.figures()}")
    return rates, failed


def choose(peers: Sequence[str], workloads: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the contenders by workload, in order: those that are named, else the usual ones.

    Raises:
        SystemExit: a name is unknown.
    """
    for what, named, expected in (
        ("PEERS", peers, set(CONTENDERS)),
        ("WORKLOADS", workloads, set(DEFAULT)),
    ):
        unknown = sorted(set(named) - expected)
        if unknown:
            raise SystemExit(
                f"{what}: expected some of {', '.join(sorted(expected))}; found"
                f" {', '.join(unknown)}"
            )
    return {
        workload: tuple(
            name
            for name in CONTENDERS
            if (name in peers if peers else name in usual)
            and (workload == DIGITS.name or name not in STAYS)
        )
        for workload, usual in DEFAULT.items()
        if not workloads or workload in workloads
    }


def _words(variable: str) -> list[str]:
    return os.environ.get(variable, "").split()
