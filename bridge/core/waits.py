"""Waiting for something that another process will write, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from bridge.clock import monotonic_s

T = TypeVar("T")


class Waits:
    """Asks again and again, with pauses that grow from 20 ms to half a second.

    `pause` and `read_s` are given by tests, which do not sleep.
    """

    def __init__(
        self,
        pause: Callable[[float], None] = time.sleep,
        read_s: Callable[[], float] = monotonic_s,
    ) -> None:
        self._pause = pause
        self._read_s = read_s

    def until(self, ask: Callable[[], T | None], limit_s: float) -> T | None:
        """Return the first answer of `ask` that is not None, or None after `limit_s`."""
        end = self._read_s() + limit_s
        step = 0.02
        while True:
            answer = ask()
            left = end - self._read_s()
            if answer is not None or left <= 0:
                return answer
            self._pause(min(step, left))
            step = min(step * 1.5, 0.5)
