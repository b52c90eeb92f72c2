"""A small world: a database, a Slurm in memory, a real agent, and workers moved by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.clock import ManualClock
from bridge.core.ids import new_id
from bridge.core.statuses import ArrayStatus, ExecutionStatus, ImageStatus
from bridge.db import Actor, Array, ClusterUser, Database, Execution, Log, Message, Worker
from bridge.launcher.context import JOB_NAME_PREFIX, job_name
from bridge.node.journal import Fenced, Journal
from bridge.node.spool import Chunk, Spool, SpoolError
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.images import bring_image, find_wanted, tell_actors
from bridge.scheduler.journals import harvest_tick
from bridge.scheduler.loop import plan_and_feed, settle_arrays, watch_slurm
from bridge.scheduler.stop import cancel_tick
from bridge.scheduler.submit import due_arrays, submit_array
from bridge.sessions import SessionPool, UserSession
from bridge.sites import Site
from bridge.slurm.fake import FakeSlurm
from tests.factories.rows import add_account, add_actor, add_execution, add_image, add_message

BAD, GOOD = ExecutionStatus.ERROR, ExecutionStatus.COMPLETE
QUEUED, RUNNING = ExecutionStatus.SUBMITTED, ExecutionStatus.RUNNING


def image_tick(context: ClusterContext) -> int:
    """Bring all images that are asked for, one after the other; return how many were tried."""
    images = find_wanted(context)
    for image in images:
        bring_image(context, image)
        tell_actors(context)
    if not images:
        tell_actors(context)
    return len(images)


class Killed(BaseException):
    """What a crash point raises: not an Exception, as a kill is not."""


class Faulty:
    """A pool of sessions that fail where a test says so.

    Attributes:
        fail: called with the verb and its first argument before each one; raises or does not.
        asked: every verb and first argument that came through.
    """

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool
        self.fail: Callable[[str, object], None] = lambda _verb, _about: None
        self.asked: list[tuple[str, object]] = []

    def session(self, username: str) -> Any:
        self.fail("session", username)
        return FaultySession(self, self._pool.session(username))


class FaultySession:
    def __init__(self, pool: Faulty, session: UserSession) -> None:
        self._pool = pool
        self._session = session

    def __getattr__(self, verb: str) -> Any:
        real = getattr(self._session, verb)
        if not callable(real):
            return real

        def call(about: object, *args: object, **given: object) -> object:
            self._pool.fail(verb, about)
            self._pool.asked.append((verb, about))
            return real(about, *args, **given)

        return call


class World:
    """Everything that one scheduler sees, and what a test does to it.

    Attributes:
        starts: how often a container was started for each execution, by any worker.
        hands: the workers that `work_all` has at work, or waiting for more.
    """

    def __init__(
        self, site: Site, database: Database, clock: ManualClock, sessions: SessionPool
    ) -> None:
        self.database = database
        self.clock = clock
        self.slurm = FakeSlurm()
        self.sessions = Faulty(sessions)
        self.starts: Counter[str] = Counter()
        self.hands: list[Hand] = []
        self.context = ClusterContext(
            name="alpha",
            site=site,
            database=database,
            sessions=self.sessions,  # type: ignore[arg-type]
            submitters=self.sessions,  # type: ignore[arg-type]
            observer=lambda: sessions.session("bridge"),
            slurm=self.slurm,
            clock=clock,
            program=(b"the program", "0" * 64),
        )

    # What users do

    def actor(self, **changes: Any) -> Actor:
        """Add an actor whose image is there."""
        with self.database.begin() as session:
            image = add_image(
                session,
                status=ImageStatus.READY,
                digest="sha256:" + "1" * 64,
                sif_path="/work/.bridge/images/x.sif",
                config={"Entrypoint": ["/run"], "Cmd": None, "WorkingDir": "/", "Env": None},
            )
            actor = add_actor(session, image_id=image.id, **changes)
            self._know(session, actor, actor.owner)
            return actor

    def post(
        self, actor: Actor, count: int = 1, username: str | None = None, **changes: Any
    ) -> list[str]:
        """Add messages of the actor, to run as its owner or `username`; return execution ids."""
        now = self.clock.now()
        with self.database.begin() as session:
            self._know(session, actor, username or actor.owner)
            ids = []
            for _ in range(count):
                execution = add_execution(
                    session,
                    actor,
                    executor=username or actor.owner,
                    username=username or actor.owner,
                    message_received_time=now,
                )
                add_message(session, execution, **changes)
                ids.append(execution.id)
            return ids

    def _know(self, session: Session, actor: Actor, username: str) -> None:
        """Let the cluster have an account of the user's name, if nothing is known of it."""
        about = {"cluster": actor.cluster, "tenant": actor.tenant, "username": username}
        if session.get(ClusterUser, tuple(about.values())) is None:
            add_account(session, **about)

    # What the scheduler does

    def tick(self, seconds: float = 1, context: ClusterContext | None = None) -> None:
        """Let time pass and do one round of everything, as the loop does."""
        self.clock.push(seconds)
        context = context or self.context
        cancel_tick(context)
        harvest_tick(context)
        plan_and_feed(context)
        for token, _ in due_arrays(context):
            submit_array(context, token)
        settle_arrays(context)
        watch_slurm(context)

    def ticks(self, count: int, seconds: float = 1) -> None:
        """Do several rounds."""
        for _ in range(count):
            self.tick(seconds)

    def tick_until_killed(self, point: str) -> None:
        """Do one round by a scheduler that is killed at a named point."""

        def at(reached: str) -> None:
            if reached == point:
                raise Killed(point)

        try:
            self.tick(2, replace(self.context, at=at))
        except Killed:
            return
        raise AssertionError(f"the point {point} was not reached")

    def run_dry(self, rounds: int = 60) -> None:
        """Let workers and scheduler go on until nothing is left to do."""
        for _ in range(rounds):
            self.work_all()
            self.tick(10)
            if not self.arrays(live=True) and not self.queued():
                return
        raise AssertionError(f"still at work: {[a.status for a in self.arrays(live=True)]}")

    # What there is

    def execution(self, execution_id: str) -> Execution:
        with self.database.read() as session:
            return session.scalars(select(Execution).where(Execution.id == execution_id)).one()

    def statuses(self, ids: Sequence[str]) -> list[ExecutionStatus]:
        return [self.execution(one).status for one in ids]

    def queued(self) -> int:
        with self.database.read() as session:
            query = select(Execution.id).where(
                Execution.status == QUEUED, Execution.array_id.is_(None)
            )
            return len(session.scalars(query).all())

    def arrays(self, *, live: bool = False) -> list[Array]:
        with self.database.read() as session:
            arrays = session.scalars(select(Array).order_by(Array.planned_at)).all()
        return [a for a in arrays if not live or a.status is not ArrayStatus.ENDED]

    def array(self) -> Array:
        """Return the one array that has not ended."""
        [array] = self.arrays(live=True)
        return array

    def workers(self) -> dict[str, Worker]:
        with self.database.read() as session:
            return {worker.name: worker for worker in session.scalars(select(Worker))}

    def log(self, execution_id: str) -> str:
        with self.database.read() as session:
            return session.get_one(Log, execution_id).text

    def messages(self) -> int:
        with self.database.read() as session:
            return len(session.scalars(select(Message.execution_id)).all())

    # What the cluster does

    def hand(self, index: int = 0, array: Array | None = None) -> Hand:
        """Start an array task and return its worker, joined."""
        array = array or self.array()
        job = self.slurm.job_named(job_name(array.id))
        self.slurm.start(job.id, index)
        return Hand(self, job.id, index).join()

    def work_all(self) -> None:
        """Let every array task that waits start, and every worker do all that is there to do."""
        self.work_of(None)

    def work_of(self, username: str | None) -> None:
        """Do so with one user's alone."""
        for job in list(self.slurm.jobs.values()):
            if username not in (None, job.username):
                continue
            for task in job.tasks:
                if task.state == "PENDING":
                    self.slurm.start(job.id, task.index)
                    hand = Hand(self, job.id, task.index)
                    try:
                        self.hands.append(hand.join())
                    except SpoolError:  # no array.json: the spool was taken back
                        self.slurm.end(job.id, task.index, "FAILED", "2:0")
        self.hands = [hand for hand in self.hands if hand.go_on()]

    def leave_all(self) -> None:
        """Let the workers that wait lose patience."""
        for hand in self.hands:
            hand.leave()
        self.hands.clear()


class Hand:
    """A worker that does one thing at a time, by the real worker's own rooms."""

    def __init__(self, world: World, job_id: int, index: int, worker: int | None = None) -> None:
        """Be the worker of an array task, or the one of the index `worker` in its slots."""
        job = world.slurm.jobs[job_id]
        self.world = world
        self._job = job
        self.job_id, self.index = job_id, index
        self.worker = index if worker is None else worker
        self.name = f"{self.worker}.{job.tasks[index].restarts}"
        token = job.name.removeprefix(JOB_NAME_PREFIX)
        self.root = Path(world.context.spool_root(job.username)) / token
        self.spool = Spool(str(self.root))
        self.journal = Journal(str(self.root / "journal"), self.name)
        self.todo: list[str] = []
        self.seen: dict[str, str] = {}  # the actor's state as each message brought it

    def join(self) -> Hand:
        self.spool.read_array()
        if not self.spool.take_ownership(self.job_id, self.name):
            raise AssertionError("the array belongs to another job")
        self.journal.create()
        number = self.job_id * 1000 + self.index
        self.journal.write(
            {"t": "joined", "worker": self.name, "host": "c1", "pid": 1, "job": number,
             "array_job": self.job_id}
        )  # fmt: skip
        return self

    def claim(self) -> Chunk | None:
        self.journal.check()
        chunk = self.spool.claim(self.name)
        if chunk is not None:
            assert not chunk.bad_lines
            self.todo += [message.id for message in chunk.messages]
            for message in chunk.messages:
                self.seen[message.id] = message.env["_abaco_actor_state"]
        return chunk

    def begin(self) -> str:
        """Start the next message."""
        execution_id = self.todo[0]
        self.journal.write({"t": "started", "id": execution_id})
        self.todo.pop(0)
        self.world.starts[execution_id] += 1
        return execution_id

    def finish(self, execution_id: str, exit_code: int = 0, log: str = "", **more: Any) -> None:
        began = self.world.clock.now().timestamp()
        self.journal.write(finished(execution_id, began, exit_code=exit_code, log=log, **more))

    def leave_alone(self, why: str = "empty") -> None:
        """Leave; others of its array task stay."""
        self.journal.write({"t": "left", "why": why, "remaining": list(self.todo)})

    def leave(self, why: str = "empty") -> None:
        self.leave_alone(why)
        if self.world.slurm.jobs.get(self.job_id) is self._job:  # its id may be another's by now
            self.world.slurm.end(self.job_id, self.index)

    def go_on(self) -> bool:
        """Do all that is there to do, as a real worker does; whether it waits for more then."""
        if self.world.slurm.jobs.get(self.job_id) is not self._job:
            return False
        if self._job.tasks[self.index].state != "RUNNING":
            return False  # killed, or taken away
        try:
            while not self.is_told_to_leave():
                if self.todo:
                    self.do_next()
                elif self.claim() is None:
                    return True
            self.leave("stop")
        except Fenced:
            self.world.slurm.end(self.job_id, self.index, "FAILED", "3:0")
        return False

    def is_told_to_leave(self) -> bool:
        return self.spool.has_order("stop") or self.spool.has_order("leave", str(self.worker))

    def run_rest(self) -> None:
        """Work until there is nothing left, and leave."""
        while self.claim():
            while self.todo:
                self.do_next()
        self.leave()

    def do_next(self) -> None:
        """Run the next message, unless somebody wants it ended."""
        if self.spool.has_order("cancel", self.todo[0]):
            self.finish(self.todo.pop(0), 143, ended_by="cancel")
        else:
            self.finish(self.begin())


def finished(execution_id: str, started_at: float, **changes: Any) -> dict[str, Any]:
    """Return a `finished` record with every field."""
    return {
        "t": "finished",
        "id": execution_id,
        "started_at": started_at,
        "exit_code": 0,
        "runtime_error": None,
        "ended_by": None,
        "pid": 7,
        "cpu_ns": 1_000_000,
        "max_rss_kib": 1024,
        "io_bytes": 10,
        "log": "",
        "log_bytes": 0,
        "log_truncated": False,
        "oom_killed": False,
        "notes": "",
        "results": None,
        "state": None,
    } | changes


__all__ = ["BAD", "GOOD", "QUEUED", "RUNNING", "Hand", "Killed", "World", "finished", "new_id"]
