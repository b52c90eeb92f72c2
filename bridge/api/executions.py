"""``/actors/<id>/executions`` and what is below it (abaco_contract.md 3.4 to 3.6)."""

from __future__ import annotations

from flask import Blueprint, Response

from bridge.api.context import case, context, identity, links
from bridge.api.describe import PageQuery, describe
from bridge.api.envelope import success
from bridge.api.parsing import read_page
from bridge.api.views import (
    ExecutionsView,
    ExecutionView,
    LogsView,
    show_execution,
    show_listed,
    show_summary,
)
from bridge.core.case import spell, spell_keys, spell_object
from bridge.services.executions import find_execution, read_log, summarise_executions

blueprint = Blueprint("executions", __name__, url_prefix="/actors/<actor_id>/executions")


@blueprint.get("")
@describe("list_executions", query=PageQuery, result=ExecutionsView)
def summarise(actor_id: str) -> Response:
    """Show the sums over all executions, and the list in the order of creation."""
    page = read_page()
    with context().database.read() as session:
        summary = summarise_executions(session, identity(), actor_id, **page)
    result = spell_object(show_summary(summary, links()), case())
    result[spell("executions", case())] = [
        spell_keys(show_listed(row), case()) for row in summary.executions
    ]
    return success(result, "Actor executions retrieved successfully.")


@blueprint.get("/<execution_id>")
@describe("get_execution", result=ExecutionView)
def get(actor_id: str, execution_id: str) -> Response:
    """Show one execution."""
    with context().database.read() as session:
        actor, execution = find_execution(session, identity(), actor_id, execution_id)
    result = spell_object(show_execution(actor, execution, links()), case())
    return success(result, "Actor execution retrieved successfully.")


@blueprint.get("/<execution_id>/logs")
@describe("get_execution_logs", result=LogsView)
def logs(actor_id: str, execution_id: str) -> Response:
    """Show what the container printed, so far or in all."""
    here, to = context(), links()
    with here.database.read() as session:
        actor, execution = find_execution(session, identity(), actor_id, execution_id)
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
