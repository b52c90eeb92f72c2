"""Sharing the time of a tick between owners.

What lies in a spool is its owner's to write, and reading it costs the bridge time: a journal of
garbage, a name for every number, a million records. So no owner takes more than a share of a tick;
what is left over is looked at in the next one. Arrays take turns in no order, lest the same ones
were left over each time.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import SystemRandom
from typing import TypeVar

from bridge.clock import monotonic_s
from bridge.db import Array

log = logging.getLogger(__name__)

SHARE_S = 2.0
_random = SystemRandom()
T = TypeVar("T")


def shuffled(things: Sequence[T]) -> list[T]:
    """Return `things` in another order each time."""
    return _random.sample(things, len(things))


def take_turns(arrays: Sequence[Array], share_s: float = SHARE_S) -> Iterator[Array]:
    """Yield the arrays of every owner whose share of this tick is not used up.

    The time between two of them is taken for what the first one cost.
    """
    used_s: dict[str, float] = defaultdict(float)
    left_over = 0
    for array in shuffled(arrays):
        if used_s[array.username] >= share_s:
            left_over += 1
            continue
        begun = monotonic_s()
        yield array
        used_s[array.username] += monotonic_s() - begun
    if left_over:
        owners = sorted(name for name, spent_s in used_s.items() if spent_s >= share_s)
        facts = {"owners": owners, "arrays": left_over}
        log.warning("arrays wait for the next round", extra={"facts": facts})
