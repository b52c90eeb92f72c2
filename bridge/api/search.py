"""``/actors/search/<type>``, and lists that are given more than a page (abaco_contract.md 3.13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from bridge.api.context import case, context, identity, links
from bridge.api.describe import PageQuery, describe
from bridge.api.envelope import success
from bridge.api.parsing import read_page
from bridge.api.schemas import SPELLED
from bridge.api.views import (
    ActorView,
    FoundExecutionView,
    FoundLogView,
    FoundWorkerView,
    show_actor,
    show_found_execution,
    show_found_log,
    show_found_worker,
)
from bridge.core.case import spell_keys
from bridge.core.search import Search, parse_search
from bridge.core.statuses import Level
from bridge.db import Actor
from bridge.errors import InvalidField
from bridge.services.access import find_actor
from bridge.services.executions import find_execution
from bridge.services.search import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    NAMES,
    TYPES,
    Found,
    fields_of,
    search_records,
    search_workers,
)

blueprint = Blueprint("search", __name__, url_prefix="/actors/search")

# What a query may have without being a search (clients.md 0.12).
_NO_FILTERS = ("limit", "skip", "offset", "x-nonce")


class SearchQuery(PageQuery, total=False):
    """A page, words, and filters: any other key is a field with or without an operator."""

    search: Annotated[str, "Words, any of which is found somewhere in a record's texts."]
    exactsearch: Annotated[str, "A phrase that is found somewhere in a record's texts."]


class MetadataView(TypedDict):
    """How much was found, and what part of it is shown."""

    total_count: int
    records_skipped: int
    record_limit: int
    count_returned: int


class FoundActors(TypedDict):
    """Actors that were searched for."""

    _metadata: Annotated[MetadataView, SPELLED]
    search: Annotated[list[ActorView], SPELLED]


class FoundExecutions(TypedDict):
    """Executions that were searched for."""

    _metadata: Annotated[MetadataView, SPELLED]
    search: Annotated[list[FoundExecutionView], SPELLED]


class FoundLogs(TypedDict):
    """Logs that were searched for."""

    _metadata: Annotated[MetadataView, SPELLED]
    search: Annotated[list[FoundLogView], SPELLED]


class FoundWorkers(TypedDict):
    """Workers that were searched for."""

    _metadata: Annotated[MetadataView, SPELLED]
    search: Annotated[list[FoundWorkerView], SPELLED]


@blueprint.get("/<search_type>")
@describe(
    "search_database",
    query=SearchQuery,
    result=FoundActors | FoundExecutions | FoundWorkers | FoundLogs,
)
def search(search_type: str) -> Response:
    """Search the actors that the caller may read, their executions, workers or logs.

    Every query key but the four named ones is a filter: a field, with a dotted path below one that
    holds JSON, and `.eq .neq .lt .lte .gt .gte .in .nin .between .like .nlike` or nothing behind
    it. `.in` takes a JSON list, `.between` two values with a comma, `.like` a regular expression
    without look-around and back-references. Dates are of any precision from the year on.
    """
    if search_type not in NAMES:
        raise InvalidField(
            f"Invalid search type: got {search_type[:64]!r}, expected one of: {', '.join(NAMES)}."
        )
    return answer_search(search_type, "Search completed successfully.")


def is_search() -> bool:
    """Return whether the request asks a list for more than a page of it."""
    return any(key not in _NO_FILTERS for key in request.args)


def answer_search(
    search_type: str, message: str, *, actor_id: str | None = None, execution_id: str | None = None
) -> Response:
    """Answer the search that the request's query asks for, in an actor or execution if given.

    Raises:
        InvalidField: the query has a key that is no field, or a value that does not fit it.
        QueryTooCostly: it would take too long, or find too much at once.
    """
    page = {"limit": DEFAULT_LIMIT, "skip": 0} | read_page()
    page["limit"] = min(page["limit"], MAX_LIMIT)
    filters = ((k, v) for k, v in request.args.items(multi=True) if k not in _NO_FILTERS)
    wanted = parse_search(filters, fields_of(search_type))
    with context().database.read() as session:
        actor = None
        if actor_id is not None:
            actor = find_actor(session, identity(), actor_id, Level.READ)
        if actor is not None and execution_id is not None:
            find_execution(session, identity(), actor.id, execution_id, Level.READ)
        found = _search(session, search_type, wanted, page, actor, execution_id)
    metadata = {
        "total_count": found.total,
        "records_skipped": page["skip"],
        "record_limit": page["limit"],
        "count_returned": len(found.records),
    }
    shown = [spell_keys(record, case()) for record in found.records]  # nulls kept in both cases
    return success({"_metadata": spell_keys(metadata, case()), "search": shown}, message)


_SHOWN: dict[str, Callable[..., Any]] = {
    "actors": show_actor,
    "executions": show_found_execution,
    "logs": show_found_log,
}


def _search(
    session: Session,
    search_type: str,
    wanted: Search,
    page: Mapping[str, int],
    actor: Actor | None,
    execution_id: str | None,
) -> Found:
    if search_type == "workers":
        return search_workers(session, identity(), wanted, show_found_worker, actor=actor, **page)
    show, to = _SHOWN[search_type], links()
    return search_records(
        session,
        identity(),
        TYPES[search_type],
        wanted,
        lambda *row: show(*row, to),
        context().now(),
        actor=actor,
        execution_id=execution_id,
        **page,
    )
