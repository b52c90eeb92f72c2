"""Packing: nothing lost, nothing twice, no limit exceeded, the same for the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.messages import MAX_TEXT_BYTES
from bridge.core.plans import (
    MAX_CHUNK,
    PackingRules,
    Waiting,
    guided_chunks,
    has_lingered,
    plan_arrays,
)
from bridge.sessions.agent import MAX_PUT_BYTES

RULES = PackingRules(
    target_task_s=600, max_tasks_per_array=100, max_messages_per_array=10_000, linger_s=1
)


def waiting(count: int = 1, **changes: object) -> Waiting:
    plain = Waiting(
        actor_id="a",
        count=count,
        oldest_age_s=60,
        newest_age_s=60,
        mean_run_s=None,
        max_workers=6,
        busy_workers=0,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


AGES = st.floats(0, 1e6)
QUEUES = st.builds(
    lambda actor_id, count, ages, mean, most, busy, in_order: Waiting(
        actor_id, count, max(ages), min(ages), mean, most, busy, in_order
    ),
    st.text("abc", min_size=1, max_size=3),
    st.integers(0, 30_000),
    st.tuples(AGES, AGES),
    st.none() | st.floats(0, 1e5),
    st.integers(1, 500),
    st.integers(0, 500),
    st.booleans(),
)
SOME_RULES = st.builds(
    PackingRules,
    target_task_s=st.floats(0.001, 1e5),
    max_tasks_per_array=st.integers(1, 1000),
    max_messages_per_array=st.integers(1, 20_000),
    linger_s=st.floats(0, 100),
)
LISTS = st.lists(QUEUES, max_size=8, unique_by=lambda queue: queue.actor_id)


@given(LISTS, SOME_RULES)
def test_no_limit_is_exceeded(queues: list[Waiting], rules: PackingRules) -> None:
    by_actor = {queue.actor_id: queue for queue in queues}
    for plan in plan_arrays(queues, rules):
        queue = by_actor[plan.actor_id]
        assert 1 <= plan.message_count <= min(queue.count, rules.max_messages_per_array)
        assert 1 <= plan.task_count <= rules.max_tasks_per_array
        assert plan.task_count + queue.busy_workers <= queue.max_workers
        assert plan.task_count <= len(plan.chunk_sizes)


@given(LISTS, SOME_RULES)
def test_the_chunks_hold_every_message_once(queues: list[Waiting], rules: PackingRules) -> None:
    for plan in plan_arrays(queues, rules):
        assert sum(plan.chunk_sizes) == plan.message_count
        assert all(0 < size <= MAX_CHUNK for size in plan.chunk_sizes)


@given(LISTS, SOME_RULES)
def test_an_actor_has_one_plan_at_most(queues: list[Waiting], rules: PackingRules) -> None:
    actors = [plan.actor_id for plan in plan_arrays(queues, rules)]
    assert len(actors) == len(set(actors))


@given(LISTS, SOME_RULES, st.randoms(use_true_random=False))
def test_the_same_queues_give_the_same_plans(
    queues: list[Waiting], rules: PackingRules, random: object
) -> None:
    plans = plan_arrays(queues, rules)
    shuffled = list(queues)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan_arrays(shuffled, rules) == plans


@given(LISTS, SOME_RULES)
def test_whoever_can_be_served_is(queues: list[Waiting], rules: PackingRules) -> None:
    planned = {plan.actor_id for plan in plan_arrays(queues, rules)}
    assert planned == {
        queue.actor_id
        for queue in queues
        if queue.count > 0
        and queue.busy_workers < queue.max_workers
        and has_lingered(queue, rules.linger_s)
    }


@given(QUEUES, SOME_RULES)
def test_what_is_in_order_is_one_chunk_of_one_worker(queue: Waiting, rules: PackingRules) -> None:
    for plan in plan_arrays([replace(queue, in_order=True)], rules):
        assert (plan.task_count, len(plan.chunk_sizes)) == (1, 1)


@given(st.integers(0, 50_000), st.integers(1, 500), st.integers(1, 2000))
def test_chunks_shrink_towards_the_end(count: int, workers: int, smallest: int) -> None:
    sizes = guided_chunks(count, workers, smallest)
    assert sum(sizes) == count
    assert list(sizes) == sorted(sizes, reverse=True)


def test_the_oldest_message_comes_first() -> None:
    queues = [waiting(actor_id="young", oldest_age_s=5), waiting(actor_id="old", oldest_age_s=50)]
    assert [plan.actor_id for plan in plan_arrays(queues, RULES)] == ["old", "young"]


@pytest.mark.parametrize(
    ("mean_run_s", "tasks"),
    [(None, 6), (0.0, 1), (0.01, 1), (1.0, 2), (3.0, 5), (60.0, 6)],
)
def test_workers_follow_from_the_work(mean_run_s: float | None, tasks: int) -> None:
    [plan] = plan_arrays([waiting(1000, mean_run_s=mean_run_s)], RULES)
    assert plan.task_count == tasks


def test_long_messages_get_a_chunk_each() -> None:
    [plan] = plan_arrays([waiting(4, mean_run_s=3600)], RULES)
    assert plan.chunk_sizes == (1, 1, 1, 1)


def test_short_messages_share_chunks() -> None:
    [plan] = plan_arrays([waiting(500, mean_run_s=0.02)], RULES)
    assert len(plan.chunk_sizes) <= 10


@pytest.mark.parametrize(
    ("newest_age_s", "oldest_age_s", "over"),
    [(0, 0, False), (0.9, 5, False), (1, 1, True), (0, 9.9, False), (0, 10, True)],
)
def test_a_burst_is_waited_for(newest_age_s: float, oldest_age_s: float, over: bool) -> None:
    queue = waiting(oldest_age_s=oldest_age_s, newest_age_s=newest_age_s)
    assert has_lingered(queue, linger_s=1) is over


def test_a_chunk_of_the_longest_texts_can_be_sent() -> None:
    # A control character is six in JSON; the rest of a line is small beside its text.
    assert MAX_CHUNK * (6 * MAX_TEXT_BYTES + 10_000) < MAX_PUT_BYTES
