"""How much there is of something, remembered from round to round.

Short queues are counted anew each time they matter. Counting a long one takes long, and its exact
length matters little: it is counted again after twenty times what counting it took.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SHORT = 5000
AGE_IN_COUNTS = 20.0


@dataclass
class Lengths(Generic[K]):
    """Lengths of queues as one scheduler last saw them, and from when on each is stale."""

    _known: dict[K, tuple[int, float]] = field(default_factory=dict)

    def of(self, key: K) -> int:
        """Return the queue's length; one that was never counted has one message at least."""
        return self._known.get(key, (1, 0.0))[0]

    def is_stale(self, key: K, now_s: float) -> bool:
        """Whether the queue is to be counted (again)."""
        count, stale_from_s = self._known.get(key, (1, 0.0))
        return count <= SHORT or now_s >= stale_from_s

    def note(self, counts: Mapping[K, int], begun_s: float, ended_s: float) -> None:
        """Remember what was counted, all of it together, from `begun_s` to `ended_s`."""
        each_s = (ended_s - begun_s) / max(1, sum(counts.values()))
        for key, count in counts.items():
            self._known[key] = count, ended_s + AGE_IN_COUNTS * count * each_s

    def keep(self, keys: Collection[K]) -> None:
        """Forget all other queues."""
        self._known = {key: known for key, known in self._known.items() if key in keys}
