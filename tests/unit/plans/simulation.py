"""A cluster in a few lines: arrivals, arrays, workers and a clock, driven by `plan_round` alone.

Time goes in steps of half a second, a round each. An array starts after Slurm's own delay; its
workers take chunk after chunk. As at the bridge, those that have nothing to do leave after a few
seconds, all but one, which waits for as long as the site says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.core.plans import Live, PackingRules, Waiting, plan_round

STEP_S = 0.5
SURPLUS_S = 4.0


@dataclass
class SimWorker:
    """A worker: the run times that it has claimed, and what is left of the one that it runs."""

    claimed: deque[float] = field(default_factory=deque)
    left_s: float = 0.0
    idle_s: float = 0.0

    @property
    def is_busy(self) -> bool:
        return self.left_s > 0 or bool(self.claimed)


@dataclass
class SimArray:
    """An array: chunks that nobody has claimed, its workers once it has started."""

    name: str
    planned_s: float
    starts_s: float
    task_count: int
    inbox: deque[list[float]]
    message_count: int
    workers: list[SimWorker] | None = None

    @property
    def open_count(self) -> int:
        there = self.workers or []
        running = sum(len(w.claimed) + (w.left_s > 0) for w in there)
        return running + sum(len(chunk) for chunk in self.inbox)


@dataclass
class Sim:
    """One actor on a cluster.

    Attributes:
        arrivals: moment and run time of each message, in order, seconds.
        delays: how long Slurm takes to start the first array, the second...; then again.
        idle_timeout_s: how long the last idle worker waits.
        planned: when arrays were planned.
        most_workers: at any time.
        unserved_s: the longest that messages waited while a worker had nothing to do.
        surplus_s: the time that workers had nothing to do, less that of each array's last one.
    """

    arrivals: Sequence[tuple[float, float]]
    delays: Sequence[float]
    rules: PackingRules
    max_workers: int
    idle_timeout_s: float = 30.0
    now_s: float = 0.0
    queue: deque[tuple[float, float]] = field(default_factory=deque)
    arrays: list[SimArray] = field(default_factory=list)
    planned: list[float] = field(default_factory=list)
    mean_s: float | None = None
    done: int = 0
    most_workers: int = 0
    unserved_s: float = 0.0
    surplus_s: float = 0.0
    _waits_s: float = 0.0

    def run(self, most_s: float) -> bool:
        """Go on until all that arrives is done; whether that was so before `most_s`."""
        coming = deque(self.arrivals)
        while self.done < len(self.arrivals):
            if self.now_s > most_s:
                return False
            while coming and coming[0][0] <= self.now_s:
                self.queue.append(coming.popleft())
            self._round()
            self._watch()
            for array in self.arrays:
                self._work(array)
            self._leave()
            self.now_s += STEP_S
        return True

    def _round(self) -> None:
        if not self.queue:
            return
        ages = [self.now_s - self.queue[0][0], self.now_s - self.queue[-1][0]]
        waiting = Waiting("a", "u", len(self.queue), 1, *ages, self.mean_s, self.max_workers)
        lives = [self._live(array) for array in self.arrays]
        done = plan_round([waiting], lives, self.rules)
        by_name = {array.name: array for array in self.arrays}
        for feed in done.feeds:
            chunks = [self._take(size) for size in feed.chunk_sizes]
            by_name[feed.array_id].inbox.extend(chunks)
            by_name[feed.array_id].message_count += sum(feed.chunk_sizes)
        for plan in done.plans:
            delay = self.delays[len(self.planned) % len(self.delays)]
            self.arrays.append(
                SimArray(
                    f"{len(self.planned):06}", self.now_s, self.now_s + delay, plan.task_count,
                    deque(self._take(size) for size in plan.chunk_sizes), plan.message_count,
                )
            )  # fmt: skip
            self.planned.append(self.now_s)

    def _live(self, array: SimArray) -> Live:
        count = array.task_count if array.workers is None else len(array.workers)
        room = self.rules.max_messages_per_array - array.message_count
        age_s = self.now_s - array.planned_s
        return Live(array.name, "a", "u", count, 0, array.open_count, room, room > 0, age_s=age_s)

    def _take(self, size: int) -> list[float]:
        return [self.queue.popleft()[1] for _ in range(size)]

    def _watch(self) -> None:
        there = sum(
            array.task_count if array.workers is None else len(array.workers)
            for array in self.arrays
        )
        self.most_workers = max(self.most_workers, there)
        is_unserved = self.queue and any(
            not array.inbox and not all(w.is_busy for w in array.workers or ())
            for array in self.arrays
            if array.message_count < self.rules.max_messages_per_array
        )
        self._waits_s = self._waits_s + STEP_S if is_unserved else 0.0
        self.unserved_s = max(self.unserved_s, self._waits_s)

    def _work(self, array: SimArray) -> None:
        if array.workers is None and self.now_s >= array.starts_s:
            array.workers = [SimWorker() for _ in range(array.task_count)]
        idle = 0
        for worker in array.workers or ():
            left_s = STEP_S
            while left_s > 0:
                if worker.left_s <= 0 and not self._begin(array, worker):
                    break
                spent_s = min(left_s, worker.left_s)
                worker.left_s -= spent_s
                left_s -= spent_s
                self.done += worker.left_s <= 0
            if left_s > 0:
                worker.idle_s += STEP_S
                idle += 1
            else:
                worker.idle_s = 0.0
        self.surplus_s += STEP_S * max(0, idle - 1)

    def _begin(self, array: SimArray, worker: SimWorker) -> bool:
        """Let the worker take its next message; whether there is one."""
        if not worker.claimed:
            if not array.inbox:
                return False
            worker.claimed.extend(array.inbox.popleft())
        worker.left_s = worker.claimed.popleft()
        mean = worker.left_s if self.mean_s is None else self.mean_s
        self.mean_s = 0.9 * mean + 0.1 * worker.left_s
        return True

    def _leave(self) -> None:
        for array in self.arrays:
            if array.workers is None or self.queue or array.inbox:
                continue
            idle = [worker for worker in array.workers if not worker.is_busy]
            staying = idle[:1] if idle and idle[0].idle_s < self.idle_timeout_s else []
            gone = [w for w in idle if w.idle_s >= SURPLUS_S and w not in staying]
            array.workers = [w for w in array.workers if w not in gone]
        self.arrays = [
            array
            for array in self.arrays
            if array.workers is None
            or (array.workers and array.message_count < self.rules.max_messages_per_array)
            or array.open_count
        ]
