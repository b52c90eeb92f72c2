"""Packing: which of the waiting messages go together into which job array. Pure.

An array serves one actor. (The design groups by what must be equal for messages to share an
array: cluster, owner, image, resources. But what bounds an array, `max_workers`, the order of a
stateful actor, the estimate of run time, belongs to one actor, and a group of several would have to
carry all of it per message for a few saved submissions.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# What a container is taken to run before the actor has a history, seconds: the mean of Abaco's own
# published use is 11.7 s.
UNKNOWN_RUN_S = 10.0
# A chunk is at least this much estimated work, so that files stay few beside the work they carry.
MIN_CHUNK_S = 1.0
# ... and a chunk of the longest texts, each character written as six, fits into one line to the
# agent (bridge.sessions.agent.MAX_PUT_BYTES).
MAX_CHUNK = 64


@dataclass(frozen=True)
class Waiting:
    """The queue of one actor.

    Attributes:
        actor_id: whose it is.
        count: messages that wait.
        oldest_age_s: how long the first of them has waited.
        newest_age_s: how long ago the last of them arrived.
        mean_run_s: mean run time of the actor's containers, None before the first.
        max_workers: workers that it may have at once.
        busy_workers: workers that it has, started or planned.
        in_order: each message must see what the one before it left.
    """

    actor_id: str
    count: int
    oldest_age_s: float
    newest_age_s: float
    mean_run_s: float | None
    max_workers: int
    busy_workers: int
    in_order: bool = False


@dataclass(frozen=True)
class PackingRules:
    """What the cluster asks of arrays; see the keys of the same names in the site file."""

    target_task_s: float
    max_tasks_per_array: int
    max_messages_per_array: int
    linger_s: float


@dataclass(frozen=True)
class ArrayPlan:
    """These messages of this actor, the first `message_count` of its queue, in this shape.

    Attributes:
        actor_id: whose messages.
        message_count: how many, from the head of the queue.
        task_count: workers.
        chunk_sizes: messages per chunk, in order; they add up to `message_count`.
    """

    actor_id: str
    message_count: int
    task_count: int
    chunk_sizes: tuple[int, ...]


def plan_arrays(queues: Sequence[Waiting], rules: PackingRules) -> list[ArrayPlan]:
    """Return at most one plan an actor, oldest first message first."""
    plans = []
    for queue in sorted(queues, key=lambda q: (-q.oldest_age_s, q.actor_id)):
        free = queue.max_workers - queue.busy_workers
        if queue.count > 0 and free > 0 and has_lingered(queue, rules.linger_s):
            plans.append(_plan(queue, rules, free))
    return plans


def has_lingered(queue: Waiting, linger_s: float) -> bool:
    """Whether a burst has arrived whole: a pause of `linger_s`, or ten times that at most."""
    return queue.newest_age_s >= linger_s or queue.oldest_age_s >= 10 * linger_s


def _plan(queue: Waiting, rules: PackingRules, free: int) -> ArrayPlan:
    count = min(queue.count, rules.max_messages_per_array)
    if queue.in_order:
        # One chunk alone: were there a second, a worker that Slurm requeues would take it before
        # what its former self left of the first.
        count = min(count, MAX_CHUNK)
        return ArrayPlan(queue.actor_id, count, 1, (count,))
    each_s = max(0.001, UNKNOWN_RUN_S if queue.mean_run_s is None else queue.mean_run_s)
    wanted = math.ceil(count * each_s / rules.target_task_s)
    tasks = max(1, min(wanted, free, count, rules.max_tasks_per_array))
    smallest = max(1, round(MIN_CHUNK_S / each_s))
    chunks = guided_chunks(count, tasks, smallest)
    return ArrayPlan(queue.actor_id, count, min(tasks, len(chunks)), chunks)


def guided_chunks(count: int, workers: int, smallest: int = 1) -> tuple[int, ...]:
    """Divide `count` messages into chunks that shrink towards the end.

    Guided self-scheduling: each chunk is half of what an equal share of the rest would be, so that
    a slow worker does not hold up the others. One worker needs no balance, and gets large ones.
    """
    sizes = []
    left = count
    while left > 0:
        share = left if workers == 1 else math.ceil(left / (2 * workers))
        size = min(left, MAX_CHUNK, max(smallest, share))
        sizes.append(size)
        left -= size
    return tuple(sizes)
