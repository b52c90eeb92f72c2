"""A user whose agents are slow on purpose wastes little of everybody's time."""

from __future__ import annotations

import socket

import pytest

from bridge.errors import CommandTimeout, ConnectFailed
from bridge.sessions import SessionPool
from bridge.sessions.agent import AgentSession
from bridge.sessions.patience import ALLOWED_S, FORGOTTEN, FREE_S, MOST_S, Patience


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def patience(time: Time) -> Patience:
    return Patience(time)


def test_quick_answers_are_free(patience: Patience) -> None:
    for _ in range(100_000):
        patience.note("alice", FREE_S)
    patience.check("alice")


def test_a_hiccup_is_forgiven_and_a_habit_is_not(patience: Patience, time: Time) -> None:
    patience.note("mallory", FREE_S + ALLOWED_S)
    patience.check("mallory")
    patience.note("mallory", FREE_S + 1)
    with pytest.raises(
        ConnectFailed, match="mallory answers too slowly; it is left alone for 10 s"
    ):
        patience.check("mallory")
    patience.check("alice")
    time.now += 1 / FORGOTTEN
    patience.check("mallory")


@pytest.mark.parametrize("takes_s", [30.0, 90.0, 1.5, 5.0])
def test_what_is_wasted_in_an_hour_is_bounded(
    patience: Patience, time: Time, takes_s: float
) -> None:
    waited_s = 0.0
    while time.now < 1000 + 3600:
        try:
            patience.check("mallory")
        except ConnectFailed:
            time.now += 1
            continue
        time.now += takes_s
        waited_s += takes_s
        patience.note("mallory", takes_s)
    assert waited_s < 3600 / 3
    time.now += MOST_S / FORGOTTEN
    patience.check("mallory")


def test_an_agent_that_was_stopped_is_waited_for_once(patience: Patience, time: Time) -> None:
    ours, theirs = socket.socketpair()
    session = AgentSession("mallory", ours, 0.01, patience)
    patience.note("mallory", FREE_S + ALLOWED_S - 0.001)
    with theirs, pytest.raises(CommandTimeout):
        session.read("/x")
    patience.note("mallory", FREE_S + 1)
    with pytest.raises(ConnectFailed, match="left alone"):
        SessionPool(_never, patience=patience).session("mallory")


def test_a_session_that_is_open_rests_too(patience: Patience) -> None:
    ours, theirs = socket.socketpair()
    session = AgentSession("mallory", ours, 0.01, patience)
    patience.note("mallory", 100)
    with theirs, pytest.raises(ConnectFailed, match="left alone"):
        session.read("/x")
    assert not session.broken
    session.close()


def _never(username: str) -> socket.socket:
    raise AssertionError(f"an agent was started as {username}")
