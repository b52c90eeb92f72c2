"""A Slurm in memory: the port without a cluster, with every trick that the real one was seen to do.

It ships with the package because whoever changes the scheduler needs it. It passes the same
conformance suite as the commands on a real Slurm (tests/integration/slurm). Nothing moves by
itself: whoever holds it starts and ends array tasks, makes it lose a job it has acknowledged
(field.md 5.6), keeps accounting behind, breaks a node. `launch` runs a task's script for real.
"""

from __future__ import annotations

import copy
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from bridge.errors import SlurmError, SlurmUnavailable, SubmitRejected
from bridge.sessions.base import UserSession
from bridge.slurm.directives import read_directives
from bridge.slurm.port import FINAL_STATES, JobRow

_RANGE = re.compile(r"0-([0-9]+)\Z")


@dataclass
class FakeTask:
    """One array task."""

    index: int
    state: str = "PENDING"
    exit_code: str = "0:0"
    reason: str = "Priority"
    node: str = ""
    restarts: int = 0
    before: list[str] = field(default_factory=list)  # states in which earlier runs of it ended

    @property
    def has_started(self) -> bool:
        """Whether it has a record of its own in Slurm by now."""
        return bool(self.node) or self.restarts > 0


@dataclass
class FakeJob:
    """One job array."""

    id: int
    name: str
    username: str
    script: str
    directives: Mapping[str, str]
    tasks: list[FakeTask]


class FakeSlurm:
    """The port, and what a test does to it.

    Attributes:
        jobs: what slurmctld knows, by job id.
        calls: how often each question and order came.
        is_up: slurmctld answers.
        accounting_is_up: slurmdbd answers.
        refusal: what every submission is refused with, if set.
        losing: the next submissions are acknowledged and then forgotten, their ids given out again.
        deaf: the next submissions are taken, and the answer does not arrive.
    """

    def __init__(
        self,
        *,
        max_array_size: int = 1001,
        partitions: Collection[str] = ("normal",),
        accounts: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.jobs: dict[int, FakeJob] = {}
        self.calls: Counter[str] = Counter()
        self.is_up = True
        self.accounting_is_up = True
        self.refusal: SlurmError | None = None
        self.losing = 0
        self.deaf = 0
        self._max_array_size = max_array_size
        self._partitions = partitions
        self._accounts = accounts
        self._next_id = 1
        self._forgotten: list[FakeJob] = []  # what slurmdbd still knows of them
        self._frozen: list[FakeJob] | None = None
        self._processes: dict[tuple[int, int], subprocess.Popen[bytes]] = {}

    # The port

    def check(self) -> str:
        """See `SlurmPort.check`."""
        return "a fake Slurm"

    def submit(self, session: UserSession, script: str) -> int:
        """See `SlurmPort.submit`."""
        self._answer("submit")
        job = self._read(session.username, script)
        if self.refusal is not None:
            raise self.refusal
        if self.losing:
            self.losing -= 1
            return job.id
        self.jobs[job.id] = job
        self._next_id += 1
        if self.deaf:
            self.deaf -= 1
            raise SlurmUnavailable("sbatch got no clear answer: Socket timed out on send/recv")
        return job.id

    def states(self, names: Collection[str]) -> list[JobRow]:
        """See `SlurmPort.states`."""
        if not names:
            return []
        self._answer("states")
        return [row for job in list(self.jobs.values()) if job.name in names for row in _rows(job)]

    def accounting(self, names: Collection[str], since: datetime) -> list[JobRow]:
        """See `SlurmPort.accounting`; what began before `since` is not left out."""
        if not names:
            return []
        self.calls["accounting"] += 1
        if not self.accounting_is_up:
            raise SlurmUnavailable("sacct got no answer: Unable to contact slurmdbd")
        live = [*self._forgotten, *self.jobs.values()]
        known = live if self._frozen is None else self._frozen
        return [row for job in known if job.name in names for row in _accounting_rows(job)]

    def cancel(self, session: UserSession, array_job_id: int, name: str) -> None:
        """See `SlurmPort.cancel`."""
        self._answer("cancel")
        job = self.jobs.get(array_job_id)
        if job is None or job.name != name:
            return
        if job.username != session.username:
            raise SlurmError(f"scancel failed with 210: job {job.id}: Access/permission denied")
        for task in job.tasks:
            if task.state not in FINAL_STATES:
                self._terminate(job.id, task.index)
                task.state, task.exit_code = "CANCELLED", "0:15" if task.node else "0:0"

    def cancel_waiting(
        self, session: UserSession, array_job_id: int, name: str, tasks: Collection[int]
    ) -> None:
        """See `SlurmPort.cancel_waiting`."""
        self._answer("cancel_waiting")
        job = self.jobs.get(array_job_id)
        if job is None or job.name != name:
            return
        if job.username != session.username:
            raise SlurmError(f"scancel failed with 210: job {job.id}: Access/permission denied")
        for task in job.tasks:
            if task.index in tasks and task.state == "PENDING":
                task.state, task.exit_code = "CANCELLED", "0:0"

    # What a test does

    def job_named(self, name: str) -> FakeJob:
        """Return the one job of this name; a test fails where there are none or two."""
        [job] = [job for job in self.jobs.values() if job.name == name]
        return job

    def start(self, job_id: int, index: int = 0, node: str = "c1") -> FakeTask:
        """Let a waiting task run."""
        task = self._task(job_id, index)
        if task.state != "PENDING":
            raise ValueError(f"task {job_id}_{index} is {task.state}, expected PENDING")
        task.state, task.reason, task.node = "RUNNING", "None", node
        return task

    def end(
        self, job_id: int, index: int = 0, state: str = "COMPLETED", exit_code: str = "0:0"
    ) -> None:
        """Let a task end."""
        task = self._task(job_id, index)
        task.state, task.exit_code, task.node = state, exit_code, task.node or "c1"

    def requeue(self, job_id: int, index: int = 0) -> None:
        """Put a task that runs back into the queue, as preemption and administrators do."""
        task = self._task(job_id, index)
        self._terminate(job_id, index)
        task.before.append("REQUEUED")
        task.state, task.reason, task.restarts = "PENDING", "BeginTime", task.restarts + 1

    def fail_node(self, node: str, *, requeue: bool = False) -> None:
        """Take a node and what runs on it away."""
        for job in self.jobs.values():
            for task in job.tasks:
                if task.node == node and task.state == "RUNNING":
                    self._kill(job.id, task.index)
                    if requeue:
                        task.before.append("NODE_FAIL")
                        task.state, task.restarts = "PENDING", task.restarts + 1
                    else:
                        task.state, task.exit_code, task.reason = "NODE_FAIL", "1:0", "NodeDown"

    def purge(self, job_id: int) -> None:
        """Let slurmctld forget an ended job (MinJobAge); slurmdbd keeps it."""
        self._forgotten.append(self.jobs.pop(job_id))

    def lose(self, job_id: int) -> None:
        """Let slurmctld restart from a state older than this job: the next one gets its id."""
        self._forgotten.append(copy.deepcopy(self.jobs.pop(job_id)))
        self._next_id = job_id

    def freeze_accounting(self, *, frozen: bool = True) -> None:
        """Keep slurmdbd at what it knows now, or let it catch up."""
        live = [*self._forgotten, *self.jobs.values()]
        self._frozen = copy.deepcopy(live) if frozen else None

    def environment(self, job_id: int, index: int = 0) -> dict[str, str]:
        """Return what Slurm puts into the environment of a task (``--export=NIL``)."""
        task = self._task(job_id, index)
        found = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "SLURM_JOB_ID": str(job_id * 1000 + index),
            "SLURM_ARRAY_JOB_ID": str(job_id),
            "SLURM_ARRAY_TASK_ID": str(index),
        }
        return found | ({"SLURM_RESTART_COUNT": str(task.restarts)} if task.restarts else {})

    def launch(
        self, job_id: int, index: int = 0, node: str = "c1", **extra: str
    ) -> subprocess.Popen[bytes]:
        """Start a task and run its script for real; `settle` or `finish` ends it."""
        self.start(job_id, index, node)
        job = self.jobs[job_id]
        output = job.directives.get("output", "/dev/null").replace("%a", str(index))
        with open(output, "ab") as file:  # noqa: PTH123 - a path as Slurm would open it
            process = subprocess.Popen(
                ["/bin/sh", "-s"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment(job_id, index) | extra,
                cwd=job.directives.get("chdir", "/"),
                start_new_session=True,
            )
        assert process.stdin is not None
        process.stdin.write(job.script.encode())
        process.stdin.close()
        self._processes[job_id, index] = process
        return process

    def finish(self, job_id: int, index: int = 0, timeout_s: float = 60) -> int:
        """Wait for a launched task's script and record how it ended."""
        process = self._processes[job_id, index]
        status = process.wait(timeout_s)
        del self._processes[job_id, index]
        task = self._task(job_id, index)
        if task.state == "RUNNING":
            task.state = "FAILED" if status else "COMPLETED"
            task.exit_code = f"0:{-status}" if status < 0 else f"{status}:0"
        return status

    def close(self) -> None:
        """End every script that still runs."""
        for job_id, index in list(self._processes):
            self._kill(job_id, index)

    # Within

    def _answer(self, call: str) -> None:
        self.calls[call] += 1
        if not self.is_up:
            raise SlurmUnavailable(f"{call} got no answer: Unable to contact slurm controller")

    def _task(self, job_id: int, index: int) -> FakeTask:
        return self.jobs[job_id].tasks[index]

    def _read(self, username: str, script: str) -> FakeJob:
        """Return the job that a script asks for.

        Raises:
            SubmitRejected: sbatch would refuse it.
        """
        directives = read_directives(script)
        spec = _RANGE.match(directives.get("array", "0-0"))
        if spec is None or int(spec[1]) >= self._max_array_size:
            raise SubmitRejected("Slurm refused the submission: Invalid job array specification")
        if directives.get("partition", "") not in ("", *self._partitions):
            raise SubmitRejected("Slurm refused the submission: Invalid partition name specified")
        account = directives.get("account", "")
        if self._accounts is not None and account not in ("", *self._accounts.get(username, ())):
            raise SubmitRejected(
                "Slurm refused the submission: Invalid account or account/partition combination"
            )
        tasks = [FakeTask(index) for index in range(int(spec[1]) + 1)]
        return FakeJob(
            self._next_id, directives.get("job-name", "sbatch"), username, script, directives, tasks
        )

    def _terminate(self, job_id: int, index: int) -> None:
        process = self._processes.get((job_id, index))
        if process is not None:
            process.terminate()

    def _kill(self, job_id: int, index: int) -> None:
        process = self._processes.pop((job_id, index), None)
        if process is not None:
            process.kill()
            process.wait()


def _rows(job: FakeJob) -> list[JobRow]:
    """Return squeue's rows: what has not started stands in one row together."""
    return [*_waiting_rows(job), *(_row(job, t, t.state) for t in job.tasks if t.has_started)]


def _accounting_rows(job: FakeJob) -> list[JobRow]:
    """Return sacct's rows; with --duplicates, earlier runs of a task have rows of their own."""
    rows = _waiting_rows(job)
    for task in job.tasks:
        rows += [_row(job, task, state) for state in task.before]
        if task.has_started:
            rows.append(_row(job, task, task.state))
    return rows


def _waiting_rows(job: FakeJob) -> list[JobRow]:
    waiting = [task for task in job.tasks if not task.has_started]
    if any(task.state == "PENDING" for task in waiting):
        # Of tasks cancelled while others of the array wait on, Slurm keeps nothing.
        waiting = [task for task in waiting if task.state == "PENDING"]
    groups = [list(some) for _, some in groupby(waiting, key=lambda task: task.state)]
    return [_row(job, some[0], some[0].state, together=len(some) > 1) for some in groups]


def _row(job: FakeJob, task: FakeTask, state: str, *, together: bool = False) -> JobRow:
    return JobRow(
        name=job.name,
        username=job.username,
        array_job_id=job.id,
        task_index=None if together else task.index,
        state=state,
        exit_code=task.exit_code,
        reason="" if task.reason == "None" else task.reason,
        nodes=task.node,
    )
