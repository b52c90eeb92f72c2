"""How many refusals may become rows."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bridge.clock import monotonic_s


class Allowance:
    """So many at once, and so many a second in the long run; the rest is not granted.

    A stranger may send requests that are refused as fast as the network lets them. The log has all
    of them; the table, which shares its disk with the queue, has these.
    """

    def __init__(
        self, burst: int = 100, rate: float = 5.0, read_s: Callable[[], float] = monotonic_s
    ) -> None:
        self._burst, self._rate, self._read_s = burst, rate, read_s
        self._lock = threading.Lock()
        self._left = float(burst)
        self._at_s = read_s()

    def take(self) -> bool:
        """Whether there is one more."""
        with self._lock:
            now_s = self._read_s()
            self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate)
            self._at_s = now_s
            if self._left < 1:
                return False
            self._left -= 1
            return True
