"""The account that a tenant's user has on a cluster: asked through the database.

The API never touches the cluster. It leaves a question in `cluster_users`, the scheduler answers
it, and the API waits a little for the answer, without holding a transaction meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from bridge.auth import Identity
from bridge.clock import Clock
from bridge.core.waits import Waits
from bridge.db import ClusterUser, Database
from bridge.errors import ConnectFailed, InvalidField, UserUnknown
from bridge.services.logins import Person, Wanted, wanted_account
from bridge.services.mounts import checked_paths
from bridge.services.rows import find_or_insert
from bridge.sites import Site

FRESH = timedelta(minutes=10)
# A refusal is asked again sooner, for the user whose account is being made right now.
REFUSAL_FRESH = timedelta(seconds=30)
# While nobody answers, an account that was there so long ago still counts. It lets an actor be
# described; whoever becomes a user judges the account again.
STALE = timedelta(days=1)
WAIT_S = 10.0


@dataclass(frozen=True)
class Account:
    """An account as the cluster has it.

    Attributes:
        login: its name, which need not be the tenant's user's.
        uid: its number.
        gid: its group's number.
        home: its home directory there.
        paths: host paths that were looked for, and whether it sees a directory there.
    """

    login: str
    uid: int
    gid: int
    home: str = ""
    paths: Mapping[str, bool] = field(default_factory=dict)


def find_account(
    database: Database,
    site: Site,
    person: Person,
    clock: Clock,
    waits: Waits,
    claimed: dict[str, Any] | None = None,
) -> Account:
    """Return the account of `person`, waiting up to ten seconds for an answer.

    Args:
        database: where questions and answers are.
        site: says which account it is to be.
        person: whose account, and where.
        clock: the time.
        waits: how the answer is waited for.
        claimed: what the token of the request says of the account, where it is `person`'s own.

    Raises:
        UserUnknown: the cluster has no such account, or one that may not be used.
        ConnectFailed: no answer came; the scheduler may be down or slow.
    """
    with database.read() as session:
        row = session.get(ClusterUser, person.key)
    if row is not None and claimed is None:
        claimed = row.claimed
    wanted = wanted_account(site, person, claimed)
    known = row if row is not None and _agrees(row, wanted, claimed) else None
    if known is None or not _is_fresh(known, site, person, clock):
        with database.begin() as session:
            number = _leave_question(session, person, claimed)
        row = waits.until(lambda: _answer(database, person, number), WAIT_S)
        if row is None and known is not None and known.login and _age(known, clock) < STALE:
            row = known
    if row is None:
        raise ConnectFailed(
            f"The accounts of cluster {person.cluster} could not be looked up within {WAIT_S:.0f} "
            f"seconds, so the account of user {person.username} is not known; try again."
        )
    account = _account(row)
    if account is None:
        raise UserUnknown(
            row.reason or f"User {person.username} has no account on cluster {person.cluster}."
        )
    return account


def claimed_by(identity: Identity) -> dict[str, Any] | None:
    """Return what the caller's token says of the caller's account, as `find_account` takes it."""
    return dict(identity.claimed) if identity.claimed else None


def read_account(session: Session, site: Site, person: Person) -> Account | None:
    """Return the account that is known; None where it is to be asked for (`ask_again`).

    Raises:
        UserUnknown: there is none, or one that may not be used.
    """
    row = session.get(ClusterUser, person.key)
    wanted = wanted_account(site, person, row.claimed if row else None)
    if row is None or not row.answered:
        return None
    if row.login is None:
        raise UserUnknown(row.reason)
    return _account(row) if _agrees(row, wanted, row.claimed) else None


def ask_again(session: Session, person: Person, clock: Clock) -> None:
    """Have an answer made or renewed, unless it is a refusal that is young; do not wait for it."""
    row = session.get(ClusterUser, person.key)
    if row is None or row.login is not None or _age(row, clock) >= REFUSAL_FRESH:
        _leave_question(session, person, row.claimed if row else None)


def _account(row: ClusterUser) -> Account | None:
    if row.login is None or row.uid is None or row.gid is None:
        return None
    return Account(row.login, row.uid, row.gid, row.home, row.paths)


def _agrees(row: ClusterUser, wanted: Wanted, claimed: Mapping[str, Any] | None) -> bool:
    """Whether the last answer is one to what would be asked now."""
    if row.checked_at is None or row.claimed != claimed:
        return False
    return row.login is None or (
        wanted.login in (None, row.login)
        and wanted.uid in (None, row.uid)
        and wanted.gid in (None, row.gid)
        and set(wanted.groups) <= set(row.groups)
    )


def _is_fresh(row: ClusterUser, site: Site, person: Person, clock: Clock) -> bool:
    """Whether the answer is young enough, and tells of every mount that is to be looked for."""
    account = _account(row)
    if account is None:
        return _age(row, clock) < REFUSAL_FRESH
    try:
        paths = checked_paths(site, person, account)
    except InvalidField:  # asking would not help: whoever fills the mounts is told
        paths = []
    return _age(row, clock) < FRESH and row.paths.keys() >= set(paths)


def _age(row: ClusterUser, clock: Clock) -> timedelta:
    return clock.now() - (row.checked_at or datetime.min.replace(tzinfo=clock.now().tzinfo))


def _leave_question(session: Session, person: Person, claimed: dict[str, Any] | None) -> int:
    """Leave a question, unless the same waits already; return its number."""
    row = find_or_insert(
        session,
        lambda: session.get(ClusterUser, person.key, with_for_update=True),
        ClusterUser(
            cluster=person.cluster,
            tenant=person.tenant,
            username=person.username,
            asked=0,
            answered=0,
        ),
    )
    if row.asked == row.answered or row.claimed != claimed:
        row.asked += 1
        row.claimed = claimed
    return row.asked


def _answer(database: Database, person: Person, number: int) -> ClusterUser | None:
    with database.read() as session:
        row = session.get(ClusterUser, person.key)
        return row if row is not None and row.answered >= number else None
