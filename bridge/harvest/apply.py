"""What records make of executions. All in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from bridge.core.statuses import ExecutionStatus, WorkerStatus
from bridge.db import Actor, Array, Execution, Worker
from bridge.events import record_executions
from bridge.harvest.endings import docker_state, end_executions, may_retry, retry
from bridge.harvest.many import delete_messages, find_executions
from bridge.harvest.outputs import Outputs, keep_state
from bridge.harvest.records import Finished, Joined, Left, Progress, Record, Started
from bridge.sites import Limits

LOST = "Slurm ended the worker while this ran."


class Report(NamedTuple):
    """What one worker reports: records in the order of its journal, their results read already."""

    worker: Worker
    records: Sequence[Record]


def apply_reports(
    session: Session,
    array: Array,
    reports: Sequence[Report],
    logs: Mapping[str, str],
    limits: Limits,
    now: datetime,
) -> None:
    """Write down what workers of `array` report.

    Args:
        session: the transaction.
        array: whose executions these may be; others are ignored.
        reports: of each worker one, or several in their order.
        logs: by execution id, the texts that lie in files of their own.
        limits: of the site, for logs and results.
        now: the bridge's time; a worker's clock is not believed beyond it.
    """
    told = [record for report in reports for record in report.records]
    wanted = {r.execution_id for r in told if isinstance(r, Started | Progress | Finished)}
    known = {execution.id: execution for execution in find_executions(session, array, wanted)}
    actor = session.get_one(Actor, array.actor_id)
    outputs = Outputs(session, actor, limits, now)
    with session.no_autoflush:  # all executions are written together, at the end
        ended = []
        for worker, records in reports:
            worker.last_health_check_time = now
            writer = _Writer(session, array, actor, worker, outputs, now)
            ended += _apply(writer, known, records, logs)
        outputs.write()
        delete_messages(session, [execution.id for execution in ended])
        record_executions(session, actor, ended, now)


def _apply(
    writer: _Writer,
    known: Mapping[str, Execution],
    records: Sequence[Record],
    logs: Mapping[str, str],
) -> list[Execution]:
    """Take the records one after the other; return the executions that have ended."""
    ended = []
    worker = writer.worker
    for record in records:
        if isinstance(record, Joined):
            worker.host, worker.job_id = record.host, record.job_id
        elif isinstance(record, Started | Progress | Finished):
            execution = known.get(record.execution_id)
            if execution is None or execution.status.is_final or execution.array_id is None:
                continue
            if isinstance(record, Started):
                writer.start(execution, record)
            elif isinstance(record, Progress):
                writer.go_on(execution, record)
            elif writer.finish(execution, record, logs):
                ended.append(execution)
        elif isinstance(record, Left):
            worker.status = WorkerStatus.SHUTTING_DOWN
            worker.dead_reason = left_reason(record.why)
    return ended


def left_reason(why: str) -> str:
    """Return the sentence for a worker that ended by itself; `why` is the journal's word."""
    return f"The worker left: {why}."


@dataclass(frozen=True)
class _Writer:
    """Writes down what one worker of one array reports about open executions of that array."""

    session: Session
    array: Array
    actor: Actor
    worker: Worker
    outputs: Outputs
    now: datetime

    def start(self, execution: Execution, record: Started) -> None:
        if execution.status is not ExecutionStatus.SUBMITTED:
            return
        execution.status = ExecutionStatus.RUNNING
        execution.worker_id = self.worker.id
        received = execution.message_received_time
        execution.start_time = _within(record.at, received, self.now)
        self.worker.status = WorkerStatus.BUSY

    def go_on(self, execution: Execution, record: Progress) -> None:
        if record.results is not None:
            self.outputs.keep_results(execution, record.results)
        if record.log:
            self.outputs.add_to_log(execution, record.log)

    def finish(self, execution: Execution, record: Finished, logs: Mapping[str, str]) -> bool:
        """Conclude an execution; return whether it is final and others have to be told."""
        if record.ended_by == "cancel" and execution.status is ExecutionStatus.SUBMITTED:
            end_executions(self.session, [execution], None, self.now)  # it was never started
            return False
        self.worker.status = WorkerStatus.READY
        start = _within(record.started_at, execution.message_received_time, self.now)
        finish = _within(record.at, start, self.now)
        self.worker.last_execution_time = finish
        lost = record.ended_by == "signal" and not self.array.stop_requested
        reason = record.runtime_error or (LOST if lost else "")
        if reason and may_retry(self.actor, execution):
            self.outputs.write()  # what is written is dropped with the rest
            retry(self.session, execution, reason)
            return False
        execution.worker_id = self.worker.id
        execution.start_time, execution.finish_time = start, finish
        execution.runtime = int((finish - start).total_seconds())
        execution.cpu, execution.io = record.cpu_ns, record.io_bytes
        execution.max_rss_kib = record.max_rss_kib
        execution.reason = reason
        execution.status = ExecutionStatus.ERROR if reason else ExecutionStatus.COMPLETE
        if not reason:
            execution.exit_code = record.exit_code
            self._learn((finish - start).total_seconds())
        execution.final_state = docker_state(execution, oom_killed=record.oom_killed)
        self._keep_outputs(execution, record, logs)
        return True

    def _learn(self, ran_s: float) -> None:
        mean = self.actor.mean_run_s
        self.actor.mean_run_s = ran_s if mean is None else 0.9 * mean + 0.1 * ran_s

    def _keep_outputs(
        self, execution: Execution, record: Finished, logs: Mapping[str, str]
    ) -> None:
        if record.results is not None:
            self.outputs.keep_results(execution, record.results)
        if record.state is not None and record.runtime_error is None:
            keep_state(self.session, self.actor, execution, record.state)
        self.outputs.keep_log(execution, record, logs)


def _within(moment: datetime, first: datetime, last: datetime) -> datetime:
    """Return the moment, as far as it can be true; `first` wins over `last`."""
    return max(first, min(moment, last))
