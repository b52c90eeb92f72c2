"""``/actors/<id>/workers`` (abaco_contract.md 3.14)."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flask import Blueprint, Response

from bridge.api.audit import changing, note
from bridge.api.context import case, context, identity
from bridge.api.describe import describe
from bridge.api.envelope import success
from bridge.api.parsing import Fields, read_fields, read_page
from bridge.api.schemas import With
from bridge.api.search import FoundWorkers, SearchQuery, answer_search, is_search
from bridge.api.views import WorkerView, show_worker
from bridge.core.actors import MISSING
from bridge.core.case import spell_object
from bridge.core.fields import read_integer
from bridge.errors import InvalidField
from bridge.services.workers import delete_worker, ensure_workers, find_worker, list_workers

blueprint = Blueprint("workers", __name__, url_prefix="/actors/<actor_id>/workers")

MOST = 2**31 - 1


class WorkersBody(TypedDict, total=False):
    """How many workers an actor is to have."""

    num: Annotated[int, With(minimum=0, maximum=MOST, default=1), "At least so many; 0 means 1."]


@blueprint.get("")
@describe("list_workers", query=SearchQuery, result=list[WorkerView] | FoundWorkers)
def list_all(actor_id: str) -> Response:
    """List the actor's workers: array tasks that run or wait in Slurm's queue; or search them.

    An actor that nobody posts to has none, unlike in Abaco: no allocation is held for nothing.
    """
    if is_search():
        message = "Workers search completed successfully."
        return answer_search("workers", message, actor_id=actor_id)
    page = read_page()
    with context().database.read() as session:
        workers = list_workers(session, identity(), actor_id, **page)
    shown = [spell_object(show_worker(worker), case()) for worker in workers]
    return success(shown, "Workers retrieved successfully.")


@blueprint.post("")
@describe("manage_worker_pool_size", body=WorkersBody, body_required=False)
def ensure(actor_id: str) -> Response:
    """Ensure that the actor has at least so many workers; admins alone may.

    They are there within seconds, at first REQUESTED, and stay for a time that the site sets when
    there is nothing for them to do. Workers that are too many are not ended.
    """
    here = context()
    count = _read_count(read_fields(case()))
    with changing() as session:
        actor, new, before = ensure_workers(session, identity(), here.site, actor_id, count)
        note(detail=f"{count} workers")
    if not new:
        return success(None, f"Actor {actor} already had {before} worker(s).")
    return success(
        None,
        f"Scheduled {new} new worker(s) to start. Previously, there were {before} workers.",
    )


def _read_count(fields: Fields) -> int:
    """Return `num`; as in Abaco, 0 and nothing mean 1.

    Raises:
        InvalidField: it is not a number from 0.
    """
    sent = fields.get("num")
    if sent is MISSING or sent is None:
        return 1
    try:
        count = read_integer(sent)
    except ValueError:
        count = -1
    if not 0 <= count <= MOST:
        raise InvalidField(f"Invalid num: got {str(sent)[:64]!r}, expected an integer from 0.")
    return count or 1


@blueprint.get("/<worker_id>")
@describe("get_worker", result=WorkerView)
def get(actor_id: str, worker_id: str) -> Response:
    """Show one worker."""
    with context().database.read() as session:
        worker = find_worker(session, identity(), actor_id, worker_id)
    return success(spell_object(show_worker(worker), case()), "Worker retrieved successfully.")


@blueprint.delete("/<worker_id>")
@describe("delete_worker")
def delete(actor_id: str, worker_id: str) -> Response:
    """Have a worker leave; what it runs at this moment it runs to its end."""
    here = context()
    with changing() as session:
        delete_worker(session, identity(), actor_id, worker_id, here.now())
    return success(None, "Worker scheduled to be stopped.")
