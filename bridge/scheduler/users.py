"""Looking up the users that the API asks for, in the cluster's own user database.

Whatever says which account a user is to have (bridge.services.logins), the cluster's answer
counts, and the two must agree. Where a tenant's mounts are to be there, the account itself looks,
in a session of its own: nobody else opens a path that it may control.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select

from bridge.core.accounts import is_login, refuse_account
from bridge.db import Actor, ClusterUser, Database
from bridge.errors import CommandTimeout, ConnectFailed, InvalidField, SessionError, UserUnknown
from bridge.scheduler.context import ClusterContext
from bridge.services.logins import Person, Wanted, wanted_account
from bridge.services.mounts import checked_paths, mounts_of
from bridge.sessions import Completed

log = logging.getLogger(__name__)

# How long the owner's session may take to look for the mounts: the paths may lie on a filesystem
# of the owner's own making, which may keep everybody waiting.
LOOK_S = 5.0
_MAX_ID = 2**31 - 1  # what the database's integers hold
# Source: passwd(5).
_PASSWD = re.compile(
    r"([^:\n]*):[^:\n]*:([0-9]{1,10}):([0-9]{1,10}):[^:\n]*:([^:\n]*):[^:\n]*\n?\Z"
)
# Source: group(5).
_GROUP = re.compile(r"([^:\n]*):[^:\n]*:([0-9]{1,10}):[^\n]*\Z")
_NOT_FOUND = 2  # of getent(1); its others say that it could not be asked for


@dataclass(frozen=True)
class Found:
    """A Unix account as the cluster has it; `groups` are all of its, as numbers."""

    login: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def users_tick(context: ClusterContext) -> int:
    """Answer the open questions; return how many."""
    with context.database.read() as session:
        asked = session.scalars(
            select(ClusterUser).where(
                ClusterUser.cluster == context.name,
                ClusterUser.answered < ClusterUser.asked,
                ClusterUser.tenant.in_(context.site.tenants),
            )
        ).all()
    for row in asked:
        try:
            _answer(context, row)
        except SessionError as error:
            log.warning("user not looked up: %s", error.message)
    return len(asked)


def look_up(context: ClusterContext, person: Person, wanted: Wanted) -> Found:
    """Return the account that `person` is to have, as the cluster has it.

    Raises:
        UserUnknown: there is none, or one under which nothing may run, or another than wanted.
        SessionError: the cluster could not be asked.
    """
    login = wanted.login
    if login is None:
        login = _asked(context, ["id", "-un"], (0,)).stdout.decode(errors="replace").strip()
    if not is_login(login):
        raise UserUnknown(
            f"User {person.username} has no account on cluster {context.name}: {login[:40]!r} is "
            "no Unix user name."
        )
    done = _asked(context, ["getent", "passwd", login], (0, _NOT_FOUND))
    match = _PASSWD.match(done.stdout.decode(errors="replace"))
    if done.exit_status != 0 or match is None or match[1] != login:
        called = "" if login == person.username else f" called {login}"
        raise UserUnknown(
            f"User {person.username} has no account{called} on cluster {context.name}. Ask the "
            "site's administrators for one."
        )
    uid, gid = int(match[2]), int(match[3])
    groups = _groups(context, login, gid)
    found = Found(login, uid, gid, tuple(groups), match[4])
    policy = context.cluster.account_policy
    refusal = refuse_account(login, uid, gid, groups, policy) or _disagreement(wanted, found)
    if refusal is None and max(uid, gid) > _MAX_ID:
        refusal = f"user {login} has uid {uid} and gid {gid}; ids over {_MAX_ID} cannot be kept"
    if refusal is not None:
        raise UserUnknown(
            f"User {person.username} cannot run anything on cluster {context.name}: {refusal}."
        )
    return found


def find_ids(database: Database, cluster: str, login: str) -> tuple[int, int] | None:
    """Return uid and gid of an account as the cluster has told them, if it was asked."""
    with database.read() as session:
        row = session.execute(
            select(ClusterUser.uid, ClusterUser.gid)
            .where(ClusterUser.cluster == cluster, ClusterUser.login == login)
            .order_by(ClusterUser.checked_at.desc())
            .limit(1)
        ).first()
    return None if row is None or row.uid is None or row.gid is None else (row.uid, row.gid)


def _answer(context: ClusterContext, row: ClusterUser) -> None:
    """Answer one question, unless another has been asked since."""
    person = Person(row.cluster, row.tenant, row.username)
    found, reason, paths = None, "", {}
    try:
        found = look_up(context, person, wanted_account(context.site, person, row.claimed))
        paths = _look_for_mounts(context, person, found)
    except UserUnknown as error:
        found, reason = None, error.message
    with context.database.begin() as session:
        now = session.get_one(ClusterUser, person.key, with_for_update=True)
        if now.asked != row.asked:
            return
        now.answered = now.asked
        now.checked_at = context.clock.now()
        now.reason = reason
        now.login = found.login if found else None
        now.uid = found.uid if found else None
        now.gid = found.gid if found else None
        now.groups = list(found.groups) if found else []
        now.home = found.home if found else ""
        now.paths = paths
    if found is not None:
        _follow(context, person, found, paths)


def _follow(
    context: ClusterContext, person: Person, found: Found, paths: Mapping[str, bool]
) -> None:
    """Let actors whose owner has other numbers than when they were described show those."""
    moved = (
        Actor.cluster == person.cluster,
        Actor.tenant == person.tenant,
        Actor.owner == person.username,
        Actor.deleted_at.is_(None),
        or_(Actor.uid != found.uid, Actor.gid != found.gid),
    )
    with context.database.begin() as session:
        for actor in session.scalars(select(Actor).where(*moved).with_for_update()):
            actor.uid, actor.gid = found.uid, found.gid
            try:
                actor.mounts = mounts_of(context.site, person, found, paths)
            except (InvalidField, ConnectFailed) as error:
                facts = {"actor": actor.id}
                log.warning("mounts kept: %s", error.message, extra={"facts": facts})


def _look_for_mounts(context: ClusterContext, person: Person, found: Found) -> dict[str, bool]:
    """Return which of the host paths that are to be looked for the account sees a directory at."""
    try:
        paths = checked_paths(context.site, person, found)
    except InvalidField:  # whoever wants the mounts is told
        return {}
    if not paths:
        return {}
    argv = ["stat", "-L", "-c", "%F:%n", "--", *paths]
    try:
        done = context.sessions.session(found.login).run(argv, timeout_s=LOOK_S)
    except CommandTimeout as error:
        log.warning("mounts not looked for: %s", error.message)
        return dict.fromkeys(paths, False)
    said = done.stdout.decode(errors="replace").splitlines()
    return {path: f"directory:{path}" in said for path in paths}


def _groups(context: ClusterContext, login: str, gid: int) -> dict[int, str | None]:
    """Return all groups of an account, with the names of those that the site may refuse by name."""
    done = _asked(context, ["id", "-G", login], (0,))
    words = done.stdout.decode(errors="replace").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise SessionError(f"id -G {login} made no sense on cluster {context.name}.")
    groups: dict[int, str | None] = {gid: None, **{int(word): None for word in words}}
    names = [word for word in context.cluster.forbidden_groups if not word.isdigit()]
    if names:
        done = _asked(context, ["getent", "group", "--", *names], (0, _NOT_FOUND))
        for line in done.stdout.decode(errors="replace").splitlines():
            match = _GROUP.match(line)
            if match is not None and int(match[2]) in groups:
                groups[int(match[2])] = match[1]
    return groups


def _disagreement(wanted: Wanted, found: Found) -> str | None:
    """Return what the site or the token says of the account and the cluster does not."""
    for what, said, is_so in (
        ("uid", wanted.uid, found.uid),
        ("gid", wanted.gid, found.gid),
    ):
        if said not in (None, is_so):
            return f"account {found.login} is to have {what} {said}, there it has {is_so}"
    missing = sorted(set(wanted.groups) - set(found.groups))
    if missing:
        return f"account {found.login} is to be in group {missing[0]}, there it is not"
    return None


def _asked(context: ClusterContext, argv: Sequence[str], good: Container[int]) -> Completed:
    """Return what the cluster said.

    Raises:
        SessionError: the command could not answer.
    """
    done = context.observer().run(argv)
    if done.exit_status not in good or done.cut:
        raise SessionError(
            f"{' '.join(argv[:2])} failed with {done.exit_status} on cluster {context.name}."
        )
    return done
