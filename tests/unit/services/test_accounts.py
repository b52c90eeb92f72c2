"""Accounts are asked for through the database, and not waited for longer than promised."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.core.waits import Waits
from bridge.db import ClusterUser
from bridge.errors import ConnectFailed, UserUnknown
from bridge.services.accounts import Account, ask_again, find_account, read_account
from bridge.services.logins import Person
from tests.factories.rows import START, add_account
from tests.factories.sites import with_tenant

ALICE = Person("alpha", "PHYSICS", "alice")


class Scheduler:
    """Stands for the other process: answers at the n-th pause."""

    def __init__(self, database, answer_at, **answer):
        self.database = database
        self.answer_at = answer_at
        self.answer = {"login": "alice", "gid": 8, "reason": "", **answer}
        self.pauses = []
        self.claimed = None

    def pause(self, seconds):
        self.pauses.append(seconds)
        if len(self.pauses) != self.answer_at:
            return
        with self.database.begin() as session:
            row = session.get(ClusterUser, ALICE.key)
            row.checked_at = START - timedelta(days=1)  # its clock may be wrong: no matter
            row.answered = row.asked
            self.claimed = row.claimed
            for name, value in self.answer.items():
                setattr(row, name, value)

    def read_s(self):
        return sum(self.pauses)

    def waits(self):
        return Waits(self.pause, self.read_s)


def never(_seconds):
    raise AssertionError("nothing to wait for")


@pytest.fixture
def find(database, site, clock):
    """Ask for alice's account, or another's."""

    def call(waits, person=ALICE, where=site, claimed=None):
        return find_account(database, where, person, clock, waits, claimed)

    return call


def set_account(database, **changes):
    with database.begin() as session:
        add_account(session, **changes)


def test_a_fresh_answer_is_taken_at_once(database, clock, find):
    set_account(database)
    clock.push(599)
    assert find(Waits(never)) == Account("alice", 2001, 2001, "/home/alice")


def test_a_user_never_asked_for_is_asked_for(database, find):
    scheduler = Scheduler(database, 3, uid=7)
    assert find(scheduler.waits()) == Account("alice", 7, 8)
    assert len(scheduler.pauses) == 3


def test_an_old_answer_is_asked_again(database, clock, find):
    set_account(database)
    clock.push(600)
    assert find(Scheduler(database, 1, uid=9).waits()).uid == 9


def test_a_refusal_gives_its_reason_and_is_asked_again_sooner(database, clock, find):
    set_account(database, login=None, uid=None, gid=None, reason="User alice has no account.")
    clock.push(29)
    with pytest.raises(UserUnknown, match=r"^User alice has no account\.$"):
        find(Waits(never))
    clock.push(1)
    assert find(Scheduler(database, 1, uid=5).waits()).uid == 5


def test_without_an_answer_the_wait_ends(database, find):
    scheduler = Scheduler(database, 0)
    with pytest.raises(ConnectFailed, match="within 10 seconds") as error:
        find(scheduler.waits())
    assert error.value.status == 503
    assert sum(scheduler.pauses) == pytest.approx(10)
    with database.read() as session:
        row = session.get(ClusterUser, ALICE.key)
        assert (row.asked, row.answered, row.checked_at) == (1, 0, None)


def test_without_an_answer_the_old_one_counts_for_a_day(database, clock, find):
    set_account(database)
    clock.push(86_399)
    assert find(Scheduler(database, 0).waits()).uid == 2001
    clock.push(1)
    with pytest.raises(ConnectFailed):
        find(Scheduler(database, 0).waits())


def test_without_an_answer_an_old_refusal_does_not_count(database, clock, find):
    set_account(database, login=None, uid=None, gid=None, reason="No.")
    clock.push(60)
    with pytest.raises(ConnectFailed):
        find(Scheduler(database, 0).waits())


def test_a_question_that_waits_is_not_asked_twice(database, find):
    for _ in range(2):
        with pytest.raises(ConnectFailed):
            find(Scheduler(database, 0).waits())
    with database.read() as session:
        assert session.get(ClusterUser, ALICE.key).asked == 1


def test_users_of_one_name_in_two_tenants_are_two(database, find):
    set_account(database)
    with pytest.raises(ConnectFailed):
        find(Scheduler(database, 0).waits(), Person("alpha", "BIOLOGY", "alice"))


def test_the_table_has_the_accounts(database, site, find):
    table = {"alice": {"login": "al", "uid": 7}}
    mapped = with_tenant(site, accounts="table", account_table=table)
    set_account(database)  # of the time when the account had the user's name
    found = find(Scheduler(database, 1, login="al", uid=7).waits(), where=mapped)
    assert found == Account("al", 7, 8, "/home/alice")
    with pytest.raises(UserUnknown, match="the site has none for that name in tenant PHYSICS"):
        find(Waits(never), Person("alpha", "PHYSICS", "bob"), mapped)


@pytest.mark.parametrize(
    "entry", [{"login": "al"}, {"login": "alice", "uid": 3}, {"login": "alice", "gid": 3},
              {"login": "alice", "groups": [3]}]
)  # fmt: skip
def test_what_the_table_now_says_otherwise_is_asked_for(database, site, find, clock, entry):
    mapped = with_tenant(site, accounts="table", account_table={"alice": entry})
    set_account(database)
    with pytest.raises(ConnectFailed):
        find(Scheduler(database, 0).waits(), where=mapped)
    with database.read() as session:
        assert read_account(session, mapped, ALICE) is None


def test_a_token_says_which_account_it_is(database, site, find):
    trusting = with_tenant(site, accounts="claims")
    with pytest.raises(UserUnknown, match="no token of theirs has said which one it is"):
        find(Waits(never), where=trusting)
    claimed = {"login": "al", "uid": 7, "gid": None, "groups": None}
    scheduler = Scheduler(database, 1, login="al", uid=7, checked_at=START)
    assert find(scheduler.waits(), where=trusting, claimed=claimed).login == "al"
    assert scheduler.claimed == claimed
    # What it said stays said: a nonce of theirs, or an admin, need not say it.
    assert find(Waits(never), where=trusting).login == "al"
    with pytest.raises(ConnectFailed):  # and what it says otherwise is asked for
        find(Scheduler(database, 0).waits(), where=trusting, claimed={**claimed, "login": "bo"})


def test_a_mount_that_nobody_has_looked_for_is_asked_for(database, site, find):
    mounts = [{"host_path": "/a/{login}", "container_path": "/a", "if_missing": "skip"}]
    checked = with_tenant(site, mounts=mounts)
    set_account(database)
    scheduler = Scheduler(database, 1, uid=7, paths={"/a/alice": True})
    assert find(scheduler.waits(), where=checked).paths == {"/a/alice": True}
    set_account(database, paths={"/a/alice": False})
    assert find(Waits(never), where=checked).paths == {"/a/alice": False}


def test_an_account_for_all_is_everybodys(database, site, find):
    local = site.clusters["alpha"].model_copy(update={"session": "local"})
    shared = site.model_copy(update={"clusters": {"alpha": local}})
    set_account(database, login="bridge")
    assert find(Waits(never), where=shared).login == "bridge"


def test_what_is_missing_or_old_is_asked_for_without_waiting(database, clock):
    def asked():
        with database.begin() as session:
            ask_again(session, ALICE, clock)
        with database.read() as session:
            row = session.get(ClusterUser, ALICE.key)
            return row.asked, row.answered

    assert asked() == (1, 0)
    assert asked() == (1, 0)
    set_account(database)
    assert asked() == (2, 1)
    set_account(database, login=None, uid=None, gid=None, reason="No.")
    assert asked() == (1, 1)
    clock.push(30)
    assert asked() == (2, 1)
