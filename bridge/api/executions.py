"""``/actors/<id>/executions`` and what is below it (abaco_contract.md 3.4 to 3.6)."""

from __future__ import annotations

from flask import Blueprint, Response

from bridge.api.audit import changing
from bridge.api.context import case, context, identity, links
from bridge.api.describe import describe
from bridge.api.envelope import success, success_in_pages
from bridge.api.parsing import read_fields, read_page
from bridge.api.search import (
    FoundExecutions,
    FoundLogs,
    SearchQuery,
    answer_search,
    is_search,
)
from bridge.api.views import (
    ActorView,
    ExecutionsView,
    ExecutionView,
    LogsView,
    show_actor,
    show_execution,
    show_listed,
    show_summary,
)
from bridge.core.case import spell, spell_keys, spell_object
from bridge.core.statuses import Level
from bridge.core.usage import Usage, parse_usage
from bridge.services.executions import (
    cancel_execution,
    execution_pages,
    find_execution,
    read_log,
    record_execution,
    summarise_executions,
)

blueprint = Blueprint("executions", __name__, url_prefix="/actors/<actor_id>/executions")


@blueprint.get("")
@describe("list_executions", query=SearchQuery, result=ExecutionsView | FoundExecutions)
def summarise(actor_id: str) -> Response:
    """Show the sums over all executions, and the list in the order of creation; or search them.

    Abaco's clients expect the whole list where they ask for no page of it: a long one is streamed.
    """
    if is_search():
        message = "Executions search completed successfully."
        return answer_search("executions", message, actor_id=actor_id)
    here, page, wanted = context(), read_page(), case()
    with here.database.read() as session:
        summary = summarise_executions(session, identity(), actor_id)
    pages = (
        [spell_keys(show_listed(row), wanted) for row in rows]
        for rows in execution_pages(here.database, summary, **page)
    )
    result = spell_object(show_summary(summary, links()), wanted)
    message = "Actor executions retrieved successfully."
    return success_in_pages(pages, message, result=result, key=spell("executions", wanted))


@blueprint.post("")
@describe("add_execution", body=Usage, result=ActorView)
def record(actor_id: str) -> Response:
    """Put down the usage of an execution that ran elsewhere; answers the actor."""
    here = context()
    fields = read_fields(case())
    usage = parse_usage(fields.get, fields.spell)
    with changing() as session:
        actor = record_execution(session, identity(), actor_id, usage, here.now())
    shown = spell_object(show_actor(actor, links()), case())
    return success(shown, "Actor execution added successfully.")


@blueprint.get("/<execution_id>")
@describe("get_execution", result=ExecutionView)
def get(actor_id: str, execution_id: str) -> Response:
    """Show one execution."""
    with context().database.read() as session:
        found = find_execution(session, identity(), actor_id, execution_id, Level.READ)
    result = spell_object(show_execution(*found, links()), case())
    return success(result, "Actor execution retrieved successfully.")


@blueprint.delete("/<execution_id>")
@describe("delete_execution")
def cancel(actor_id: str, execution_id: str) -> Response:
    """End an execution: what runs is stopped (Abaco's force quit), what waits never runs."""
    here = context()
    with changing() as session:
        is_over = cancel_execution(session, identity(), actor_id, execution_id, here.now())
    if is_over:
        return success(None, f"Execution {execution_id} was cancelled before it ran.")
    return success(None, f"Issued force quit command for execution {execution_id}.")


@blueprint.get("/<execution_id>/logs")
@describe("get_execution_logs", query=SearchQuery, result=LogsView | FoundLogs)
def logs(actor_id: str, execution_id: str) -> Response:
    """Show what the container printed, so far or in all; with filters, search it."""
    if is_search():
        message = "Logs search completed successfully."
        return answer_search("logs", message, actor_id=actor_id, execution_id=execution_id)
    read_page()  # what is no page is refused, though one log has no pages
    here, to = context(), links()
    with here.database.read() as session:
        actor, execution = find_execution(session, identity(), actor_id, execution_id, Level.READ)
        text = read_log(session, execution.id, here.now())
    result: LogsView = {
        "logs": text,
        "_links": {
            "self": to.logs(actor.id, execution.id),
            "owner": to.owner(actor.owner),
            "execution": to.execution(actor.id, execution.id),
        },
    }
    return success(spell_object(result, case()), "Logs retrieved successfully.")
