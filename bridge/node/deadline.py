"""How much of the task's time is left, and whether the next message fits into it."""

import time
from typing import Mapping

MARGIN_S = 5.0  # what the worker wants for itself at the end of its time


class Deadline:
    """Knows when the task ends and how long its messages take.

    Slurm tells the end in SLURM_JOB_END_TIME (seen on 24.11 and 26.05); without it the task's own
    limit counts from now, which is a moment too late at most.
    """

    def __init__(
        self, environ: Mapping[str, str], time_limit_s: float, max_run_time_s: float
    ) -> None:
        self._max_run_time_s = max_run_time_s
        self._count = 0
        self._sum_s = 0.0
        self._longest_s = 0.0
        told = environ.get("SLURM_JOB_END_TIME", "")
        self._end = float(told) if told.isdigit() else time.time() + time_limit_s
        self._whole_s = self.left_s

    def add(self, seconds: float) -> None:
        """Learn that a message took this long."""
        self._count += 1
        self._sum_s += seconds
        self._longest_s = max(self._longest_s, seconds)

    @property
    def left_s(self) -> float:
        """What is left for messages."""
        return self._end - MARGIN_S - time.time()

    def has_room(self) -> bool:
        """Whether the next message fits.

        It needs its limit where there is one: whoever set it may count on it. Else twice the mean
        of those before, or the longest of them. The first one is begun whatever it needs: were it
        left, the next worker would leave it for the same reason. But one who has waited for it for
        more than half of its time leaves it to that worker, who has all of its own.
        """
        if self._count == 0:
            return self.left_s > 0 and self.left_s >= self._whole_s / 2
        mean_s = self._sum_s / self._count
        need_s = self._max_run_time_s or max(2 * mean_s, self._longest_s)
        return self.left_s > need_s
