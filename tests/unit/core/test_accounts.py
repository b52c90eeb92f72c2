"""Which accounts nothing may run under."""

from __future__ import annotations

import pytest

from bridge.core.accounts import AccountPolicy, is_login, refuse_account

POLICY = AccountPolicy(1000, ("carol",), ("wheel", "3001"))


@pytest.mark.parametrize("name", ["alice", "_x", "a.b-c_d", "Alice", "a" * 64])
def test_names(name: str) -> None:
    assert is_login(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "-oProxyCommand=x", "-u", "alice;id", "alice bob", "$(id)", "`id`", "#0", "%wheel",
        "1000", "../bob", "a/b", "alice\n", "alice\0", "a:b", "a,b", "álice", ".", "..", "a" * 65,
        "alice@host", "a\\b",
    ],
)  # fmt: skip
def test_what_is_no_name(name: str) -> None:
    assert not is_login(name)
    assert refuse_account(name, 2001, 2001, {}, POLICY) is not None


def test_an_ordinary_account() -> None:
    assert refuse_account("alice", 2001, 2001, {2001: "alice", 3000: None}, POLICY) is None


@pytest.mark.parametrize(
    ("login", "uid", "gid", "groups", "says"),
    [
        ("root", 2001, 2001, {}, "root"),
        ("toor", 0, 2001, {}, "root"),
        ("alice", 999, 2001, {}, "below 1000"),
        ("alice", -1, 2001, {}, "below 1000"),
        ("alice", 2001, 0, {}, "group 0"),
        ("alice", 2001, 2001, {2001: "alice", 0: "root"}, "group 0"),
        ("carol", 2003, 2003, {}, "forbidden_users"),
        ("alice", 2001, 2001, {10: "wheel"}, "group wheel"),
        ("alice", 2001, 2001, {3001: None}, "group 3001"),
        ("alice", 2001, 3001, {}, "group 3001"),
    ],
)
def test_accounts_under_which_nothing_runs(
    login: str, uid: int, gid: int, groups: dict[int, str | None], says: str
) -> None:
    refusal = refuse_account(login, uid, gid, groups, POLICY)
    assert refusal is not None
    assert says in refusal


def test_root_cannot_be_allowed() -> None:
    nothing = AccountPolicy(0)
    assert refuse_account("root", 0, 0, {}, nothing) is not None
    assert refuse_account("alice", 2001, 0, {}, nothing) is not None
