"""How workers are spread over array tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.slots import Layout, array_layout, lay_out

COUNTS = st.integers(1, 500)


@pytest.mark.parametrize(
    ("workers", "most", "expected"),
    [
        (1, 64, Layout(1, 1)),
        (2, 64, Layout(2, 2)),
        (64, 64, Layout(64, 64)),
        (65, 64, Layout(65, 33)),
        (10, 4, Layout(10, 4)),
        (5, 1, Layout(5, 1)),
    ],
)
def test_a_task_is_as_small_as_can_be(workers: int, most: int, expected: Layout) -> None:
    assert lay_out(workers, most) == expected


@given(COUNTS, COUNTS)
def test_each_worker_has_one_task(workers: int, most: int) -> None:
    layout = lay_out(workers, most)
    assert layout.slots <= most
    assert layout.tasks == -(-workers // most)
    every = [index for task in range(layout.tasks) for index in layout.workers_of(task)]
    assert every == list(range(workers))
    assert all(layout.task_of(i) == t for t in range(layout.tasks) for i in layout.workers_of(t))


def test_a_task_that_is_not_ours_has_no_worker() -> None:
    assert not layout_of_ten().workers_of(3)
    assert not layout_of_ten().workers_of(10**6)


def layout_of_ten() -> Layout:
    return lay_out(10, 4)


def test_an_array_planned_before_there_were_slots_has_one_a_task() -> None:
    assert array_layout(7, {"cpus": 1}) == Layout(7, 1)
