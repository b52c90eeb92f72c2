"""Accounts are asked for through the database, and not waited for longer than promised."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.core.waits import Waits
from bridge.db import ClusterUser
from bridge.errors import ConnectFailed, UserUnknown
from bridge.services.accounts import Account, find_account
from tests.factories.rows import START, add_account


class Scheduler:
    """Stands for the other process: answers at the n-th pause."""

    def __init__(self, database, answer_at, **answer):
        self.database = database
        self.answer_at = answer_at
        self.answer = answer
        self.pauses = []

    def pause(self, seconds):
        self.pauses.append(seconds)
        if len(self.pauses) != self.answer_at:
            return
        with self.database.begin() as session:
            row = session.get(ClusterUser, ("alpha", "alice"))
            row.checked_at = START - timedelta(days=1)  # its clock may be wrong: no matter
            for name, value in self.answer.items():
                setattr(row, name, value)

    def read_s(self):
        return sum(self.pauses)

    def waits(self):
        return Waits(self.pause, self.read_s)


def never(_seconds):
    raise AssertionError("nothing to wait for")


def test_a_fresh_answer_is_taken_at_once(database, clock):
    with database.begin() as session:
        add_account(session)
    clock.push(599)
    assert find_account(database, "alpha", "alice", clock, Waits(never)) == Account(2001, 2001)


def test_a_user_never_asked_for_is_asked_for(database, clock):
    scheduler = Scheduler(database, 3, uid=7, gid=8)
    found = find_account(database, "alpha", "alice", clock, scheduler.waits())
    assert found == Account(7, 8)
    assert len(scheduler.pauses) == 3


def test_an_old_answer_is_asked_again(database, clock):
    with database.begin() as session:
        add_account(session)
    clock.push(600)
    scheduler = Scheduler(database, 1, uid=9, gid=9)
    assert find_account(database, "alpha", "alice", clock, scheduler.waits()).uid == 9


def test_a_refusal_gives_its_reason_and_is_asked_again_sooner(database, clock):
    with database.begin() as session:
        add_account(session, uid=None, gid=None, reason="User alice has no account.")
    clock.push(29)
    with pytest.raises(UserUnknown, match=r"^User alice has no account\.$"):
        find_account(database, "alpha", "alice", clock, Waits(never))
    clock.push(1)
    scheduler = Scheduler(database, 1, uid=5, gid=5)
    assert find_account(database, "alpha", "alice", clock, scheduler.waits()).uid == 5


def test_without_an_answer_the_wait_ends(database, clock):
    scheduler = Scheduler(database, 0)
    with pytest.raises(ConnectFailed, match="within 10 seconds") as error:
        find_account(database, "alpha", "alice", clock, scheduler.waits())
    assert error.value.status == 503
    assert sum(scheduler.pauses) == pytest.approx(10)
    with database.read() as session:
        row = session.get(ClusterUser, ("alpha", "alice"))
        assert (row.requested_at, row.checked_at) == (START, None)
