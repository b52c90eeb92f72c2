"""Whether the caller has an account on the cluster: asked through the database.

The API never touches the cluster. It leaves a question in `cluster_users`, the scheduler answers
it, and the API waits a little for the answer, without holding a transaction meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.clock import Clock
from bridge.core.waits import Waits
from bridge.db import ClusterUser, Database
from bridge.errors import ConnectFailed, UserUnknown
from bridge.services.rows import find_or_insert

FRESH = timedelta(minutes=10)
# A refusal is asked again sooner, for the user whose account is being made right now.
REFUSAL_FRESH = timedelta(seconds=30)
WAIT_S = 10.0


@dataclass(frozen=True)
class Account:
    """A user's numbers on a cluster."""

    uid: int
    gid: int


def find_account(
    database: Database, cluster: str, username: str, clock: Clock, waits: Waits
) -> Account:
    """Return the account of `username` on `cluster`, waiting up to ten seconds for an answer.

    Raises:
        UserUnknown: the cluster has no such account, or one that may not be used.
        ConnectFailed: no answer came; the scheduler may be down or slow.
    """
    with database.read() as session:
        row = session.get(ClusterUser, (cluster, username))
    if row is None or not _is_fresh(row, clock.now()):
        _ask(database, cluster, username, clock.now())
        row = waits.until(lambda: _answer(database, cluster, username), WAIT_S)
    if row is None:
        raise ConnectFailed(
            f"The accounts of cluster {cluster} could not be looked up within {WAIT_S:.0f} "
            f"seconds, so the account of user {username} is not known; try again."
        )
    if row.uid is None or row.gid is None:
        reason = row.reason or f"User {username} has no account on cluster {cluster}."
        raise UserUnknown(reason)
    return Account(row.uid, row.gid)


def _is_fresh(row: ClusterUser, now: datetime) -> bool:
    lifetime = FRESH if row.uid is not None else REFUSAL_FRESH
    return row.checked_at is not None and now - row.checked_at < lifetime


def _ask(database: Database, cluster: str, username: str, now: datetime) -> None:
    """Leave the question: no `checked_at` means that an answer is wanted.

    Whether it was answered is never decided by comparing times: API and scheduler may run on
    hosts whose clocks differ.
    """
    key = (cluster, username)
    with database.begin() as session:
        row = find_or_insert(
            session,
            lambda: session.get(ClusterUser, key, with_for_update=True),
            ClusterUser(cluster=cluster, username=username, requested_at=now),
        )
        row.requested_at = now
        row.checked_at = None


def _answer(database: Database, cluster: str, username: str) -> ClusterUser | None:
    with database.read() as session:
        row = session.get(ClusterUser, (cluster, username))
        return row if row is not None and row.checked_at is not None else None
