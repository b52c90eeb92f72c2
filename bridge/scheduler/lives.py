"""Reading the arrays that run: what each has to do, and whether it may be given more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, func, literal, select
from sqlalchemy.orm import Session

from bridge.clock import monotonic_s
from bridge.core.chunks import MAX_CHUNKS
from bridge.core.plans import MOST_OUT, Live
from bridge.core.statuses import ArrayStatus
from bridge.db import IS_OPEN, Array, Execution
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.queues import Queues
from bridge.scheduler.recipe import Recipe
from bridge.services.workers import LiveTask, find_live_tasks
from bridge.sites import Cluster

# Open messages of one array that are counted: it is given no more while it has half as many.
MOST_OPEN = MOST_OUT


def read_arrays(session: Session, context: ClusterContext) -> Sequence[Array]:
    """Return the arrays of this cluster that have not ended."""
    return session.scalars(
        select(Array).where(Array.cluster == context.name, Array.status != ArrayStatus.ENDED)
    ).all()


def read_lives(
    session: Session,
    context: ClusterContext,
    queues: Queues,
    arrays: Sequence[Array],
    now: datetime,
) -> list[Live]:
    """Return what `arrays` have to do; the queues that they are fed from were looked into."""
    tasks = find_live_tasks(session, arrays)
    open_counts = _count_open(session, context, arrays)
    lives = []
    for array in arrays:
        recipe = queues.recipes.get((array.actor_id, array.username))
        may_take = recipe is not None and takes_more(context.cluster, array, recipe)
        room = room_of(context.cluster, array) if may_take else 0
        # A worker that was told to leave, or whose array takes nothing more, may run something yet.
        useful = [task for task in tasks[array.id] if not task.is_leaving]
        if array.leaving_at is not None:
            useful = [task for task in useful if task.worker is not None]
        count = open_counts[array.id]
        other = sum(task.is_leaving and task.worker is not None for task in tasks[array.id])
        lives.append(
            Live(
                array.id,
                array.actor_id,
                array.username,
                len(useful),
                other,
                count,
                room,
                may_take,
                array.tenant,
                sum(_is_young(context.cluster, task, now) for task in useful),
                is_going=_is_going(array),
                age_s=(now - array.planned_at).total_seconds(),
            )
        )
    return lives


def _count_open(
    session: Session, context: ClusterContext, arrays: Sequence[Array]
) -> Mapping[str, int]:
    """Return how many messages of each array are not final, of many as it was a moment ago."""
    known = context.memory.open_counts
    known.keep({array.id for array in arrays})
    begun = monotonic_s()
    stale = [array.id for array in arrays if known.is_stale(array.id, begun)]
    counts = {row[0]: row[1] for row in session.execute(_OPEN_COUNTS, {"ids": stale})}
    known.note(counts, begun, monotonic_s())
    return {array.id: known.of(array.id) for array in arrays}


def _query_open_counts() -> Select[Any]:
    """Return the query; in the order of the index that holds just these, so that it is taken."""
    mine = (
        select(literal(1))
        .where(IS_OPEN, Execution.array_id == Array.id)
        .order_by(Execution.array_id, Execution.seq)
        .limit(MOST_OPEN)
        .correlate(Array)
        .subquery()
    )
    count = select(func.count()).select_from(mine).scalar_subquery()
    return select(Array.id, count).where(Array.id.in_(bindparam("ids", expanding=True)))


_OPEN_COUNTS = _query_open_counts()


def _is_young(cluster: Cluster, task: LiveTask, now: datetime) -> bool:
    """Whether the worker has not had the time for which one is planned."""
    since = task.array.planned_at if task.worker is None else task.worker.create_time
    return (now - since).total_seconds() < cluster.target_task_s


def _is_going(array: Array) -> bool:
    return (
        array.status not in (ArrayStatus.PLANNED, ArrayStatus.SUBMITTED)
        or array.leaving_at is not None
        or array.stop_requested
        or array.drain_requested
    )


def takes_more(cluster: Cluster, array: Array, recipe: Recipe) -> bool:
    """Return whether the array may ever be given more messages that are run so."""
    return (
        not _is_going(array)
        and (array.is_standing or recipe.patience_s > 0)
        and array.message_count < cluster.max_messages_per_array
        and array.chunk_count < MAX_CHUNKS
        and array.fingerprint == recipe.fingerprint
    )


def room_of(cluster: Cluster, array: Array) -> int:
    """Return how many messages it may be given now: none before it is whole, or while it is fed."""
    is_whole = array.status is ArrayStatus.SUBMITTED and array.fed_chunks == array.chunk_count
    return cluster.max_messages_per_array - array.message_count if is_whole else 0
