"""Sharing the time of a tick between owners.

What lies in a spool is its owner's to write, and reading it costs the bridge time: a journal of
garbage, a name for every number, a million records. So no owner takes more than a share of a tick;
what is left over is looked at in the next one. Nor do all together, where a step of a round has a
time of its own, lest a round took long: in the next those owners begin whose turn was longest ago,
each with one array, however many there are. Else arrays take turns in no order, lest the same ones
were left over each time.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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


def take_turns(
    arrays: Sequence[Array],
    share_s: float = SHARE_S,
    step_s: float = math.inf,
    served: dict[str, float] | None = None,
) -> Iterator[Array]:
    """Yield the arrays of every owner whose share of this tick is not used up.

    The time between two of them is taken for what the first one cost.

    Args:
        arrays: whose turn it is.
        share_s: an owner's share of the tick.
        step_s: time for all.
        served: when each array had its turn, by its id; kept up here.
    """
    used_s: dict[str, float] = defaultdict(float)
    left_over = 0
    served = {} if served is None else served
    for gone in served.keys() - {array.id for array in arrays}:
        del served[gone]
    until = monotonic_s() + step_s
    for array in _order(arrays, served):
        if monotonic_s() >= until:
            break
        if used_s[array.username] >= share_s:
            left_over += 1
            continue
        begun = served[array.id] = monotonic_s()
        yield array
        used_s[array.username] += monotonic_s() - begun
    if left_over:
        owners = sorted(name for name, spent_s in used_s.items() if spent_s >= share_s)
        facts = {"owners": owners, "arrays": left_over}
        log.warning("arrays wait for the next round", extra={"facts": facts})


def _order(arrays: Sequence[Array], served: Mapping[str, float]) -> list[Array]:
    """Return one array of each owner, then a second of each that has one, and so on."""
    by_owner: dict[str, list[Array]] = defaultdict(list)
    for array in sorted(shuffled(arrays), key=lambda one: served.get(one.id, 0.0)):
        by_owner[array.username].append(array)
    owners = sorted(by_owner.values(), key=lambda of_one: served.get(of_one[-1].id, 0.0))
    rows = itertools.zip_longest(*owners)
    return [array for row in rows for array in row if array is not None]
