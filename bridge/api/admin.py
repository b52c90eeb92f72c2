"""``/actors/admin`` and what is below it (abaco_contract.md 3.16).

For admins, each of the actors of their own tenant. Lists come in pages of `MAX_PAGE` actors at
most; `limit` and `skip` ask for others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from flask import Blueprint, Response

from bridge.api.context import case, context, identity, links
from bridge.api.describe import describe
from bridge.api.envelope import success
from bridge.api.parsing import read_page
from bridge.api.schemas import SPELLED, With
from bridge.api.views import ActorView, WorkerView, show_actor, show_worker
from bridge.core.case import spell, spell_keys, spell_object
from bridge.core.statuses import WorkerStatus
from bridge.db import Actor
from bridge.services.admin import (
    MAX_PAGE,
    AdminActor,
    Group,
    list_all_actors,
    list_all_workers,
    sum_executions,
)
from bridge.services.workers import ActorWorker

blueprint = Blueprint("admin", __name__, url_prefix="/actors/admin")


class _Page(TypedDict, total=False):
    limit: Annotated[
        int,
        With(minimum=0, maximum=999_999_999),
        f"How many actors are shown at most; never more than {MAX_PAGE}.",
    ]
    skip: Annotated[int, With(minimum=0, maximum=999_999_999), "How many are left out first."]


class AdminWorkerView(WorkerView):
    """A worker, and whose it is."""

    actor_id: str
    actor_dbid: str


class AdminActorView(ActorView):
    """An actor with what Abaco hides from others, and what is below it."""

    tenant: str
    db_id: str
    workers: Annotated[list[WorkerView], SPELLED]
    messages: Annotated[int, "Messages that wait."]
    executions: Annotated[int, "How many there ever were."]
    runtime: Annotated[int, "Seconds, of all of them."]


class WorkersSummary(TypedDict):
    """How many workers the actors shown have, by status."""

    total_workers: int
    ready_workers: int
    requested_workers: int
    error_workers: int
    busy_workers: int
    actors_no_workers: int


class AdminWorkersView(TypedDict):
    """The workers of one page of actors."""

    summary: WorkersSummary
    workers: Annotated[list[AdminWorkerView], SPELLED]


class ExecutionsSummary(TypedDict):
    """Sums over the tenant's executions: of every actor, and of those that are not deleted."""

    total_actors_all: int
    total_actors_all_with_executions: int
    total_executions_all: int
    total_execution_runtime_all: int
    total_execution_cpu_all: int
    total_execution_io_all: int
    total_actors_existing: int
    total_actors_existing_with_executions: int
    total_executions_existing: int
    total_execution_runtime_existing: int
    total_execution_cpu_existing: int
    total_execution_io_existing: int


class ActorUsageView(TypedDict):
    """What one actor has used."""

    actor_id: str
    owner: str
    image: str
    total_executions: int
    total_execution_runtime: int
    total_execution_cpu: int
    total_execution_io: int


class AdminExecutionsView(TypedDict):
    """The sums, and the actors that are not deleted, one page of them."""

    summary: ExecutionsSummary
    actors: Annotated[list[ActorUsageView], SPELLED]


@blueprint.get("")
@describe("admin_list_actors", query=_Page, result=list[AdminActorView])
def actors() -> Response:
    """List the tenant's actors with their workers and sums; admins alone may."""
    page = read_page()
    with context().database.read() as session:
        found = list_all_actors(session, identity(), **page)
    return success([_show_actor(one) for one in found], "Actors retrieved successfully.")


@blueprint.get("/workers")
@describe("admin_list_workers", query=_Page, result=AdminWorkersView)
def workers() -> Response:
    """List the workers of the tenant's actors; admins alone may."""
    page = read_page()
    with context().database.read() as session:
        found = list_all_workers(session, identity(), **page)
    shown = [
        spell_keys(_show_worker(actor, worker), case())
        for actor, workers in found
        for worker in workers
    ]
    result: dict[str, Any] = {
        "summary": _summarise_workers(found),
        spell("workers", case()): shown,
    }
    return success(result, "Workers retrieved successfully.")


@blueprint.get("/executions")
@describe("admin_list_executions", query=_Page, result=AdminExecutionsView)
def executions() -> Response:
    """Show what the tenant's actors have used; admins alone may."""
    page = read_page()
    with context().database.read() as session:
        usage = sum_executions(session, identity(), **page)
    shown: list[ActorUsageView] = [
        {
            "actor_id": actor.id,
            "owner": actor.owner,
            "image": actor.image,
            "total_executions": totals.executions,
            "total_execution_runtime": totals.runtime,
            "total_execution_cpu": totals.cpu,
            "total_execution_io": totals.io,
        }
        for actor, totals in usage.actors
    ]
    result = {
        "summary": {**_show_group(usage.all, "all"), **_show_group(usage.existing, "existing")},
        "actors": [spell_keys(one, case()) for one in shown],
    }
    return success(result, "Executions retrieved successfully.")


def _show_actor(found: AdminActor) -> dict[str, Any]:
    actor = found.actor
    shown: AdminActorView = {
        **show_actor(actor, links()),
        "tenant": actor.tenant,
        "db_id": f"{actor.tenant}_{actor.id}",
        "workers": [],
        "messages": found.waiting,
        "executions": found.totals.executions,
        "runtime": found.totals.runtime,
    }
    result = spell_object(shown, case())
    result["workers"] = [spell_keys(show_worker(worker), case()) for worker in found.workers]
    return result


def _show_worker(actor: Actor, worker: ActorWorker) -> AdminWorkerView:
    return {
        **show_worker(worker),
        "actor_id": actor.id,
        "actor_dbid": f"{actor.tenant}_{actor.id}",
    }


def _summarise_workers(found: Sequence[tuple[Actor, Sequence[ActorWorker]]]) -> WorkersSummary:
    counts = Counter(worker.task.status for _, workers in found for worker in workers)
    return {
        "total_workers": counts.total(),
        "ready_workers": counts[WorkerStatus.READY],
        "requested_workers": counts[WorkerStatus.REQUESTED],
        "error_workers": 0,  # one that failed is gone, and its executions say why
        "busy_workers": counts[WorkerStatus.BUSY],
        "actors_no_workers": sum(not workers for _, workers in found),
    }


def _show_group(group: Group, name: str) -> dict[str, int]:
    return {
        f"total_actors_{name}": group.actors,
        f"total_actors_{name}_with_executions": group.actors_with_executions,
        f"total_executions_{name}": group.totals.executions,
        f"total_execution_runtime_{name}": group.totals.runtime,
        f"total_execution_cpu_{name}": group.totals.cpu,
        f"total_execution_io_{name}": group.totals.io,
    }
