"""Binding executions to arrays."""

from __future__ import annotations

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from bridge.core.plans import ArrayPlan
from bridge.core.statuses import ActorStatus, ArrayStatus
from bridge.db import Actor, Execution
from bridge.scheduler.binding import record_plan
from bridge.scheduler.plan import plan_tick
from tests.factories.rows import add_array
from tests.unit.scheduler.world import World


def test_executions_are_bound_in_their_order(world: World) -> None:
    ids = world.post(world.actor(mean_run_s=600), 12)
    world.clock.push(2)

    [token] = plan_tick(world.context)

    [array] = world.arrays()
    assert (array.id, array.status, array.array_job_id) == (token, ArrayStatus.PLANNED, None)
    chunks = [world.execution(one).chunk for one in ids]
    assert chunks == sorted(chunks)
    assert set(chunks) == set(range(1, array.chunk_count + 1))
    assert {world.execution(one).array_id for one in ids} == {token}
    assert {world.execution(one).plan_count for one in ids} == {1}


def test_the_rest_of_a_long_queue_waits(world: World) -> None:
    actor = world.actor(stateless=False)
    world.post(actor, 100)
    world.clock.push(2)

    plan_tick(world.context)

    assert (world.array().message_count, world.queued()) == (1, 99)
    world.clock.push(2)
    assert plan_tick(world.context) == []  # its one message is out


@pytest.mark.parametrize(
    "changes",
    [
        {"status": ActorStatus.SUBMITTED},
        {"status": ActorStatus.ERROR},
        {"status": ActorStatus.SHUTTING_DOWN},
        {"cluster": "beta"},
        {"tenant": "CHEMISTRY"},
    ],
    ids=str,
)
def test_who_cannot_run_waits(world: World, changes: dict[str, object]) -> None:
    world.post(world.actor(**changes))
    world.clock.push(2)

    assert plan_tick(world.context) == []


def test_an_array_that_ends_makes_room(world: World) -> None:
    actor = world.actor(max_workers=1)
    world.post(actor)
    with world.database.begin() as session:
        add_array(session, actor, status=ArrayStatus.CLOSING)
    world.clock.push(2)
    assert plan_tick(world.context) == []

    with world.database.begin() as session:
        session.execute(text("update arrays set status='ENDED', ended_at=planned_at"))

    assert len(plan_tick(world.context)) == 1


def test_where_in_slurm_follows_tenant_and_cluster(world: World) -> None:
    world.post(world.actor(tenant="BIOLOGY"))
    world.clock.push(2)

    plan_tick(world.context)

    [array] = world.arrays()
    assert array.request == {
        "time_limit_s": 3600,
        "cpus": 1,
        "memory_mib": 1024,
        "message_memory_mib": 0,
        "partition": None,
        "account": "biology",
        "qos": None,
        "constraint": None,
        "gpus": 0,
        "nodes": None,
        "ntasks": 1,
        "slots": 1,
        "node_cpus": 0,
    }


def test_a_second_scheduler_cannot_bind_them_too(each_world: World) -> None:
    """It may come: one that slept past its lease goes on where it was."""
    actor = each_world.actor()
    ids = each_world.post(actor, 3)
    plan = ArrayPlan(actor.id, "alice", 3, 1, (3,))
    now = each_world.clock.now()
    database = each_world.database
    if database.engine.dialect.name == "sqlite":
        event.listen(database.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout=50"))
        database.engine.dispose()
    with database.begin() as first:
        token = record_plan(first, each_world.context, plan, now)
        first.flush()
        with pytest.raises(OperationalError) as caught, database.begin() as second:  # noqa: PT012
            if database.engine.dialect.name != "sqlite":
                second.execute(text("SET LOCAL lock_timeout = '50ms'"))
            record_plan(second, each_world.context, plan, now)
        # Not later, when it would have read which executions wait.
        assert (caught.value.statement or "").startswith(("BEGIN", "SELECT actors"))
    with database.begin() as second:
        assert record_plan(second, each_world.context, plan, now) is None

    assert {each_world.execution(one).array_id for one in ids} == {token}
    assert {each_world.execution(one).plan_count for one in ids} == {1}


@pytest.mark.parametrize(
    "database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)  # SQLite has one writer at a time
def test_posting_goes_on_while_a_plan_is_written(each_world: World) -> None:
    actor = each_world.actor()
    each_world.post(actor)
    plan = ArrayPlan(actor.id, "alice", 1, 1, (1,))
    with each_world.database.begin() as first:
        record_plan(first, each_world.context, plan, each_world.clock.now())
        with each_world.database.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            assert other.get(Actor, actor.id) is not None
            other.add(
                Execution(
                    id="x", tenant="PHYSICS", actor_id=actor.id, actor_revision=1,
                    executor="bob", username="alice", status="SUBMITTED",
                    message_received_time=each_world.clock.now(),
                )
            )  # fmt: skip


def test_fewer_messages_than_were_counted(world: World) -> None:
    actor = world.actor()
    ids = world.post(actor, 2)
    with world.database.begin() as session:
        record_plan(
            session, world.context, ArrayPlan(actor.id, "alice", 5, 2, (3, 2)), world.clock.now()
        )

    [array] = world.arrays()
    assert array.message_count == 2
    assert array.chunk_count == 1
    assert {world.execution(one).chunk for one in ids} == {1}
