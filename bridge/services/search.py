"""Search: records of the actors that a caller may read (abaco_contract.md 3.13).

Every condition becomes SQL on a column of a fixed list; names and values of the query are bound
parameters. Seen is what belongs to a living actor of the caller's tenant on which the caller has an
entry of READ or more. Abaco's search leaves ABACO_WORLD out and gives admins no more than others;
so does this one, but an entry of NONE shows nothing here.

What a stranger can make it cost is bounded: the number of conditions and words
(bridge.core.search), the steps of a pattern (bridge.core.patterns), the time of the statements, the
number of records of an answer and their size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.search import Kind, Search, holds
from bridge.core.statuses import Level
from bridge.db import Actor, Array, Execution, Log, Permission
from bridge.db.limits import time_limit
from bridge.errors import QueryTooCostly
from bridge.services.conditions import build_condition, kind_of
from bridge.services.workers import ActorWorker, is_working, workers_of_all

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_WORKERS = 10_000
_ACTORS_AT_A_TIME = 50
_MAX_BYTES = 33_554_432
_LIMIT_S = 5.0


@dataclass(frozen=True)
class Searchable:
    """One type of record: its columns under the names that the API shows, and its rows."""

    columns: Mapping[str, ColumnElement[Any]]
    rows: Select[*tuple[Any, ...]]  # with Actor among its tables
    order: tuple[ColumnElement[Any], ...]

    @property
    def fields(self) -> dict[str, Kind]:
        """What each field holds."""
        return {name: kind_of(column) for name, column in self.columns.items()}


@dataclass(frozen=True)
class Found:
    """A page of what was found, and how much there is in all."""

    total: int
    records: list[dict[str, Any]]


def _columns(model: Any, *names: str) -> dict[str, ColumnElement[Any]]:
    return {name: getattr(model, name).expression for name in names}


TYPES: dict[str, Searchable] = {
    "actors": Searchable(
        columns=_columns(
            Actor, "id", "name", "image", "description", "owner", "status", "status_message",
            "stateless", "state", "type", "link", "webhook", "hints", "token", "privileged",
            "use_container_uid", "run_as_executor", "batch", "default_environment", "max_workers",
            "mem_limit", "max_cpus", "queue", "revision", "uid", "gid", "tasdir", "log_ex",
            "cron_on", "cron_schedule", "create_time", "last_update_time",
        ) | {"cron_next_ex": Actor.cron_next_at.expression},
        rows=select(Actor),
        order=(Actor.create_time.expression, Actor.id.expression),
    ),
    "executions": Searchable(
        columns=_columns(
            Execution, "id", "actor_id", "executor", "worker_id", "status", "runtime", "cpu", "io",
            "exit_code", "final_state", "message_received_time", "start_time", "finish_time",
        ),
        rows=select(Actor, Execution).join(Execution, Execution.actor_id == Actor.id),
        order=(Execution.seq.expression,),
    ),
    "logs": Searchable(
        columns={
            "logs": Log.text.expression, "execution_id": Log.execution_id.expression,
            "actor_id": Execution.actor_id.expression,
        },
        rows=select(Actor, Log)
        .join(Execution, Execution.actor_id == Actor.id)
        .join(Log, Log.execution_id == Execution.id),
        order=(Execution.seq.expression,),
    ),
}  # fmt: skip


# Workers are looked at as they are shown; times that have not come are the text "None" there.
WORKER_FIELDS = dict.fromkeys(
    ("id", "actor_id", "status", "image", "ch_name", "location", "cid", "host_id", "host_ip"),
    Kind.TEXT,
) | dict.fromkeys(("create_time", "last_execution_time", "last_health_check_time"), Kind.MOMENT)
NAMES = ("actors", "executions", "workers", "logs")


def fields_of(name: str) -> dict[str, Kind]:
    """Return the fields of the type of record called `name`, and what each holds."""
    return WORKER_FIELDS if name == "workers" else TYPES[name].fields


def search_records(
    session: Session,
    identity: Identity,
    searchable: Searchable,
    search: Search,
    show: Callable[..., Mapping[str, Any]],
    now: datetime,
    *,
    limit: int = DEFAULT_LIMIT,
    skip: int = 0,
    actor: Actor | None = None,
    execution_id: str | None = None,
) -> Found:
    """Return a page of the records that `search` finds.

    Those with the most of its words come first; otherwise they are in the order of creation.

    Args:
        session: where they are looked up.
        identity: the caller.
        searchable: the type of record.
        search: what is asked for.
        show: makes of a row what is answered.
        now: logs that have expired by then are gone.
        limit: how many are returned at most, and never more than MAX_LIMIT.
        skip: how many are left out first.
        actor: only records of this one, which the caller was allowed to read.
        execution_id: only records of this execution of `actor`.

    Raises:
        QueryTooCostly: the statements take too long, or the records are too large together.
    """
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    query = searchable.rows.where(
        *_scope(identity, actor, execution_id),
        *(
            build_condition(each, searchable.columns[each.field], is_sqlite)
            for each in search.conditions
        ),
    )
    if searchable is TYPES["logs"]:
        query = query.where(Log.expires_at > now)
    ranked = _ranked(search, searchable)
    if ranked:
        query = query.where(or_(*ranked))
        order = [sum((case((found, 1), else_=0) for found in ranked), literal(0)).desc()]
    else:
        order = []
    page = query.order_by(*order, *searchable.order).offset(skip).limit(min(limit, MAX_LIMIT))
    with time_limit(session, _LIMIT_S):
        counted = query.with_only_columns(func.count(), maintain_column_froms=True)
        total = session.execute(counted).scalar_one()
        with session.execute(page.execution_options(yield_per=20)) as rows:
            return Found(total, _collect(show(*row) for row in rows))


def search_workers(
    session: Session,
    identity: Identity,
    search: Search,
    show: Callable[[Actor, ActorWorker], Mapping[str, Any]],
    *,
    limit: int = DEFAULT_LIMIT,
    skip: int = 0,
    actor: Actor | None = None,
) -> Found:
    """Return a page of the workers that `search` finds, as `search_records` does for the rest.

    A worker is more than a row (bridge.services.workers): what is shown of each is looked at here.

    Raises:
        QueryTooCostly: there are too many to look at.
    """
    working = exists().where(Array.actor_id == Actor.id, is_working())
    query = select(Actor).where(*_scope(identity, actor, None), working)
    found: list[tuple[int, Mapping[str, Any]]] = []
    seen = 0
    with time_limit(session, _LIMIT_S):
        ordered = query.order_by(Actor.create_time, Actor.id)
        for owner, worker in _workers(session, ordered):
            seen += 1
            if seen > MAX_WORKERS:
                raise QueryTooCostly(
                    f"There are more than {MAX_WORKERS} workers to search; search those of one "
                    "actor."
                )
            record = show(owner, worker)
            rank = _rank(record, search)
            if rank is not None:
                found.append((rank, record))
    found.sort(key=lambda ranked: -ranked[0])
    page = found[skip : skip + min(limit, MAX_LIMIT)]
    return Found(len(found), _collect(record for _, record in page))


def _workers(
    session: Session, query: Select[*tuple[Any, ...]]
) -> Iterator[tuple[Actor, ActorWorker]]:
    """Yield the workers of the actors of `query`, a few actors at a time."""
    start = 0
    while actors := session.scalars(query.offset(start).limit(_ACTORS_AT_A_TIME)).all():
        start += len(actors)
        found = workers_of_all(session, actors)
        yield from ((actor, worker) for actor in actors for worker in found[actor.id])


def _rank(record: Mapping[str, Any], search: Search) -> int | None:
    """Return how many of the words are in `record`, or None if it is not what is sought."""
    held = {name: None if record[name] == "None" else record[name] for name in WORKER_FIELDS}
    if not all(holds(condition, held[condition.field]) for condition in search.conditions):
        return None
    sought = _sought(search)
    texts = [
        text.lower() for name, text in held.items() if text and WORKER_FIELDS[name] is Kind.TEXT
    ]
    count = sum(any(word.lower() in text for text in texts) for word in sought)
    return count if count or not sought else None


def _sought(search: Search) -> list[str]:
    return [*search.words, *([search.phrase] if search.phrase else [])]


def _collect(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `records`, unless they are too large for one answer."""
    collected: list[dict[str, Any]] = []
    size = 0
    for record in records:
        size += len(json.dumps(record))
        if size > _MAX_BYTES:
            raise QueryTooCostly(
                f"The first {len(collected) + 1} records found have more than {_MAX_BYTES} bytes "
                f"together. Ask for fewer at a time: limit={max(len(collected), 1)}."
            )
        collected.append(dict(record))
    return collected


def _scope(
    identity: Identity, actor: Actor | None, execution_id: str | None
) -> list[ColumnElement[bool]]:
    living = [Actor.tenant == identity.tenant, Actor.deleted_at.is_(None)]
    if actor is None:
        readable = exists().where(
            Permission.actor_id == Actor.id,
            Permission.username == identity.username,
            Permission.level != Level.NONE,
        )
        return [*living, readable]
    of_execution = [] if execution_id is None else [Execution.id == execution_id]
    return [*living, Actor.id == actor.id, *of_execution]


def _ranked(search: Search, searchable: Searchable) -> list[ColumnElement[bool]]:
    """Return a condition for each word, and one for the phrase; capitals make no difference."""
    texts = [
        type_coerce(column, String())
        for column in searchable.columns.values()
        if kind_of(column) is Kind.TEXT
    ]
    return [
        or_(*(text.icontains(word, autoescape=True) for text in texts)) for word in _sought(search)
    ]
