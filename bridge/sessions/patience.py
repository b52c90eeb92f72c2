"""How much of the bridge's time the agents of one user may waste.

An agent is a process of its user's, who can stop it, trace it, or let it answer a moment before the
time is up. Whoever asks an agent waits meanwhile, and so does everybody after it. So what an answer
takes beyond a second is written down for its user; who owes too much is left alone until most of
that time has passed nine times over. A filesystem that hangs for a moment costs its users nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bridge.clock import monotonic_s
from bridge.errors import ConnectFailed

log = logging.getLogger(__name__)

FREE_S = 1.0  # of each answer
ALLOWED_S, MOST_S = 15.0, 45.0  # owed before a user is left alone, and at most
FORGOTTEN = 0.1  # of each second that passes
MOST_AT_ONCE_S = 30.0  # a command may be slow for a reason that is not its user's


class Patience:
    """What the users of one way to a cluster owe, in seconds of waiting."""

    def __init__(self, clock: Callable[[], float] = monotonic_s) -> None:
        self._clock = clock
        self._owed: dict[str, tuple[float, float]] = {}  # seconds, and when they were counted
        self._lock = threading.Lock()

    def check(self, username: str) -> None:
        """Refuse to wait for this user's agent at present.

        Raises:
            ConnectFailed: it has kept the bridge waiting for too long; says for how long it rests.
        """
        with self._lock:
            over_s = self._now_owed(username) - ALLOWED_S
        if over_s > 0:
            raise ConnectFailed(
                f"The agent of {username} answers too slowly; it is left alone for "
                f"{over_s / FORGOTTEN:.0f} s."
            )

    def note(self, username: str, took_s: float) -> None:
        """Write down that an answer, or the lack of one, took so long."""
        wasted_s = min(took_s - FREE_S, MOST_AT_ONCE_S)
        if wasted_s <= 0:
            return
        with self._lock:
            before_s = self._now_owed(username)
            owed_s = min(before_s + wasted_s, MOST_S)
            self._owed[username] = (owed_s, self._clock())
        if before_s <= ALLOWED_S < owed_s:
            facts = {"user": username, "owed_s": round(owed_s)}
            log.warning("an agent answers too slowly and is left alone", extra={"facts": facts})

    def _now_owed(self, username: str) -> float:
        owed_s, at = self._owed.get(username, (0.0, 0.0))
        return max(0.0, owed_s - (self._clock() - at) * FORGOTTEN)
