"""Workers: list, ensure a number, delete (abaco_contract.md 3.14, 4.3).

A worker is an array task, or a slot of one (bridge.core.slots), real ones alone: REQUESTED while
Slurm has not started it, then READY or BUSY as its journal says. Abaco starts one when an actor is
registered; here an allocation is held for nobody until there is a message for it, or an admin asks
for workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.slots import array_layout
from bridge.core.statuses import ArrayStatus, Level, WorkerStatus
from bridge.db import Actor, Array, ArrayTask, Image, Worker
from bridge.errors import InvalidField, NotFound, PermissionDenied
from bridge.node.names import worker_id
from bridge.services.access import find_actor
from bridge.sites import Site

# bridge.harvest's sentence for a worker that Slurm told to end; Slurm may start its task again.
SIGNALLED = "The worker left: signal."


@dataclass(frozen=True)
class LiveTask:
    """A worker that may still run something, whether its array task has started or not.

    Attributes:
        array: of which.
        index: which of its workers.
        name: ``<index>.<restart count>``.
        worker: its row, None before it has joined.
        is_leaving: it takes nothing more.
    """

    array: Array
    index: int
    name: str
    worker: Worker | None
    is_leaving: bool

    @property
    def id(self) -> str:
        """The worker's id; it is the same before and after it has joined."""
        return worker_id(self.array.id, self.name)

    @property
    def slurm_task(self) -> int:
        """The index of the array task that it is in, with others where that has slots."""
        return array_layout(self.array.task_count, self.array.request).task_of(self.index)

    @property
    def status(self) -> WorkerStatus:
        """The worker's status."""
        return self.worker.status if self.worker else WorkerStatus.REQUESTED


@dataclass(frozen=True)
class ActorWorker:
    """A worker as it is shown, with the image that it runs."""

    task: LiveTask
    image: str


def find_live_tasks(session: Session, arrays: Collection[Array]) -> dict[str, list[LiveTask]]:
    """Return the live workers of `arrays`, none of which has ended, by array id, in order."""
    ids = [array.id for array in arrays]
    workers: dict[str, dict[int, Worker]] = defaultdict(dict)
    for worker in session.scalars(select(Worker).where(Worker.array_id.in_(ids))):
        index, restart = parse_name(worker.name)
        known = workers[worker.array_id].get(index)
        if known is None or parse_name(known.name)[1] < restart:
            workers[worker.array_id][index] = worker
    notes: dict[str, dict[int, ArrayTask]] = defaultdict(dict)
    for note in session.scalars(select(ArrayTask).where(ArrayTask.array_id.in_(ids))):
        notes[note.array_id][note.task_index] = note
    found: dict[str, list[LiveTask]] = {}
    for array in arrays:
        found[array.id] = tasks = []
        for index in range(array.task_count):
            task = _live_task(
                array, index, workers[array.id].get(index), notes[array.id].get(index)
            )
            if task is not None:
                tasks.append(task)
    return found


def _live_task(
    array: Array, index: int, worker: Worker | None, note: ArrayTask | None
) -> LiveTask | None:
    if note is not None and note.ended_at is not None:
        return None
    restart = 0
    if worker is not None:
        restart = parse_name(worker.name)[1]
        if worker.status is WorkerStatus.SHUTTING_DOWN or worker.dead_reason is not None:
            if worker.fenced_at is None and worker.dead_reason != SIGNALLED:
                return None  # it left by itself
            worker, restart = None, restart + 1  # Slurm took it away, and may start it again
    is_leaving = note is not None and note.leave_requested_at is not None
    return LiveTask(array, index, f"{index}.{restart}", worker, is_leaving)


def parse_name(name: str) -> tuple[int, int]:
    """Return the index and the restart count of a worker's name."""
    index, restart = name.split(".")
    return int(index), int(restart)


def list_workers(
    session: Session,
    identity: Identity,
    actor_id: str,
    *,
    limit: int | None = None,
    skip: int = 0,
) -> list[ActorWorker]:
    """Return the actor's workers, those of its oldest array first."""
    actor = find_actor(session, identity, actor_id, Level.READ)
    end = None if limit is None else skip + limit
    return workers_of(session, actor)[skip:end]


def workers_of(session: Session, actor: Actor) -> list[ActorWorker]:
    """Return the actor's workers, less those that take nothing more."""
    return workers_of_all(session, [actor])[actor.id]


def workers_of_all(session: Session, actors: Sequence[Actor]) -> dict[str, list[ActorWorker]]:
    """Return the workers of each of `actors` by its id, in the same few statements as of one."""
    arrays = _working_arrays(session, actors)
    tasks = find_live_tasks(session, arrays)
    by_id = {actor.id: actor for actor in actors}
    former = {a.image_id for a in arrays if a.image_id != by_id[a.actor_id].image_id}
    references = {
        image.id: image.reference
        for image in session.scalars(select(Image).where(Image.id.in_(former)))
    }
    found: dict[str, list[ActorWorker]] = {actor.id: [] for actor in actors}
    for array in arrays:
        image = references.get(array.image_id, by_id[array.actor_id].image)
        found[array.actor_id] += [
            ActorWorker(task, image) for task in tasks[array.id] if not task.is_leaving
        ]
    return found


def is_working() -> ColumnElement[bool]:
    """Return, as SQL, whether an array's workers may still take something."""
    return and_(
        Array.status.in_((ArrayStatus.PLANNED, ArrayStatus.SUBMITTED)),
        Array.leaving_at.is_(None),
        Array.stop_requested.is_(False),
        Array.drain_requested.is_(False),
    )


def _working_arrays(session: Session, actors: Sequence[Actor]) -> Sequence[Array]:
    return session.scalars(
        select(Array)
        .where(Array.actor_id.in_([actor.id for actor in actors]), is_working())
        .order_by(Array.planned_at, Array.id)
    ).all()


def find_worker(
    session: Session, identity: Identity, actor_id: str, wanted: str, level: Level = Level.READ
) -> ActorWorker:
    """Return one worker of the actor.

    Raises:
        NotFound: the actor has no such worker, or no more.
    """
    actor = find_actor(session, identity, actor_id, level)
    for worker in workers_of(session, actor):
        if worker.task.id == wanted:
            return worker
    raise NotFound("Worker not found.")


def ensure_workers(
    session: Session, identity: Identity, site: Site, actor_id: str, count: int
) -> tuple[str, int, int]:
    """Ask for workers until the actor has `count`; they stay when there is nothing to do.

    The scheduler plans them as an array without messages. `max_workers` does not count here, as
    in Abaco, but the size of one array does.

    Returns:
        The actor's id, how many are new, and how many there were.

    Raises:
        PermissionDenied: the caller is no admin.
        InvalidField: it is more than one array may have.
    """
    actor = find_actor(session, identity, actor_id, Level.UPDATE, lock=True)
    if not identity.is_admin:
        raise PermissionDenied("Not authorized -- only admins are authorized to update workers.")
    cluster = site.clusters.get(actor.cluster)
    if cluster is None:
        raise InvalidField(
            f"The site has no cluster {actor.cluster} any more, on which this actor ran. Update "
            "the actor."
        )
    most = cluster.max_tasks_per_array
    if count > most:
        raise InvalidField(f"Invalid num: got {count}, expected at most {most} on this cluster.")
    present = workers_of(session, actor)
    if count > len(present):
        actor.workers_asked = max(actor.workers_asked, count)
    arrays = {worker.task.array.id for worker in present}
    session.execute(
        update(Array).where(Array.id.in_(arrays)).values(is_standing=True, idle_since=None)
    )
    return actor.id, max(0, count - len(present)), len(present)


def delete_worker(
    session: Session, identity: Identity, actor_id: str, wanted: str, now: datetime
) -> None:
    """Have a worker leave: it ends what it runs and takes nothing more; it is listed no more.

    Raises:
        NotFound: the actor has no such worker, or no more.
    """
    task = find_worker(session, identity, actor_id, wanted, Level.UPDATE).task
    # Whoever writes of an array's tasks holds its row, so that none waits for another in a circle.
    session.get_one(Array, task.array.id, with_for_update=True)
    request_leave(session, task, now)


def request_leave(session: Session, task: LiveTask, now: datetime) -> None:
    """Note that the task's worker is to leave; the scheduler tells it. The array is locked."""
    row = session.get(ArrayTask, (task.array.id, task.index))
    if row is None:
        row = ArrayTask(array_id=task.array.id, task_index=task.index)
        session.add(row)
    row.leave_requested_at = row.leave_requested_at or now
