"""Arrays that were given something just now."""

from __future__ import annotations

import pytest

from bridge.scheduler import hot
from bridge.scheduler.hot import HOT_S, MOST, look_at_hot, note_given
from tests.unit.scheduler.world import GOOD, QUEUED, World


def test_what_is_over_soon_is_seen_soon(world: World) -> None:
    """The next message of a stateful actor waits for that, and for nothing else."""
    actor = world.actor(stateless=False)
    first, second = world.post(actor, 2)
    world.tick(2)
    assert list(world.context.hot) == [world.array().id]
    assert not look_at_hot(world.context)
    world.work_all()

    assert look_at_hot(world.context)
    assert world.statuses([first, second]) == [GOOD, QUEUED]
    assert world.context.hot == {}


def test_the_journals_of_others_are_not_read(world: World) -> None:
    world.post(world.actor())
    world.tick(2)
    world.context.hot.clear()
    world.sessions.asked.clear()
    assert not look_at_hot(world.context)
    assert world.sessions.asked == []


def test_what_takes_longer_is_left_to_the_rounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(hot, "monotonic_s", lambda: now_s)
    world.post(world.actor())
    world.tick(2)
    now_s += HOT_S / 2
    look_at_hot(world.context)
    assert world.context.hot
    now_s += HOT_S / 2
    assert not look_at_hot(world.context)
    assert world.context.hot == {}


def test_few_are_hot_at_a_time(world: World) -> None:
    note_given(world.context, "large", hot.FEW + 1)
    for number in range(MOST + 5):
        note_given(world.context, str(number), 1)
    assert set(world.context.hot) == {str(number) for number in range(MOST)}
