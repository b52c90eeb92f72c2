"""What an agent says first, and whether it is who was asked for.

An agent runs as the user, who could make it say anything: this finds a way that is configured
wrong (another account, other groups, a program of another release), not a user who lies. What
keeps users apart is the kernel, by the uid that the agent really has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.core.accounts import AccountPolicy, refuse_account
from bridge.errors import ConnectFailed
from bridge.node import PROTOCOL_VERSION
from bridge.sessions.accounts import find_account


@dataclass(frozen=True)
class Greeting:
    """Who an agent says that it is.

    Attributes:
        version: of the protocol.
        program: sha256 of the program's file in hex; None when it runs from no file.
        user: name of the account.
        uid: number of the account.
        gid: its primary group.
        groups: all its groups, each with its name where it has one.
    """

    version: int
    program: str | None
    user: str | None
    uid: int
    gid: int
    groups: Mapping[int, str | None]


Check = Callable[[str, Greeting], None]  # raises ConnectFailed
Known = Callable[[str], tuple[int, int] | None]  # uid and gid of an account, where they are known


def nobody_known(_login: str) -> None:
    """Know no account."""


def read_greeting(hello: Mapping[str, Any]) -> Greeting:
    """Return the answer to ``hello`` as it is meant.

    Raises:
        ConnectFailed: it is not of that form.
    """
    try:
        names = dict(hello["group_names"])
        return Greeting(
            version=int(hello["version"]),
            program=_text(hello["program"]),
            user=_text(hello["user"]),
            uid=int(hello["uid"]),
            gid=int(hello["gid"]),
            groups={int(number): _text(names.get(str(number))) for number in hello["groups"]},
        )
    except (LookupError, ValueError, TypeError, OverflowError) as error:
        raise ConnectFailed("The agent's greeting is not of the form agreed.") from error


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(type(value).__name__)


def check_program(greeting: Greeting, digest: str, remedy: str) -> None:
    """Make sure that the agent is of this release.

    Raises:
        ConnectFailed: it is not; `remedy` is a sentence that says what to do.
    """
    if (greeting.version, greeting.program) != (PROTOCOL_VERSION, digest):
        raise ConnectFailed(
            f"The agent is of another release (protocol {greeting.version}, program "
            f"{(greeting.program or 'unknown')[:16]}; expected {PROTOCOL_VERSION} and "
            f"{digest[:16]}). {remedy}"
        )


def check_own(_login: str, greeting: Greeting) -> None:
    """Make sure that the agent is this process's own user.

    Raises:
        ConnectFailed: it is somebody else.
    """
    _compare("the bridge's own user", greeting, os.geteuid(), os.getegid(), None)


def check_host(policy: AccountPolicy) -> Check:
    """Return the check of agents that run on this host, as accounts of its user database."""

    def check(login: str, greeting: Greeting) -> None:
        account = find_account(login, policy)
        _compare(login, greeting, account.user.pw_uid, account.user.pw_gid, account.groups)

    return check


def check_remote(
    login_of: Callable[[str], str], policy: AccountPolicy, known: Known = nobody_known
) -> Check:
    """Return the check of agents on another host, whose user database is not here.

    Args:
        login_of: whom a user's agent runs as there.
        policy: whom nothing may run as.
        known: what the cluster said of that account when it was asked.
    """

    def check(login: str, greeting: Greeting) -> None:
        expected = login_of(login)
        if greeting.user != expected:
            raise ConnectFailed(f"The agent runs as {greeting.user!r}, not as {expected!r}.")
        refusal = refuse_account(expected, greeting.uid, greeting.gid, greeting.groups, policy)
        if refusal is not None:
            raise ConnectFailed(f"No session as {expected}: {refusal}.")
        if (ids := known(expected)) is not None:
            _compare(expected, greeting, *ids, None)

    return check


def _compare(
    who: str, greeting: Greeting, uid: int, gid: int, groups: frozenset[int] | None
) -> None:
    found = f"uid {greeting.uid}, gid {greeting.gid}"
    if (greeting.uid, greeting.gid) != (uid, gid):
        raise ConnectFailed(f"The agent of {who} has {found}, expected uid {uid}, gid {gid}.")
    if groups is not None and set(greeting.groups) | {gid} != groups | {gid}:
        raise ConnectFailed(
            f"The agent of {who} has the groups {sorted(greeting.groups)}, "
            f"expected {sorted(groups)}."
        )
