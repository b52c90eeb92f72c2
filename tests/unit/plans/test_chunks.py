"""Chunks: every message in one, large ones first, neither too many nor too large."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.chunks import MAX_CHUNK, MAX_CHUNK_S, guided_chunks, plan_chunks

SIZES = st.integers(1, 2000)


@given(st.integers(0, 50_000), st.integers(1, 500), SIZES, SIZES, st.integers(0, 10**6))
def test_chunks_shrink_towards_the_end(
    count: int, workers: int, smallest: int, largest: int, behind: int
) -> None:
    sizes = guided_chunks(count, workers, smallest, largest, behind)
    assert sum(sizes) == count
    assert list(sizes) == sorted(sizes, reverse=True)
    assert all(0 < size <= largest for size in sizes)


@given(st.integers(1, 5000), st.integers(2, 100), st.integers(0, 10**6))
def test_every_worker_gets_one(count: int, workers: int, behind: int) -> None:
    sizes = guided_chunks(count, workers, behind=behind)
    assert len(sizes) >= min(count, workers)


def test_they_need_not_shrink_while_more_wait() -> None:
    assert guided_chunks(80, 4, behind=10_000) == (10,) * 8
    assert guided_chunks(80, 4) == (10, 9, 8, 7, 6, 5, 5, 4, 4, 3, 3, 2, 2, 2, 2, 1, *(1,) * 7)


@pytest.mark.parametrize(
    ("mean_run_s", "largest"),
    [(None, 64), (0.0, MAX_CHUNK), (0.003, MAX_CHUNK), (1.0, 60), (10.0, 6), (3600.0, 1)],
)
def test_a_chunk_is_a_minute_of_work_at_most(mean_run_s: float | None, largest: int) -> None:
    sizes = plan_chunks(100_000, 4, mean_run_s)
    assert sizes[0] == largest
    assert largest == 1 or largest * (mean_run_s or 0) <= MAX_CHUNK_S


def test_a_hundred_thousand_short_messages_are_a_few_hundred_files() -> None:
    """As they are fed: some seconds' work at a time."""
    left, files = 100_000, 0
    while left > 0:
        count = min(left, 10_000)
        left -= count
        files += len(plan_chunks(count, 4, 0.003, behind=left))
    assert files < 200
