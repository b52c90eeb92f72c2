"""Who is served in a tick whose time is short."""

from __future__ import annotations

from itertools import count

import pytest

from bridge.db import Array
from bridge.scheduler import turns
from bridge.scheduler.turns import take_turns


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass whenever somebody asks."""
    clock = count()
    monkeypatch.setattr(turns, "monotonic_s", lambda: float(next(clock)))


def make_arrays(*owners: str) -> list[Array]:
    return [Array(id=f"{owner}-{n}", username=owner) for n, owner in enumerate(owners)]


@pytest.mark.usefixtures("seconds")
def test_no_owner_takes_more_than_a_share() -> None:
    arrays = make_arrays(*["mallory"] * 9, "alice")

    served = [array.username for array in take_turns(arrays, share_s=2.0)]

    assert served.count("alice") == 1
    assert served.count("mallory") == 2


@pytest.mark.usefixtures("seconds")
def test_whose_turn_was_longest_ago_begins_where_a_step_has_no_time_for_all() -> None:
    arrays = make_arrays(*"abcdefg")
    served: dict[str, float] = {}

    def take() -> list[str]:
        return [one.id for one in take_turns(arrays, step_s=8.0, served=served)]

    steps = [take() for _ in range(8)]
    each = len(steps[0])
    assert 0 < each < len(arrays)
    order = [one for step in steps for one in step]
    assert set(order[: len(arrays)]) == {array.id for array in arrays}
    assert order[len(arrays) :] == order[: -len(arrays)]


@pytest.mark.usefixtures("seconds")
def test_arrays_that_are_gone_are_forgotten() -> None:
    served = {"gone": 1.0}
    list(take_turns(make_arrays("alice"), served=served))
    assert set(served) == {"alice-0"}


def test_one_whose_arrays_each_take_all_the_time_keeps_nobody_from_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(turns, "monotonic_s", lambda: now[0])
    arrays = make_arrays(*["mallory"] * 20, "alice", "bob")
    served: dict[str, float] = {}

    rounds = []
    for _ in range(6):
        now[0] += 1.0
        owners = []
        for array in take_turns(arrays, step_s=0.25, served=served):
            owners.append(array.username)
            now[0] += 2.0 if array.username == "mallory" else 0.01
        rounds.append(owners)

    late = rounds[1:]  # in the first, all are alike
    assert all({"alice", "bob"} <= set(owners) for owners in late)
    assert all(owners.count("mallory") <= 1 for owners in late)
