"""An array with open executions, and what its worker reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bridge.clock import ManualClock
from bridge.core.statuses import ArrayStatus
from bridge.db import Actor, Array, Database, Execution, Worker
from bridge.harvest import Finished, Record, Report, apply_reports
from bridge.sites import Limits
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
    add_message,
    add_worker,
)

NOW = START + timedelta(hours=1)


@dataclass
class Scene:
    """One array of one actor on one worker, and three executions in one chunk."""

    database: Database
    array_id: str
    worker_id: str
    ids: list[str]

    def apply(self, *records: Record, logs: Mapping[str, str] | None = None, **limits: int) -> None:
        """Write down what the worker reports."""
        with self.database.begin() as session:
            apply_reports(
                session,
                session.get_one(Array, self.array_id),
                [Report(session.get_one(Worker, self.worker_id), records)],
                logs or {},
                Limits.model_validate(limits),
                NOW,
            )

    def execution(self, execution_id: str) -> Execution:
        with self.database.read() as session:
            return session.scalars(select(Execution).where(Execution.id == execution_id)).one()

    def array(self) -> Array:
        with self.database.read() as session:
            return session.get_one(Array, self.array_id)

    def actor(self) -> Actor:
        with self.database.read() as session:
            return session.get_one(Actor, self.array().actor_id)

    def worker(self) -> Worker:
        with self.database.read() as session:
            return session.get_one(Worker, self.worker_id)

    def change(self, kind: type[Any], key: str, **values: Any) -> None:
        with self.database.begin() as session:
            row = session.get_one(kind, key)
            for name, value in values.items():
                setattr(row, name, value)


@pytest.fixture
def scene(database: Database, clock: ManualClock) -> Scene:
    """The scene; its messages were posted an hour before NOW."""
    with database.begin() as session:
        actor = add_actor(session)
        array = add_array(
            session, actor, status=ArrayStatus.SUBMITTED, array_job_id=1, submitted_at=START
        )
        worker = add_worker(session, array)
        ids = []
        for _ in range(3):
            execution = add_execution(session, actor, array_id=array.id, chunk=1, plan_count=1)
            add_message(session, execution)
            ids.append(execution.id)
        return Scene(database, array.id, worker.id, ids)


def moment(seconds: float) -> datetime:
    """Return a moment after the messages were posted."""
    return START + timedelta(seconds=seconds)


@pytest.fixture
def end() -> Callable[..., Finished]:
    """Makes `finished` records."""

    def make(execution_id: str, **changes: Any) -> Finished:
        values: dict[str, Any] = {
            "at": moment(15),
            "execution_id": execution_id,
            "started_at": moment(10),
            "exit_code": 0,
            "runtime_error": None,
            "ended_by": None,
            "cpu_ns": 1,
            "max_rss_kib": 2,
            "io_bytes": 3,
            "log": "",
            "log_truncated": False,
        }
        return Finished(**values | changes)

    return make
