"""What the bench must show: the least, or the most, for each of its ratios."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What is wanted of one number of bench.json; one of `least` and `most` is given.

    `or_figure` names another number that meets the target just as well, with its own least.
    """

    what: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    or_least: float | None = None

    def is_met(self, value: float, figure: float | None = None) -> bool:
        """Tell whether a measured value is good enough."""
        if self.or_least is not None and figure is not None and figure >= self.or_least:
            return True
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
        )

    def shown(self) -> str:
        """Return the target as people write it."""
        if self.most is not None:
            return f"at most {self.most:,g}"
        if self.above is not None:
            return f"over {self.above:,g}"
        other = f", or {self.or_least:,g}/s" if self.or_least is not None else ""
        return f"at least {self.least:,g}{other}"


def _peer(what: str) -> Target:
    return Target(f"`/bin/true`, best mode with a container each, against {what}", above=1)


TARGETS: dict[str, Target] = {
    "true_image_vs_loop": Target("`/bin/true`, `image`, against `xargs -P` of apptainer", 15),
    "python_image_vs_loop": Target("`python3 -c pass`, `image`, against the same loop", 10),
    "digits_image_vs_loop": Target("digits classifier, `image`, against the same loop", 3),
    "digits_image_vs_array": Target("digits, `image`, against a Slurm array", 5),
    "digits_process_vs_parsl": Target("digits, `process`, against a Parsl function", 1),
    "digits_process_vs_bare": Target(
        "digits, `process`, against a bare loop in one process", 0.5, or_least=1000
    ),
    "sbatch_vs_peer": _peer("one `sbatch` each"),
    "submitit_vs_peer": _peer("submitit's `map_array`"),
    "parsl_vs_peer": _peer("Parsl's HighThroughputExecutor"),
    "dask_vs_peer": _peer("dask-jobqueue"),
    "parallel_vs_peer": _peer("GNU parallel in an allocation"),
    "hyperqueue_vs_peer": _peer("HyperQueue in an allocation"),
    "sleep_slot_share": Target("100 ms sleeps: slot time spent inside containers", 0.95),
    "warm_start_p50_ms": Target("warm worker: accepted to started, ms, median", most=250),
    "warm_start_p99_ms": Target("the same, 99 of 100", most=1000),
    "cold_start_extra_p50_ms": Target(
        "idle cluster: accepted to started, ms, less an empty job's", most=1500
    ),
    "backlog_tick_p99_ms": Target("1,000,000 queued: a scheduler's tick, ms, 99 of 100", most=1000),
    "backlog_rss_mib": Target("the same: memory of the scheduler, MiB", most=300),
    "backlog_api_p99_ms": Target("the same: an API call, ms, 99 of 100", most=50),
    "hundred_thousand_files": Target("100,000 messages: files created", most=2000),
    "hundred_thousand_lost": Target("the same: messages lost", most=0),
    "hundred_thousand_twice": Target("the same: messages started twice", most=0),
    "slurm_calls_per_tick": Target("the same: calls to Slurm's daemons a tick", most=5),
}
