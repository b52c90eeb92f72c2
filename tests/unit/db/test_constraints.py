"""What the database itself refuses, each by name: invariants that no code can forget."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from bridge.core.statuses import ActorStatus, ArrayStatus, ExecutionStatus, ImageStatus
from bridge.db import Actor, Array, Execution, Image
from tests.factories.rows import (
    START,
    add_account,
    add_actor,
    add_array,
    add_execution,
    add_image,
    add_message,
    add_permission,
    add_worker,
)


def ready_image_without_file(session):
    add_image(session, status=ImageStatus.READY, digest="sha256:x")


def same_image_twice(session):
    add_image(session, reference="docker.io/library/debian:latest")
    add_image(session, reference="docker.io/library/debian:latest")


def stateful_actor_with_two_workers(session):
    add_actor(session, stateless=False, max_workers=2)


def submitted_array_without_job(session):
    add_array(session, add_actor(session), status=ArrayStatus.SUBMITTED)


def ended_array_without_time(session):
    add_array(session, add_actor(session), status=ArrayStatus.ENDED)


def time_without_ended_array(session):
    add_array(session, add_actor(session), ended_at=START)


def same_worker_twice(session):
    array = add_array(session, add_actor(session))
    add_worker(session, array)
    add_worker(session, array)


def final_execution_without_finish(session):
    add_execution(session, add_actor(session), status=ExecutionStatus.COMPLETE)


def finish_without_final_execution(session):
    add_execution(session, add_actor(session), finish_time=START)


def running_execution_without_worker(session):
    actor = add_actor(session)
    array = add_array(session, actor)
    add_execution(session, actor, status=ExecutionStatus.RUNNING, array_id=array.id)


def same_execution_twice(session):
    actor = add_actor(session)
    add_execution(session, actor, id="x")
    add_execution(session, actor, id="x")


def execution_without_actor(session):
    add_execution(session, Actor(id="nobody", tenant="PHYSICS", revision=1, owner="alice"))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (ready_image_without_file, "ck_images_ready_has_file"),
        (same_image_twice, "uq_images_cluster"),
        (stateful_actor_with_two_workers, "ck_actors_stateful_one_worker"),
        (submitted_array_without_job, "ck_arrays_submitted_has_job"),
        (ended_array_without_time, "ck_arrays_ended_has_time"),
        (time_without_ended_array, "ck_arrays_ended_has_time"),
        (same_worker_twice, "uq_workers_array_id"),
        (final_execution_without_finish, "ck_executions_final_has_finish"),
        (finish_without_final_execution, "ck_executions_final_has_finish"),
        (running_execution_without_worker, "ck_executions_running_has_worker"),
        (same_execution_twice, "uq_executions_id"),
        (execution_without_actor, "fk_executions_actor_id_actors"),
    ],
)
def test_the_database_refuses(database, make, name):
    with pytest.raises(IntegrityError) as error, database.begin() as session:
        make(session)
    if database.engine.dialect.name == "postgresql" or name.startswith("ck_"):
        assert name in str(error.value.orig)  # SQLite names only its checks


@pytest.mark.parametrize(
    ("model", "make"),
    [
        (Image, add_image),
        (Actor, add_actor),
        (Execution, lambda session: add_execution(session, add_actor(session))),
        (Array, lambda session: add_array(session, add_actor(session))),
    ],
)
def test_a_status_that_is_no_word_of_ours_is_refused(database, model, make):
    with database.begin() as session:
        make(session)
    table = model.__table__
    with pytest.raises(IntegrityError), database.engine.begin() as connection:
        connection.execute(text(f"UPDATE {table.name} SET status = 'FAILED'"))


def test_statuses_are_stored_by_value(database):
    with database.begin() as session:
        add_actor(session, status=ActorStatus.SHUTTING_DOWN)
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT status FROM actors")).scalar_one() == (
            "SHUTTING_DOWN"
        )


def test_what_goes_together_goes_together(database):
    with database.begin() as session:
        actor = add_actor(session)
        add_permission(session, actor, "bob", "READ")
        array = add_array(session, actor, status=ArrayStatus.SUBMITTED, array_job_id=7)
        worker = add_worker(session, array)
        execution = add_execution(
            session, actor, status=ExecutionStatus.RUNNING, array_id=array.id, worker_id=worker.id
        )
        add_message(session, execution)
        add_account(session)
        session.execute(
            update(Array)
            .where(Array.id == array.id)
            .values(status=ArrayStatus.ENDED, ended_at=START)
        )


def plan_of(database, query):
    """Return how the database would run `query`, made to prefer indexes on a small table."""
    with database.engine.connect() as connection:
        if database.engine.dialect.name == "sqlite":
            rows = connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
            return "\n".join(row[3] for row in rows)
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        return "\n".join(row[0] for row in connection.execute(text(f"EXPLAIN {query}")).all())


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT seq FROM executions WHERE actor_id = 'a' AND username = 'u' "
            "AND status = 'SUBMITTED' AND array_id IS NULL ORDER BY seq",
            "ix_executions_queue",
        ),
        ("SELECT seq FROM executions WHERE actor_id = 'a' ORDER BY seq", "ix_executions_actor"),
        (
            "SELECT seq FROM executions WHERE array_id = 'a' "
            "AND status IN ('SUBMITTED', 'RUNNING') ORDER BY seq",
            "ix_executions_array_open",
        ),
        ("SELECT id FROM arrays WHERE status <> 'ENDED'", "ix_arrays_live"),
    ],
)
def test_hot_queries_have_an_index(database, query, index):
    assert re.search(rf"\b{index}\b", plan_of(database, query))
