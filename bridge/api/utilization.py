"""``/actors/utilization`` (abaco_contract.md 3.15)."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flask import Blueprint, Response

from bridge.api.context import context
from bridge.api.describe import describe
from bridge.api.envelope import success
from bridge.services.utilization import measure_utilization

blueprint = Blueprint("utilization", __name__, url_prefix="/actors/utilization")


class UtilizationView(TypedDict):
    """Counts over all tenants, in camelCase under every prefix, as Abaco has them."""

    currentActors: int
    totalActors: int
    workers: int
    commandQueue: int


@blueprint.get("")
@describe("get_utilization", result=Annotated[UtilizationView, "Spelled so in every case."])
def get() -> Response:
    """Show how many actors and workers there are, of all tenants together."""
    with context().database.read() as session:
        found = measure_utilization(session)
    shown: UtilizationView = {
        "currentActors": found.current_actors,
        "totalActors": found.total_actors,
        "workers": found.workers,
        "commandQueue": found.command_queue,
    }
    return success(shown, "Utilization returned successfully.")
