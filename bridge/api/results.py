"""``/actors/<id>/executions/<eid>/results`` (abaco_contract.md 3.7) and, beyond Abaco, ``/all``."""

from __future__ import annotations

from flask import Blueprint, Response, request

from bridge.api.context import case, context, identity, links
from bridge.api.describe import BARE, BINARY, PageQuery, describe
from bridge.api.envelope import success
from bridge.api.parsing import read_page
from bridge.api.views import ResultsView, show_result, show_result_list
from bridge.core.case import spell, spell_keys, spell_object
from bridge.core.statuses import Level
from bridge.services.executions import find_execution
from bridge.services.results import list_results, take_result

blueprint = Blueprint(
    "results", __name__, url_prefix="/actors/<actor_id>/executions/<execution_id>/results"
)


@blueprint.get("")
@describe(
    "get_execution_result",
    result=BARE,
    media={BINARY: "The next result, or nothing when none is left."},
)
def take(actor_id: str, execution_id: str) -> Response:
    """Give the next result, bare, and never again; an empty body when none is left.

    A HEAD, which the framework serves by the same function, takes nothing.
    """
    here = context()
    if request.method == "HEAD":
        with here.database.read() as session:
            find_execution(session, identity(), actor_id, execution_id, Level.READ)
            payload = b""
    else:
        with here.database.begin() as session:
            payload = take_result(session, identity(), actor_id, execution_id, here.now())
    response = Response(payload, content_type=BINARY)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@blueprint.get("/all")
@describe("list_execution_results", query=PageQuery, result=ResultsView)
def list_all(actor_id: str, execution_id: str) -> Response:
    """List the results without taking any: `limit` and `skip` page them.

    An answer holds a thousand results and about 4 MiB at most; `next_skip` says where to go on.
    """
    here, page = context(), read_page()
    with here.database.read() as session:
        found = list_results(session, identity(), actor_id, execution_id, here.now(), **page)
    result = spell_object(show_result_list(found, links()), case())
    result[spell("results", case())] = [
        spell_keys(show_result(one), case()) for one in found.results
    ]
    return success(result, "Results retrieved successfully.")
