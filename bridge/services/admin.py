"""What an admin sees of all actors at once (abaco_contract.md 3.16).

Of the admin's own tenant: Abaco showed every tenant's to every admin, and nothing else crosses
tenants here either. Sums are made by the database, of the actors of one page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, distinct, func, select
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.statuses import ExecutionStatus
from bridge.db import Actor, Execution
from bridge.errors import PermissionDenied
from bridge.services.sums import halves_of_sum, whole_sum
from bridge.services.workers import ActorWorker, workers_of_all

# Actors of one page, where the request names no smaller number. Each may have a state of 100 KB.
MAX_PAGE = 200

_SUMS = (
    func.count(),
    func.coalesce(func.sum(Execution.runtime), 0),
    *halves_of_sum(Execution.cpu),
    *halves_of_sum(Execution.io),
)


@dataclass(frozen=True)
class Totals:
    """Sums over executions; `cpu` in nanoseconds, `io` in bytes, `runtime` in seconds."""

    executions: int = 0
    runtime: int = 0
    cpu: int = 0
    io: int = 0

    def __add__(self, other: Totals) -> Totals:
        """Return the sums over both."""
        return Totals(
            self.executions + other.executions,
            self.runtime + other.runtime,
            self.cpu + other.cpu,
            self.io + other.io,
        )


@dataclass(frozen=True)
class AdminActor:
    """An actor with what is below it.

    Attributes:
        actor: the actor.
        workers: its workers.
        waiting: its messages for which no container was started.
        totals: of its executions.
    """

    actor: Actor
    workers: Sequence[ActorWorker]
    waiting: int
    totals: Totals


@dataclass(frozen=True)
class Group:
    """Sums over a set of actors."""

    actors: int
    actors_with_executions: int = 0
    totals: Totals = Totals()

    def __add__(self, other: Group) -> Group:
        """Return the sums over both."""
        return Group(
            self.actors + other.actors,
            self.actors_with_executions + other.actors_with_executions,
            self.totals + other.totals,
        )


@dataclass(frozen=True)
class Usage:
    """The executions of a tenant.

    Attributes:
        all: of every actor that ever was.
        existing: of those that are not deleted.
        actors: one page of the latter, with their own sums.
    """

    all: Group
    existing: Group
    actors: Sequence[tuple[Actor, Totals]]


def check_admin(identity: Identity) -> None:
    """Refuse everybody else.

    Raises:
        PermissionDenied: in Abaco's words.
    """
    if not identity.is_admin:
        raise PermissionDenied("Abaco Admin role required.")


def list_all_actors(
    session: Session, identity: Identity, *, limit: int = MAX_PAGE, skip: int = 0
) -> list[AdminActor]:
    """Return the tenant's actors with their workers and sums, oldest first.

    Raises:
        PermissionDenied: the caller is no admin.
    """
    actors = _page(session, identity, limit, skip)
    sums = _sums_of(session, actors)
    workers = workers_of_all(session, actors)
    return [
        AdminActor(actor, workers[actor.id], *sums.get(actor.id, (0, Totals()))) for actor in actors
    ]


def list_all_workers(
    session: Session, identity: Identity, *, limit: int = MAX_PAGE, skip: int = 0
) -> list[tuple[Actor, Sequence[ActorWorker]]]:
    """Return the tenant's actors, oldest first, each with its workers.

    Raises:
        PermissionDenied: the caller is no admin.
    """
    actors = _page(session, identity, limit, skip)
    workers = workers_of_all(session, actors)
    return [(actor, workers[actor.id]) for actor in actors]


def sum_executions(
    session: Session, identity: Identity, *, limit: int = MAX_PAGE, skip: int = 0
) -> Usage:
    """Return what the tenant's actors have used; sums are over all, the list is one page.

    Raises:
        PermissionDenied: the caller is no admin.
    """
    actors = _page(session, identity, limit, skip)
    of_tenant = Actor.tenant == identity.tenant
    exists = Actor.deleted_at.is_(None)
    known = select(exists, func.count()).where(of_tenant).group_by(exists)
    counts = {bool(is_there): count for is_there, count in session.execute(known)}
    groups = {False: Group(counts.get(False, 0)), True: Group(counts.get(True, 0))}
    rows = session.execute(
        select(exists, func.count(distinct(Execution.actor_id)), *_SUMS)
        .join(Actor, Actor.id == Execution.actor_id)
        .where(of_tenant)
        .group_by(exists)
    )
    for is_there, with_executions, *rest in rows:
        group = groups[bool(is_there)]
        groups[bool(is_there)] = Group(group.actors, with_executions, _totals(*rest))
    sums = _sums_of(session, actors)
    return Usage(
        all=groups[True] + groups[False],
        existing=groups[True],
        actors=[(actor, sums.get(actor.id, (0, Totals()))[1]) for actor in actors],
    )


def _sums_of(session: Session, actors: Sequence[Actor]) -> dict[str, tuple[int, Totals]]:
    """Return of each actor that has executions how many wait, and the sums over all."""
    waiting = func.sum(case((Execution.status == ExecutionStatus.SUBMITTED, 1), else_=0))
    rows = session.execute(
        select(Execution.actor_id, waiting, *_SUMS)
        .where(Execution.actor_id.in_([actor.id for actor in actors]))
        .group_by(Execution.actor_id)
    )
    return {actor_id: (int(count), _totals(*rest)) for actor_id, count, *rest in rows}


def _page(session: Session, identity: Identity, limit: int, skip: int) -> Sequence[Actor]:
    check_admin(identity)
    return session.scalars(
        select(Actor)
        .where(Actor.tenant == identity.tenant, Actor.deleted_at.is_(None))
        .order_by(Actor.create_time, Actor.id)
        .offset(skip)
        .limit(min(limit, MAX_PAGE))
    ).all()


def _totals(
    count: int, runtime: int, cpu_high: int, cpu_low: int, io_high: int, io_low: int
) -> Totals:
    return Totals(
        int(count), int(runtime), whole_sum(cpu_high, cpu_low), whole_sum(io_high, io_low)
    )
