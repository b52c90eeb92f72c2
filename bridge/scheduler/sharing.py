"""What is short, read from the site file and the database, and what follows for arrays and actors.

The decision itself is bridge.core.shares. A bound of a tenant or a user holds over all clusters;
workers that they have on others count, and only those of this one are moved.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.core.shares import WAITS, Bound, Group, Key, Sharing, User
from bridge.core.statuses import ActorStatus, ArrayStatus
from bridge.db import Actor, Array, Database
from bridge.scheduler.lengths import Lengths
from bridge.scheduler.usage import used_today
from bridge.services.workers import LiveTask, find_live_tasks, request_leave
from bridge.sites import Cluster, Site
from bridge.sites.limits import TenantLimits

log = logging.getLogger(__name__)

# What an actor's status message is when there is nothing to say, as in Abaco.
NOTHING = " "
# Actors whose status message is looked at in one round.
SHOWN_AT_ONCE = 200
# Actors of which is remembered when they were served.
MAX_SERVED = 10_000
USED_AGE = timedelta(seconds=5)
_BOUNDS = (
    "max_workers",
    "max_workers_per_user",
    "max_arrays",
    "max_arrays_per_user",
    "core_hours_per_day",
    "core_hours_per_day_per_user",
)


@dataclass
class PlanMemory:
    """What a scheduler remembers from round to round; nothing depends on it but comfort.

    Attributes:
        served: when an actor was last given workers for a user, seconds.
        shown: why actors wait, as their status says; None: not known.
        used: core-seconds of the day, and when they were added up.
        lengths: how long queues were.
        open_counts: how many messages of each array were not final.
        barred: queues whose messages may not run for now, and until when none is looked into.
        plan_again_s: after so long the burst that waits to be whole will be; None: none waits.
    """

    served: dict[Key, float] = field(default_factory=dict)
    shown: dict[str, str] | None = None
    used: tuple[datetime, Counter[User]] | None = None
    lengths: Lengths[Key] = field(default_factory=Lengths)
    open_counts: Lengths[str] = field(default_factory=Lengths)
    barred: dict[Key, datetime] = field(default_factory=dict)
    plan_again_s: float | None = None

    def read_used(self, session: Session, now: datetime) -> Counter[User]:
        """Return what was used today as it was a few seconds ago at most: adding it up takes."""
        if self.used is None or not timedelta() <= now - self.used[0] < USED_AGE:
            self.used = now, used_today(session, now)
        return self.used[1]

    def note_served(self, key: Key, now: datetime) -> None:
        """Remember that the actor was given workers now, and forget those of long ago."""
        self.served.pop(key, None)  # so that it is the last in order
        self.served[key] = now.timestamp()
        while len(self.served) > MAX_SERVED:
            del self.served[next(iter(self.served))]


def is_shared(site: Site, cluster: Cluster) -> bool:
    """Whether anything is short on the cluster."""
    return cluster.max_workers is not None or any(
        getattr(tenant.limits, name) is not None
        for tenant in site.tenants.values()
        for name in _BOUNDS
    )


def read_sharing(
    session: Session,
    site: Site,
    cluster_name: str,
    users: Collection[User],
    memory: PlanMemory,
    now: datetime,
) -> Sharing:
    """Return what the cluster's tenants and `users` may have, and have used."""
    used = memory.read_used(session, now)
    workers, arrays = _read_elsewhere(session, cluster_name)
    of_tenants: Counter[str] = Counter()
    for (tenant, _), core_s in used.items():
        of_tenants[tenant] += core_s
    most = site.clusters[cluster_name].max_workers
    return Sharing(
        site=None if most is None else Bound(
            most, f"the {most} workers of cluster {cluster_name} are shared (its max_workers)"
        ),
        tenants={
            name: _tenant(name, table.limits, of_tenants[name], workers[name], arrays[name])
            for name, table in site.tenants.items()
        },
        users={
            user: _user(
                user, site.tenants[user[0]].limits, used[user], workers[user], arrays[user]
            )
            for user in users
            if user[0] in site.tenants
        },
        served=memory.served,
    )  # fmt: skip


def _read_elsewhere(
    session: Session, cluster_name: str
) -> tuple[Counter[User | str], Counter[User | str]]:
    """Return how many workers and arrays there are on other clusters, by user and by tenant."""
    others = session.scalars(
        select(Array).where(Array.cluster != cluster_name, Array.status != ArrayStatus.ENDED)
    ).all()
    tasks = find_live_tasks(session, others)
    workers: Counter[User | str] = Counter()
    arrays: Counter[User | str] = Counter()
    for array in others:
        here = sum(not task.is_leaving or task.worker is not None for task in tasks[array.id])
        for place in ((array.tenant, array.username), array.tenant):
            workers[place] += here
            arrays[place] += 1
    return workers, arrays


def _tenant(name: str, limits: TenantLimits, core_s: float, workers: int, arrays: int) -> Group:
    own = (
        _bound(limits.max_workers, workers, f"tenant {name} may have", "workers", "max_workers"),
        _spent(limits.core_hours_per_day, core_s, f"tenant {name}", "core_hours_per_day"),
    )
    of_arrays = _bound(
        limits.max_arrays, arrays, f"tenant {name} may have", "job arrays", "max_arrays"
    )
    return Group(limits.weight, core_s, _least(*own), of_arrays)


def _user(user: User, limits: TenantLimits, core_s: float, workers: int, arrays: int) -> Group:
    tenant, name = user
    whose, where = f"user {name}", f" of tenant {tenant}"
    own = (
        _bound(
            limits.max_workers_per_user,
            workers,
            f"{whose} may have",
            "workers",
            f"max_workers_per_user{where}",
        ),
        _spent(
            limits.core_hours_per_day_per_user,
            core_s,
            whose,
            f"core_hours_per_day_per_user{where}",
        ),
    )
    of_arrays = _bound(
        limits.max_arrays_per_user,
        arrays,
        f"{whose} may have",
        "job arrays",
        f"max_arrays_per_user{where}",
    )
    weight = limits.user_weights.get(name, 1.0)
    return Group(weight, core_s, _least(*own), of_arrays)


def _bound(most: int | None, elsewhere: int, who: str, what: str, key: str) -> Bound | None:
    if most is None:
        return None
    return Bound(max(0, most - elsewhere), f"{who} {most} {what} at once ({key})")


def _spent(hours: float | None, core_s: float, who: str, key: str) -> Bound | None:
    """Return a bound of no workers once the day's core-hours are used up."""
    if hours is None or core_s < hours * 3600:
        return None
    return Bound(
        0, f"{who} has used the {hours:g} core-hours of this day ({key}); more from 00:00 UTC on"
    )


def _least(*bounds: Bound | None) -> Bound | None:
    return min((bound for bound in bounds if bound), key=lambda bound: bound.most, default=None)


def reclaim(database: Database, array_id: str, count: int, now: datetime) -> int:
    """Have workers of the array leave for others' sake; return how many.

    Each ends the message that it runs. Those that have not started come first, then the oldest;
    of those of one array task all, before another task is touched: it holds what it has until none
    is left.
    """
    with database.begin() as session:
        array = session.get_one(Array, array_id, with_for_update=True)
        if array.status is ArrayStatus.ENDED or array.leaving_at is not None:
            return 0
        tasks = find_live_tasks(session, [array])[array_id]
        staying = [task for task in tasks if not task.is_leaving]
        first: dict[int, tuple[bool, datetime, int]] = {}
        for task in sorted(staying, key=_order):
            first.setdefault(task.slurm_task, _order(task))
        chosen = sorted(staying, key=lambda t: (first[t.slurm_task], _order(t)))[:count]
        for task in chosen:
            request_leave(session, task, now)
    facts = {"array": array_id, "workers": len(chosen)}
    log.info("workers are to leave for others", extra={"facts": facts})
    return len(chosen)


def _order(task: LiveTask) -> tuple[bool, datetime, int]:
    since = task.array.planned_at if task.worker is None else task.worker.create_time
    return task.worker is not None, since, task.index


def show_waits(
    database: Database, cluster_name: str, waits: Mapping[Key, str], memory: PlanMemory
) -> None:
    """Let the status message of each actor say why its messages wait, or no longer do.

    Some actors at a time: first those for which it has changed, then those longest not looked at.
    """
    texts = {actor_id: f"{WAITS}{why}." for (actor_id, _), why in sorted(waits.items())}
    if memory.shown is None:
        with database.read() as session:
            query = select(Actor.id, Actor.status_message).where(
                Actor.cluster == cluster_name, Actor.status_message.startswith(WAITS)
            )
            memory.shown = {row[0]: row[1] for row in session.execute(query)}
    shown = memory.shown
    about = [actor_id for actor_id, text in texts.items() if shown.get(actor_id) != text]
    about += [actor_id for actor_id in shown if actor_id not in texts]
    about += islice(
        (actor_id for actor_id, text in shown.items() if texts.get(actor_id) == text),
        max(0, SHOWN_AT_ONCE - len(about)),
    )
    about = about[:SHOWN_AT_ONCE]
    if about:
        _show(database, {actor_id: texts.get(actor_id, NOTHING) for actor_id in about})
    for actor_id in about:
        shown.pop(actor_id, None)  # so that it is the last in order
        if actor_id in texts:
            shown[actor_id] = texts[actor_id]


def _show(database: Database, texts: Mapping[str, str]) -> None:
    """Let these actors say so; what is said of anything else than waiting is not taken back."""
    is_ready = (Actor.status == ActorStatus.READY) & Actor.deleted_at.is_(None)
    with database.read() as session:
        rows = session.execute(
            select(Actor.id, Actor.status_message).where(Actor.id.in_(texts), is_ready)
        ).all()
    changed: dict[str, list[str]] = defaultdict(list)
    for actor_id, said in rows:
        text = texts[actor_id]
        if said != text and (text != NOTHING or said.startswith(WAITS)):
            changed[text].append(actor_id)
    if changed:
        with database.begin() as session:
            for text, ids in changed.items():
                session.execute(
                    update(Actor)
                    .where(Actor.id.in_(ids), is_ready)
                    .values(status_message=text)
                    .execution_options(synchronize_session=False)
                )
