"""``.../permissions`` of actors, aliases and configs (abaco_contract.md 3.9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from flask import Blueprint, Response
from sqlalchemy.orm import Session

from bridge.api.audit import changing, note
from bridge.api.context import case, context, identity
from bridge.api.describe import describe
from bridge.api.envelope import success
from bridge.api.parsing import read_field, read_fields
from bridge.api.schemas import With
from bridge.audit.entries import shown_name
from bridge.core.fields import read_text
from bridge.core.statuses import Level
from bridge.services.access import find_actor
from bridge.services.aliases import find_alias
from bridge.services.configs import find_config
from bridge.services.permissions import (
    MAX_USERNAME,
    parse_level,
    parse_username,
    read_permissions,
    set_permission,
)

blueprint = Blueprint("permissions", __name__, url_prefix="/actors")

_INVALID = "Invalid permissions description:"


class PermissionBody(TypedDict):
    """Who gets what."""

    user: Annotated[
        str,
        With(minLength=1, maxLength=MAX_USERNAME),
        "The user's name; ABACO_WORLD is every user of the tenant.",
    ]
    level: Annotated[Level, "The level; NONE takes it back."]


@blueprint.get("/<actor_id>/permissions")
@describe("list_permissions", result=dict[str, Level])
def of_actor(actor_id: str) -> Response:
    """Show who has which level on the actor."""
    return _show(find_actor, actor_id)


@blueprint.post("/<actor_id>/permissions")
@describe("update_permissions", body=PermissionBody, result=dict[str, Level])
def set_on_actor(actor_id: str) -> Response:
    """Give a user a level on the actor, in the place of the one they had."""
    return _set(find_actor, actor_id)


@blueprint.get("/aliases/<alias>/permissions")
@describe("list_alias_permissions", result=dict[str, Level])
def of_alias(alias: str) -> Response:
    """Show who has which level on the alias."""
    return _show(find_alias, alias)


@blueprint.post("/aliases/<alias>/permissions")
@describe("update_alias_permissions", body=PermissionBody, result=dict[str, Level])
def set_on_alias(alias: str) -> Response:
    """Give a user a level on the alias, in the place of the one they had.

    It says nothing of the actor behind the alias.
    """
    return _set(find_alias, alias)


@blueprint.get("/configs/<name>/permissions")
@describe("list_config_permissions", result=dict[str, Level])
def of_config(name: str) -> Response:
    """Show who has which level on the config."""
    return _show(find_config, name)


@blueprint.post("/configs/<name>/permissions")
@describe("update_config_permissions", body=PermissionBody, result=dict[str, Level])
def set_on_config(name: str) -> Response:
    """Give a user a level on the config, in the place of the one they had."""
    return _set(find_config, name)


def _show(find: Callable[..., Any], name: str) -> Response:
    with context().database.read() as session:
        found = find(session, identity(), name, Level.READ)
        return _answer(session, found, "Permissions retrieved successfully.")


def _set(find: Callable[..., Any], name: str) -> Response:
    fields = read_fields(case())
    username = read_field(
        fields,
        "user",
        lambda value: parse_username(read_text(value)),
        "User owning the permission.",
        invalid=_INVALID,
    )
    words = f"Level of the permission: {tuple(level.value for level in Level)}"
    level = parse_level(read_field(fields, "level", read_text, words, invalid=_INVALID))
    with changing() as session:
        found = find(session, identity(), name, Level.UPDATE, share=True)
        set_permission(session, found, username, level)
        note(detail=f"{level} for {shown_name(username)}")
        return _answer(session, found, "Permission added successfully.")


def _answer(session: Session, found: Any, message: str) -> Response:
    """Answer every entry; the keys are names of users, and stay as they are."""
    return success(read_permissions(session, found), message)
