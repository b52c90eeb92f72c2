"""How the workers of an array are spread over its array tasks. Pure.

Where a site gives whole nodes, one array task has several slots, each with a worker in it. Workers
are counted through the array, those of the first task first; so a worker's index says which task
it is of, and with one slot a task the two are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layout:
    """The array tasks of `workers` workers.

    Attributes:
        workers: of the array.
        slots: of each task; the last one's need not all have a worker.
    """

    workers: int
    slots: int

    @property
    def tasks(self) -> int:
        """How many array tasks there are."""
        return -(-self.workers // self.slots)

    def task_of(self, worker: int) -> int:
        """Return the index of the array task that has this worker."""
        return worker // self.slots

    def workers_of(self, task: int) -> range:
        """Return the indices of the workers of an array task, none for one that is not ours."""
        first = task * self.slots
        return range(first, max(first, min(first + self.slots, self.workers)))


def lay_out(workers: int, most_slots: int) -> Layout:
    """Return the layout with the fewest tasks of up to `most_slots`, and of these the smallest.

    All tasks of an array ask for the same, so that what no worker needs would be held in vain.
    """
    tasks = max(1, -(-workers // max(1, most_slots)))
    return Layout(workers, -(-workers // tasks))


def array_layout(workers: int, request: Mapping[str, Any]) -> Layout:
    """Return the layout of an array of so many workers from its request (`bridge.launcher`)."""
    return lay_out(workers, int(request.get("slots") or 1))
