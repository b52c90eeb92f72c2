"""Whom the cluster knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bridge.db import ClusterUser
from bridge.errors import ConnectFailed, UserUnknown
from bridge.scheduler.users import look_up, users_tick
from bridge.sessions import Completed
from tests.factories.rows import add_account
from tests.unit.scheduler.world import World

Answer = Callable[[list[str]], Completed]
ALICE = b"alice:x:2001:2002:Alice:/home/alice:/bin/bash\n"


class Observer:
    """A session in which getent says what a test gives."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[list[str]] = []
        self._answer = answer

    def run(self, argv: list[str], **_given: Any) -> Completed:
        self.asked.append(argv)
        return self._answer(argv)


def observe(world: World, answer: bytes | Answer, status: int = 0) -> Observer:
    observer = Observer(
        answer if callable(answer) else lambda _argv: Completed(status, answer, b"")
    )
    world.context = world.context.__class__(**{**vars(world.context), "observer": lambda: observer})
    return observer


def row(world: World, username: str = "alice") -> ClusterUser:
    with world.database.read() as session:
        return session.get_one(ClusterUser, ("alpha", username))


def ask(world: World, username: str = "alice", **changes: Any) -> None:
    now = world.clock.now()
    values = {"requested_at": now, "checked_at": None, "uid": None, "gid": None, **changes}
    with world.database.begin() as session:
        add_account(session, username, **values)


def test_an_account(each_world: World) -> None:
    observer = observe(each_world, ALICE)
    ask(each_world)
    each_world.clock.push(1)
    assert users_tick(each_world.context) == 1

    found = row(each_world)
    assert (found.uid, found.gid, found.home) == (2001, 2002, "/home/alice")
    assert found.checked_at == each_world.clock.now()
    assert observer.asked == [["getent", "passwd", "alice"]]
    assert users_tick(each_world.context) == 0


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (b"", 2, "has no account"),
        (b"bob:x:2001:2002:Bob:/home/bob:/bin/bash\n", 0, "has no account"),
        (b"alice:x:2001\n", 0, "has no account"),
        (b"alice:x:0:0:Alice:/root:/bin/bash\n", 0, "uid 0"),
        (b"alice:x:999:999:Alice:/:/bin/sh\n", 0, "below 1000"),
        (b"alice:x:2001:0:Alice:/:/bin/sh\n", 0, "group 0"),
        (b"alice:x:4294967294:2001:Alice:/:/bin/sh\n", 0, "cannot be kept"),
        (b"alice:x:many:2:Alice:/:/bin/sh\n", 0, "has no account"),
        (b"\xff\xfe\n", 0, "has no account"),
    ],
)
def test_no_account_under_which_anything_may_run(
    world: World, answer: bytes, status: int, says: str
) -> None:
    observe(world, answer, status)
    ask(world)
    users_tick(world.context)

    found = row(world)
    assert found.uid is None
    assert says in found.reason
    assert found.checked_at is not None


@pytest.mark.parametrize(
    "username",
    ["", "a b", "-alice", "alice\n", "../x", "a" * 33, "alice;id", "2001", "\u0430lice"],
)
def test_what_is_no_name_is_not_looked_up(world: World, username: str) -> None:
    observer = observe(world, ALICE)
    with pytest.raises(UserUnknown, match="no Unix user name"):
        look_up(world.context, username)
    assert observer.asked == []


def test_a_cluster_out_of_reach_says_nothing_of_anybody(world: World) -> None:
    def fail(_argv: list[str]) -> Completed:
        raise ConnectFailed("no session")

    observe(world, fail)
    ask(world)
    users_tick(world.context)
    assert row(world).checked_at is None

    observe(world, ALICE)
    users_tick(world.context)
    assert row(world).uid == 2001


def test_a_user_database_that_fails_says_nothing_of_anybody(world: World) -> None:
    # Source: getent(1): 2 means not found; 1 and 3 that it could not be asked for.
    observe(world, b"", 1)
    ask(world)
    users_tick(world.context)
    assert row(world).checked_at is None


def test_a_second_question_is_answered_anew(world: World) -> None:
    observe(world, b"", 2)
    ask(world)
    users_tick(world.context)
    assert row(world).uid is None

    with world.database.begin() as session:
        found = session.get_one(ClusterUser, ("alpha", "alice"))
        found.requested_at = world.clock.now() + timedelta(seconds=1)
    observe(world, ALICE)
    users_tick(world.context)
    assert row(world).uid == 2001
    assert row(world).reason == ""
    assert users_tick(world.context) == 0


def test_a_clock_behind_the_api_s_asks_no_more_than_once(world: World) -> None:
    observer = observe(world, ALICE)
    ask(world, requested_at=world.clock.now() + timedelta(seconds=30))
    users_tick(world.context)
    users_tick(world.context)
    assert len(observer.asked) == 1


def test_another_cluster_s_questions_are_not_ours(world: World) -> None:
    observe(world, ALICE)
    ask(world, cluster="beta")
    assert users_tick(world.context) == 0
