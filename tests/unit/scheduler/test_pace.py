"""When rounds are due."""

from __future__ import annotations

import pytest

from bridge.scheduler.pace import LOOK_S, REST, ROUND_S, Due, Pace


class Clocked:
    """A pace with a clock and a number of messages that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.newest: int | None = 0
        self.asked = 0
        self.pace = Pace(self._ask, lambda: self.now_s)
        self.do(0.0)  # the first round

    def _ask(self) -> int | None:
        self.asked += 1
        return self.newest

    def due(self, *, is_hot: bool = False) -> Due | None:
        return self.pace.next_due(is_hot=is_hot)

    def do(self, took_s: float, plan_again_s: float | None = None, *, is_hot: bool = False) -> Due:
        due = self.due(is_hot=is_hot)
        assert due is not None
        begun = self.now_s
        self.now_s += took_s
        self.pace.note(due, begun, plan_again_s)
        return due


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


def test_a_round_comes_at_its_time(clocked: Clocked) -> None:
    assert clocked.due() is None
    clocked.now_s += ROUND_S
    assert clocked.do(0.25) is Due.ROUND
    clocked.now_s += ROUND_S - 0.25
    assert clocked.do(3.0) is Due.ROUND
    assert clocked.due() is Due.ROUND  # a late one is run once
    clocked.do(0.0)
    assert clocked.due() is None


def test_a_message_is_given_out_when_it_comes(clocked: Clocked) -> None:
    clocked.newest = 1
    assert clocked.do(0.0) is Due.NEWS
    assert clocked.due() is None
    clocked.newest = 2
    assert clocked.do(0.0) is Due.NEWS


def test_a_message_that_a_round_has_planned_is_no_news(clocked: Clocked) -> None:
    clocked.newest = 1
    clocked.now_s += ROUND_S
    assert clocked.do(0.0) is Due.ROUND
    assert clocked.due() is None


def test_a_message_that_comes_during_a_round_is_news(clocked: Clocked) -> None:
    clocked.now_s += ROUND_S
    due = clocked.due()
    assert due is Due.ROUND
    clocked.newest = 1
    clocked.pace.note(due, clocked.now_s, None)
    assert clocked.due() is Due.NEWS


def test_what_hurries_takes_a_share_of_the_time(clocked: Clocked) -> None:
    """Messages without end, and rounds that take long."""
    spent_s, begun = 0.0, clocked.now_s
    while clocked.now_s - begun < 100:
        clocked.newest = (clocked.newest or 0) + 1
        due = clocked.due()
        if due is None:
            clocked.now_s += 0.01
            continue
        took_s = 0.05 if due is Due.NEWS else 0.0
        spent_s += took_s
        clocked.now_s += took_s
        clocked.pace.note(due, clocked.now_s - took_s, None)
    share = spent_s / (clocked.now_s - begun)
    assert 0.5 / (REST + 1) < share < 1.01 / (REST + 1)


def test_a_burst_is_planned_when_it_is_whole(clocked: Clocked) -> None:
    clocked.newest = 1
    assert clocked.do(0.0, plan_again_s=0.25) is Due.NEWS
    clocked.now_s += 0.125
    assert clocked.due() is None
    clocked.now_s += 0.125
    assert clocked.do(0.0) is Due.NEWS
    assert clocked.due() is None


def test_a_look_does_not_put_it_off(clocked: Clocked) -> None:
    clocked.newest = 1
    assert clocked.do(0.0, plan_again_s=0.25) is Due.NEWS
    clocked.now_s += 0.125
    assert clocked.do(0.0, is_hot=True) is Due.LOOK
    clocked.now_s += 0.125
    assert clocked.do(0.0, is_hot=True) is Due.NEWS


def test_hot_arrays_are_looked_at(clocked: Clocked) -> None:
    clocked.now_s += LOOK_S
    assert clocked.due() is None
    assert clocked.do(0.0, is_hot=True) is Due.LOOK
    assert clocked.due(is_hot=True) is None
    clocked.newest = 1
    assert clocked.do(0.0, is_hot=True) is Due.NEWS


def test_a_database_that_is_away_is_no_news(clocked: Clocked) -> None:
    clocked.newest = None
    assert clocked.due() is None
    clocked.newest = 0
    assert clocked.due() is None
