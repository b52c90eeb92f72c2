"""Accounts as this host's user database has them, for the ways that become users here."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from bridge.core.accounts import AccountPolicy, refuse_account
from bridge.errors import ConnectFailed


@dataclass(frozen=True)
class HostAccount:
    """An account of this host, one under which things may run."""

    user: pwd.struct_passwd
    groups: frozenset[int]


def find_account(login: str, policy: AccountPolicy) -> HostAccount:
    """Return the account `login`.

    Raises:
        ConnectFailed: this host has none, or one under which nothing may run.
    """
    try:
        user = pwd.getpwnam(login)
    except (KeyError, ValueError):  # ValueError: a NUL in it
        raise ConnectFailed(
            f"No session as {login[:40]}: that user is unknown on this host."
        ) from None
    groups = frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    refusal = refuse_account(
        login, user.pw_uid, user.pw_gid, {number: _group_name(number) for number in groups}, policy
    )
    if refusal is None and user.pw_name != login:
        refusal = f"the account's name is {user.pw_name}"
    if refusal is not None:
        raise ConnectFailed(f"No session as {login[:40]}: {refusal}.")
    return HostAccount(user, groups)


def _group_name(number: int) -> str | None:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None


def agent_environment(user: pwd.struct_passwd) -> dict[str, str]:
    """Return the whole environment of an agent of `user`."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "LANG": "C.UTF-8",
    }
