"""When the next round is due: at its time, or as soon as there is something new.

Whether messages have come is asked twenty times a second, which costs next to nothing
(bridge.scheduler.news). Only when one has come is anything planned. A round that took long is
followed by a rest in proportion, so that what hurries takes a part of a core at most, however much
is posted and waits.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

# Between two questions whether there is something new.
PROBE_S = 0.05
# Between two rounds of everything.
ROUND_S = 0.5
# Between two looks at the journals of arrays that were given something just now.
LOOK_S = 0.1
# A round that hurries is followed by a rest of so many times as long.
REST = 3.0


class Due(Enum):
    """What is to be done now."""

    ROUND = "everything"
    NEWS = "messages have come, or have waited long enough for others"
    LOOK = "workers may have finished something that another message waits for"


class Pace:
    """Says when which round is due.

    Args:
        newest: returns the number of the newest message, None where that cannot be told now.
        now: a monotonic clock, seconds.
    """

    def __init__(self, newest: Callable[[], int | None], now: Callable[[], float]) -> None:
        self._newest = newest
        self._now = now
        self._seen: int | None = None
        self._round_at = self._look_at = self._rest_until = 0.0
        self._plan_at: float | None = None

    def next_due(self, *, is_hot: bool) -> Due | None:
        """Return what is due, None for nothing.

        Args:
            is_hot: something was given to workers just now.
        """
        now = self._now()
        if now >= self._round_at:
            self._look_for_news()
            return Due.ROUND
        if now < self._rest_until:
            return None
        if self._look_for_news() or (self._plan_at is not None and now >= self._plan_at):
            return Due.NEWS
        return Due.LOOK if is_hot and now >= self._look_at else None

    def note(self, due: Due, begun: float, plan_again_s: float | None) -> None:
        """Learn that what was due is done.

        Args:
            due: what `next_due` said.
            begun: when it began.
            plan_again_s: after so many seconds there will be something to plan; None where nothing
                was planned, or nothing waits.
        """
        now = self._now()
        took = now - begun
        self._look_at = now + LOOK_S
        if plan_again_s is not None:
            self._plan_at = now + plan_again_s
        elif due is not Due.LOOK:
            self._plan_at = None
        if due is Due.ROUND:
            self._round_at = max(now, begun + ROUND_S)
        else:
            self._rest_until = now + REST * took

    def _look_for_news(self) -> bool:
        """Whether messages have come since the last time; asked before the round that plans them.

        Numbers need not be committed in their order: a message that this misses waits for the next
        round of everything.
        """
        newest = self._newest()
        if newest is None or newest == self._seen:
            return False
        self._seen = newest
        return True
