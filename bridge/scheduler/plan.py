"""Planning: from queues in the database to arrays in the database, one transaction each.

Nothing outside the database is touched here.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bridge.core.ids import new_token
from bridge.core.plans import ArrayPlan, PackingRules, Waiting, plan_arrays
from bridge.core.statuses import ActorStatus, ArrayStatus, ExecutionStatus
from bridge.db import Actor, Array, Execution, Image
from bridge.scheduler.context import ClusterContext
from bridge.sites import Cluster, Tenant

_QUEUED = (Execution.status == ExecutionStatus.SUBMITTED) & Execution.array_id.is_(None)


def plan_tick(context: ClusterContext) -> list[str]:
    """Bind waiting messages to new arrays; return the tokens of the arrays."""
    cluster = context.cluster
    rules = PackingRules(
        target_task_s=cluster.target_task_s,
        max_tasks_per_array=cluster.max_tasks_per_array,
        max_messages_per_array=cluster.max_messages_per_array,
        linger_s=cluster.linger_s,
    )
    now = context.clock.now()
    with context.database.read() as session:
        plans = plan_arrays(read_queues(session, context, now), rules)
    tokens = []
    for plan in plans:
        with context.database.begin() as session:
            tokens.append(record_plan(session, context, plan, now))
    return [token for token in tokens if token]


def read_queues(session: Session, context: ClusterContext, now: datetime) -> list[Waiting]:
    """Return the queues of the READY actors of this cluster."""
    workers = session.execute(
        select(Array.actor_id, func.sum(Array.task_count))
        .where(Array.status != ArrayStatus.ENDED, Array.cluster == context.name)
        .group_by(Array.actor_id)
    )
    busy = {actor_id: int(count) for actor_id, count in workers}
    rows = session.execute(
        select(
            Actor,
            func.count(),
            func.min(Execution.message_received_time),
            func.max(Execution.message_received_time),
        )
        .join(Execution, Execution.actor_id == Actor.id)
        .where(_QUEUED, Actor.cluster == context.name, Actor.status == ActorStatus.READY)
        .where(Actor.tenant.in_(context.site.tenants))
        .group_by(Actor.id)
    ).all()
    return [
        Waiting(
            actor.id,
            count,
            (now - oldest).total_seconds(),
            (now - newest).total_seconds(),
            actor.mean_run_s,
            _max_workers(actor, context.cluster),
            busy.get(actor.id, 0),
            in_order=not actor.stateless,
        )
        for actor, count, oldest, newest in rows
    ]


def _max_workers(actor: Actor, cluster: Cluster) -> int:
    return (actor.max_workers or cluster.max_workers_per_actor) if actor.stateless else 1


def record_plan(
    session: Session, context: ClusterContext, plan: ArrayPlan, now: datetime
) -> str | None:
    """Write the array and bind its executions, the head of the actor's queue, in their order."""
    # The lock keeps a delete from ending executions while they are bound, and a second scheduler,
    # whose lease ran out while it slept, from binding them as well.
    actor = session.get_one(Actor, plan.actor_id, with_for_update={"key_share": True})
    image = session.get_one(Image, actor.image_id)
    if image.sif_path is None:
        raise ValueError(f"actor {actor.id} is READY without an image file")  # a constraint holds
    token = new_token()
    waiting = (
        session.execute(
            select(Execution.seq)
            .where(_QUEUED, Execution.actor_id == actor.id)
            .order_by(Execution.seq)
            .limit(plan.message_count)
        )
        .scalars()
        .all()
    )
    if not waiting or actor.deleted_at is not None:
        return None  # the actor was deleted in the meantime
    left = iter(waiting)  # fewer than planned, where some were taken back in the meantime
    chunks = [chunk for size in plan.chunk_sizes if (chunk := list(islice(left, size)))]
    tenant = context.site.tenants[actor.tenant]
    session.add(
        Array(
            id=token,
            cluster=context.name,
            tenant=actor.tenant,
            username=actor.owner,
            actor_id=actor.id,
            image_id=image.id,
            sif_path=image.sif_path,
            spool=f"{context.spool_root(actor.owner)}/{token}",
            task_count=min(plan.task_count, len(chunks)),
            message_count=len(waiting),
            chunk_sizes=[len(chunk) for chunk in chunks],
            request=_request(context.cluster, tenant),
            status=ArrayStatus.PLANNED,
            planned_at=now,
        )
    )
    session.flush()
    for number, chunk in enumerate(chunks, start=1):
        session.execute(
            update(Execution)
            .where(Execution.seq.in_(chunk))
            .values(array_id=token, chunk=number, plan_count=Execution.plan_count + 1)
        )
    return token


def _request(cluster: Cluster, tenant: Tenant) -> dict[str, object]:
    return {
        "time_limit_s": cluster.time_limit_s,
        "cpus": cluster.cpus_per_task,
        "memory_mib": cluster.memory_mib,
        "partition": tenant.partition or cluster.partition,
        "account": tenant.account or cluster.account,
        "qos": tenant.qos or cluster.qos,
    }
