"""``/actors/<id>/state`` (abaco_contract.md 3.8)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from bridge.api.audit import changing
from bridge.api.context import case, context, identity, links
from bridge.api.describe import describe
from bridge.api.envelope import success
from bridge.api.parsing import parse_json
from bridge.api.views import ActorView, StateView, show_actor
from bridge.core.case import spell_object
from bridge.core.statuses import Level
from bridge.errors import InvalidField
from bridge.services.access import find_actor
from bridge.services.state import check_state, replace_state

blueprint = Blueprint("state", __name__, url_prefix="/actors/<actor_id>/state")

_NOT_JSON = "Invalid actor state description: state must be JSON serializable."


@blueprint.get("")
@describe("get_state", result=StateView)
def get(actor_id: str) -> Response:
    """Show the state, `{}` while nothing has set it."""
    with context().database.read() as session:
        actor = find_actor(session, identity(), actor_id, Level.READ)
    result: StateView = {"state": actor.state}
    return success(result, "Actor state retrieved successfully.")


@blueprint.post("")
@describe("update_state", body=Any, result=ActorView)
def replace(actor_id: str) -> Response:
    """Replace the state by the JSON body: any value, empty ones too."""
    if not request.is_json:
        raise InvalidField(f"{_NOT_JSON} Send a JSON body with Content-Type: application/json.")
    try:
        state = parse_json(request.get_data())
    except InvalidField as error:
        raise InvalidField(f"{_NOT_JSON} {error.message}") from error
    check_state(state)
    with changing() as session:
        actor = replace_state(session, identity(), actor_id, state)
    shown = spell_object(show_actor(actor, links()), case())
    return success(shown, "State updated successfully.")
