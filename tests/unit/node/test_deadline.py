"""Whether another message fits into the time that is left."""

from __future__ import annotations

import time

import pytest

from bridge.node.deadline import MARGIN_S, Deadline


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)

    def build(left_s, max_run_time_s=0.0):
        end = int(1000 + MARGIN_S + left_s)
        return Deadline({"SLURM_JOB_END_TIME": str(end)}, 0, max_run_time_s)

    return build


def test_without_slurms_word_the_limit_counts_from_now(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)

    assert Deadline({}, 3600, 0).left_s == 3600 - MARGIN_S


def test_the_first_message_is_begun_with_whatever_there_is(make):
    assert make(1, max_run_time_s=3600).has_room()
    assert not make(0).has_room()


def test_a_worker_that_has_waited_for_long_leaves_the_first_one_to_another(make, monkeypatch):
    deadline = make(100)
    monkeypatch.setattr(time, "time", lambda: 1050.0)
    assert deadline.has_room()
    monkeypatch.setattr(time, "time", lambda: 1051.0)
    assert not deadline.has_room()
    deadline.add(1)
    assert deadline.has_room()


def test_later_ones_need_their_limit(make):
    deadline = make(100, max_run_time_s=200)
    deadline.add(1)

    assert not deadline.has_room()


@pytest.mark.parametrize(
    ("taken", "fits"), [((10, 10), True), ((60, 60), False), ((5, 200), False)]
)
def test_without_a_limit_experience_counts(make, taken, fits):
    deadline = make(100)
    for seconds in taken:
        deadline.add(seconds)

    assert deadline.has_room() is fits
