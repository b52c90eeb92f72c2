"""Waits are bounded, and their pauses grow."""

from __future__ import annotations

import pytest

from bridge.core.waits import Waits


def test_pauses_grow_and_add_up_to_the_limit():
    pauses: list[float] = []
    waits = Waits(pauses.append, lambda: sum(pauses))
    assert waits.until(lambda: None, 10) is None
    assert sum(pauses) == pytest.approx(10)
    assert pauses[0] == pytest.approx(0.02)
    assert max(pauses) == pytest.approx(0.5)
    assert len(pauses) < 40


def test_the_first_answer_ends_it():
    answers = iter([None, None, 0])
    pauses: list[float] = []
    assert Waits(pauses.append, lambda: sum(pauses)).until(lambda: next(answers), 10) == 0
    assert len(pauses) == 2
