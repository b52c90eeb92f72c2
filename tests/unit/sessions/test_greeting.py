"""What an agent says that it is, against what it should be."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest

from bridge.core.accounts import AccountPolicy
from bridge.errors import ConnectFailed
from bridge.node import PROTOCOL_VERSION
from bridge.sessions.greeting import (
    Greeting,
    check_host,
    check_own,
    check_program,
    check_remote,
    read_greeting,
)

POLICY = AccountPolicy(1000, ("carol",), ("wheel",))
HELLO: dict[str, Any] = {
    "version": PROTOCOL_VERSION,
    "program": "ab" * 32,
    "user": "alice",
    "uid": 2001,
    "gid": 2001,
    "groups": [2001, 3000],
    "group_names": {"3000": "science"},
}


def greet(**changes: Any) -> Greeting:
    return read_greeting({**HELLO, **changes})


def test_it_is_read() -> None:
    assert greet() == Greeting(
        PROTOCOL_VERSION, "ab" * 32, "alice", 2001, 2001, {2001: None, 3000: "science"}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": None},
        {"uid": "x"},
        {"groups": 7},
        {"groups": [None]},
        {"group_names": [1]},
        {"user": 7},
        {"program": ["x"]},
        {"version": 1e999},
    ],
)
def test_one_of_another_form(changes: dict[str, Any]) -> None:
    with pytest.raises(ConnectFailed, match="greeting"):
        greet(**changes)
    with pytest.raises(ConnectFailed, match="greeting"):
        read_greeting({})


@pytest.mark.parametrize("changes", [{"version": 0}, {"program": "cd" * 32}, {"program": None}])
def test_a_program_of_another_release(changes: dict[str, Any]) -> None:
    check_program(greet(), "ab" * 32, "")
    with pytest.raises(ConnectFailed, match=r"another release .* Install it\."):
        check_program(greet(**changes), "ab" * 32, "Install it.")


class TestElsewhere:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"user": "bob"}, "runs as 'bob', not as 'alice'"),
            ({"user": None}, "runs as None"),
            ({"uid": 0}, "root"),
            ({"uid": 999}, "below 1000"),
            ({"gid": 0}, "group 0"),
            ({"groups": [2001, 0]}, "group 0"),
            ({"groups": [10], "group_names": {"10": "wheel"}}, "forbidden_groups"),
            ({"uid": 2002}, "expected uid 2001"),
            ({"gid": 2002}, "gid 2001"),
        ],
    )
    def test_whoever_is_not_who_the_cluster_knows(self, changes: dict[str, Any], says: str) -> None:
        check = check_remote(lambda login: login, POLICY, lambda _: (2001, 2001))
        check("alice", greet())
        with pytest.raises(ConnectFailed, match=says):
            check("alice", greet(**changes))

    def test_a_community_account(self) -> None:
        check = check_remote(lambda _: "gateway", POLICY)
        check("alice", greet(user="gateway"))
        with pytest.raises(ConnectFailed, match="not as 'gateway'"):
            check("alice", greet())


class TestHere:
    def test_an_account_of_this_host(self) -> None:
        user = pwd.getpwnam("nobody")
        groups = os.getgrouplist("nobody", user.pw_gid)
        right = {"user": "nobody", "uid": user.pw_uid, "gid": user.pw_gid, "groups": groups}
        check = check_host(AccountPolicy())
        check("nobody", greet(**right))
        for wrong in ({"uid": 1}, {"gid": 1}, {"groups": [*groups, 27]}):
            with pytest.raises(ConnectFailed, match="expected"):
                check("nobody", greet(**{**right, **wrong}))

    def test_the_bridge_s_own_user(self) -> None:
        check_own("alice", greet(uid=os.geteuid(), gid=os.getegid()))
        with pytest.raises(ConnectFailed, match="own user"):
            check_own("alice", greet(uid=os.geteuid() + 1, gid=os.getegid()))
