"""Under which Unix accounts a site lets anything run: one rule for all who become or register one.

The scheduler asks it of what the cluster says when a user registers an actor, the spawner of the
submit host's password database before it becomes the user, and a session of what its agent says
that it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

# Never an option, a path, a number, which getent and sudo take for a uid, or two words to a shell.
_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")


@dataclass(frozen=True)
class AccountPolicy:
    """What a cluster refuses: low uids, and accounts and groups by name (groups by number too)."""

    min_uid: int = 1000
    forbidden_users: Collection[str] = ()
    forbidden_groups: Collection[str] = ()


def is_login(name: str) -> bool:
    """Tell whether `name` can be a Unix account's, safe as a word of any command."""
    return _LOGIN.match(name) is not None


def refuse_account(
    login: str, uid: int, gid: int, groups: Mapping[int, str | None], policy: AccountPolicy
) -> str | None:
    """Return why nothing may run under an account, as a sentence's end, or None where it may.

    Args:
        login: its name.
        uid: its number.
        gid: its primary group.
        groups: all its groups by number, each with its name where that is known.
        policy: what the site refuses besides root and root's group, which it cannot allow.
    """
    if not is_login(login):
        return f"{login[:40]!r} is no Unix user name"
    if login == "root" or uid == 0:
        return f"user {login} is root; nothing runs as root"
    if uid < policy.min_uid:
        return f"user {login} has uid {uid}; nothing runs under a uid below {policy.min_uid}"
    if gid == 0 or 0 in groups:
        return f"user {login} is in group 0; nothing runs under that"
    if login in policy.forbidden_users:
        return f"user {login} is among the site's forbidden_users"
    for number, name in sorted({gid: None, **groups}.items()):
        for word in (str(number), name):
            if word is not None and word in policy.forbidden_groups:
                return f"user {login} is in group {word}, one of the site's forbidden_groups"
    return None
