"""The orders that the bridge gives a worker in the spool: stop, leave, cancel."""

import time
from typing import FrozenSet

from bridge.node.spool import Spool

EVERY_S = 0.1  # of messages that take milliseconds, not each is worth a look


class Orders:
    """Knows the orders as they stood at most `every_s` seconds ago."""

    def __init__(self, spool: Spool, task: str, every_s: float = EVERY_S) -> None:
        self._spool = spool
        self._task = task
        self._every_s = every_s
        self._due_at = 0.0
        self._why = ""
        self._cancelled: FrozenSet[str] = frozenset()

    def why_leave(self) -> str:
        """Return "stop" or "leave" if the bridge wants the worker to take nothing more, else ""."""
        self._look()
        return self._why

    def is_cancelled(self, execution: str) -> bool:
        """Whether the bridge wants this execution, which waits for its turn, to be ended."""
        self._look()
        return execution in self._cancelled

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + self._every_s
        if self._spool.has_order("stop"):
            self._why = "stop"
        elif self._spool.has_order("leave", self._task):
            self._why = "leave"
        self._cancelled = self._spool.cancelled()
