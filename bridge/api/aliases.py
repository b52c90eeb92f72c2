"""``/actors/aliases`` and ``/actors/aliases/<alias>`` (abaco_contract.md 3.11)."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flask import Blueprint, Response

from bridge.api.audit import changing, note
from bridge.api.context import case, context, identity, links
from bridge.api.describe import PageQuery, describe
from bridge.api.envelope import success, success_in_pages
from bridge.api.parsing import Fields, read_field, read_fields, read_page
from bridge.api.schemas import With
from bridge.api.views import AliasView, show_alias
from bridge.audit.entries import shown_name
from bridge.core.actors import MISSING
from bridge.core.case import spell_object
from bridge.core.fields import read_text
from bridge.core.names import ALIAS_PATTERN
from bridge.core.statuses import Level
from bridge.db import Alias
from bridge.errors import InvalidField
from bridge.services.aliases import (
    create_alias,
    delete_alias,
    find_alias,
    list_aliases,
    update_alias,
)

blueprint = Blueprint("aliases", __name__, url_prefix="/actors/aliases")

_INVALID = "Invalid alias description:"
_MISSING = "Invalid alias description. Missing required field:"


class _UpdateBody(TypedDict):
    actor_id: Annotated[str, "The actor's id, or another alias of it."]


class _Body(_UpdateBody):
    alias: Annotated[str, With(pattern=ALIAS_PATTERN), "The name, unique in the tenant."]


@blueprint.get("")
@describe("list_aliases", query=PageQuery, result=list[AliasView])
def list_all() -> Response:
    """List every alias of the tenant."""
    to, wanted = links(), case()
    pages = (
        [spell_object(show_alias(alias, to), wanted) for alias in aliases]
        for aliases in list_aliases(context().database, identity(), **read_page())
    )
    return success_in_pages(pages, "Aliases retrieved successfully.")


@blueprint.post("")
@describe(
    "create_alias",
    body=_Body,
    result=AliasView,
    errors={404: "There is no such actor."},
    gives={"alias": "alias"},
)
def create() -> Response:
    """Name an actor on which the caller has UPDATE."""
    here = context()
    fields = read_fields(case())
    alias = read_field(
        fields,
        "alias",
        read_text,
        "Actual alias for the actor; must be unique within a tenant.",
        invalid=_INVALID,
        missing=_MISSING,
    )
    actor_id = _read_actor_id(fields)
    with changing() as session:
        made = create_alias(session, identity(), alias, actor_id, here.now())
        note(object=f"alias {shown_name(made.alias)}", detail=f"to actor {made.actor_id}")
    return _answer(made, "Actor alias created successfully.")


@blueprint.get("/<alias>")
@describe("get_alias", result=AliasView)
def get(alias: str) -> Response:
    """Show one alias."""
    with context().database.read() as session:
        found = find_alias(session, identity(), alias, Level.READ)
    return _answer(found, "Alias retrieved successfully.")


@blueprint.put("/<alias>")
@describe("update_actor_alias", body=_UpdateBody, result=AliasView)
def update(alias: str) -> Response:
    """Point the alias at another actor; the caller needs UPDATE on both."""
    fields = read_fields(case())
    if fields.get("alias") is not MISSING:
        raise InvalidField(
            "Invalid alias update description. The alias itself cannot be updated in a PUT request."
        )
    actor_id = _read_actor_id(fields)
    with changing() as session:
        changed = update_alias(session, identity(), alias, actor_id)
        note(detail=f"to actor {changed.actor_id}")
    return _answer(changed, "Actor alias updated successfully.")


@blueprint.delete("/<alias>")
@describe("delete_alias")
def delete(alias: str) -> Response:
    """Remove the alias, with its permissions and nonces; the actor stays."""
    with changing() as session:
        delete_alias(session, identity(), alias)
    return success(None, f"Alias {alias} deleted successfully.")


def _read_actor_id(fields: Fields) -> str:
    return read_field(
        fields,
        "actor_id",
        read_text,
        "The human readable id for the actor associated with this alias.",
        invalid=_INVALID,
        missing=_MISSING,
    )


def _answer(alias: Alias, message: str) -> Response:
    return success(spell_object(show_alias(alias, links()), case()), message)
