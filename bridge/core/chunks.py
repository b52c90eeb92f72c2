"""Chunks: how the messages that an array is given are divided among its workers. Pure.

A chunk is a file, and a worker's until it is done: large ones keep files few, small ones keep
workers from waiting for each other, and fit into what is left of a worker's time.
"""

from __future__ import annotations

import math

# A chunk is at least this much estimated work, so that files stay few beside the work they carry,
# and at most this much: it is no more than a worker may lose.
MIN_CHUNK_S = 1.0
MAX_CHUNK_S = 60.0
# Messages of one chunk, at most; and where nobody knows how long they run.
MAX_CHUNK = 1000
UNKNOWN_CHUNK = 64
# Chunks of one array, at most: its directories are read in one piece (bridge.sessions.base, `list`)
# and have room for what comes to them otherwise.
MAX_CHUNKS = 5000


def plan_chunks(
    count: int, workers: int, mean_run_s: float | None, behind: int = 0
) -> tuple[int, ...]:
    """Return the sizes of the chunks for `count` messages, in order.

    Args:
        count: how many messages.
        workers: who they are for.
        mean_run_s: how long one is taken to run; None: not known.
        behind: how many more of them wait for these workers.
    """
    if mean_run_s is None:
        return guided_chunks(count, workers, 1, UNKNOWN_CHUNK, behind)
    each_s = max(0.001, mean_run_s)
    smallest = min(MAX_CHUNK, max(1, round(MIN_CHUNK_S / each_s)))
    largest = min(MAX_CHUNK, max(1, round(MAX_CHUNK_S / each_s)))
    return guided_chunks(count, workers, smallest, largest, behind)


def guided_chunks(
    count: int, workers: int, smallest: int = 1, largest: int = MAX_CHUNK, behind: int = 0
) -> tuple[int, ...]:
    """Divide `count` messages into chunks that shrink towards the end of all.

    Guided self-scheduling: each chunk is half of what an equal share of the rest would be, so that
    a slow worker does not hold up the others. One worker needs no balance, and gets large ones.
    While more wait behind these, the end is not near, and there are two or so for each worker.
    """
    most = count if workers == 1 else math.ceil(count / (2 * workers))
    sizes = []
    left = count
    while left > 0:
        share = left if workers == 1 else math.ceil((left + behind) / (2 * workers))
        size = min(left, max(smallest, min(share, most)), largest)
        sizes.append(size)
        left -= size
    return tuple(sizes)
