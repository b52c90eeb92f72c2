"""Looking up the users that the API asks for, in the cluster's own user database."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from sqlalchemy import or_, select

from bridge.db import ClusterUser
from bridge.errors import SessionError, UserUnknown
from bridge.scheduler.context import ClusterContext

log = logging.getLogger(__name__)

_MAX_ID = 2**31 - 1  # what the database's integers hold
# Source: passwd(5).
_PASSWD = re.compile(
    r"([^:\n]*):[^:\n]*:([0-9]{1,10}):([0-9]{1,10}):[^:\n]*:([^:\n]*):[^:\n]*\n?\Z"
)
_USERNAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\Z")


@dataclass(frozen=True)
class Account:
    """A Unix account as the cluster has it."""

    uid: int
    gid: int
    home: str


def users_tick(context: ClusterContext) -> int:
    """Answer the open questions; return how many."""
    with context.database.read() as session:
        asked = session.scalars(
            select(ClusterUser).where(
                ClusterUser.cluster == context.name,
                or_(
                    ClusterUser.checked_at.is_(None),
                    ClusterUser.checked_at < ClusterUser.requested_at,
                ),
            )
        ).all()
    for row in asked:
        account, reason = None, ""
        try:
            account = look_up(context, row.username)
        except UserUnknown as error:
            reason = error.message
        except SessionError as error:
            log.warning("user not looked up: %s", error.message)
            continue
        with context.database.begin() as session:
            found = session.get_one(ClusterUser, (context.name, row.username))
            found.checked_at = max(context.clock.now(), found.requested_at)
            found.reason = reason
            found.uid = account.uid if account else None
            found.gid = account.gid if account else None
            found.home = account.home if account else None
    return len(asked)


def look_up(context: ClusterContext, username: str) -> Account:
    """Return the user's account.

    Raises:
        UserUnknown: there is none, or one under which nothing may run.
    """
    where = f"on cluster {context.name}"
    if not _USERNAME.match(username):
        raise UserUnknown(
            f"User {username[:40]!r} is no Unix user name, so has no account {where}."
        )
    done = context.observer().run(["getent", "passwd", username])
    if done.exit_status not in (0, 2):  # 2: not found; the others: it could not be asked for
        raise SessionError(f"getent passwd failed with {done.exit_status} {where}.")
    match = _PASSWD.match(done.stdout.decode(errors="replace"))
    if done.exit_status != 0 or match is None or match[1] != username:
        raise UserUnknown(
            f"User {username} has no account {where}. Ask the site's administrators for one."
        )
    account = Account(int(match[2]), int(match[3]), match[4])
    if account.uid < context.cluster.min_uid:
        raise UserUnknown(
            f"User {username} has uid {account.uid} {where}; nothing runs under a uid below "
            f"{context.cluster.min_uid}."
        )
    if max(account.uid, account.gid) > _MAX_ID:
        raise UserUnknown(
            f"User {username} has uid {account.uid} and gid {account.gid} {where}; ids over "
            f"{_MAX_ID} cannot be kept."
        )
    if account.gid == 0:
        raise UserUnknown(f"User {username} is in group 0 {where}; nothing runs under that.")
    return account
