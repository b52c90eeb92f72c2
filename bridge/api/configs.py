"""``/actors/configs`` and ``/actors/configs/<name>`` (abaco_contract.md 3.12)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypedDict

from flask import Blueprint, Response

from bridge.api.audit import changing, note
from bridge.api.context import case, context, identity
from bridge.api.describe import PageQuery, describe
from bridge.api.envelope import success, success_in_pages
from bridge.api.parsing import read_field, read_fields, read_page
from bridge.api.schemas import With
from bridge.api.views import ConfigView, show_config
from bridge.audit.entries import shown_name
from bridge.core.case import spell_object
from bridge.core.fields import read_boolean, read_text
from bridge.core.names import CONFIG_PATTERN
from bridge.core.statuses import Level
from bridge.db import Config
from bridge.services.configs import (
    ConfigDescription,
    create_config,
    delete_config,
    find_config,
    list_configs,
    update_config,
)

blueprint = Blueprint("configs", __name__, url_prefix="/actors/configs")

_INVALID = "Invalid config description:"
_MISSING = "Invalid config description. Missing required field:"


class _Body(TypedDict):
    name: Annotated[
        str,
        With(pattern=CONFIG_PATTERN),
        "Unique in the tenant. In a PUT the one in the URL counts.",
    ]
    value: Annotated[str, "At most 64 KiB."]
    is_secret: Annotated[bool, "Whether it is encrypted at rest, and never shown again."]
    actors: Annotated[str, "Ids and aliases of actors, with commas between them."]


@blueprint.get("")
@describe("list_configs", query=PageQuery, result=list[ConfigView])
def list_all() -> Response:
    """List the configs that the caller may read."""
    wanted = case()
    pages = (
        [spell_object(show_config(config), wanted) for config in configs]
        for configs in list_configs(context().database, identity(), **read_page())
    )
    return success_in_pages(pages, "Actor Configs retrieved successfully.")


@blueprint.post("")
@describe(
    "create_config",
    body=_Body,
    result=ConfigView,
    errors={404: "One of the actors does not exist."},
    gives={"name": "name"},
)
def create() -> Response:
    """Give actors a named value, in their containers' variable ``_actor_configs``.

    Any actor of the tenant can be listed; the value reaches those on which the author has UPDATE.
    """
    here = context()
    description = _read_description()
    with changing() as session:
        config = create_config(session, identity(), here.secrets, description, here.now())
        note(object=f"config {shown_name(config.name)}")
    return _answer(config, "Actor config created successfully.")


@blueprint.get("/<name>")
@describe("get_config", result=ConfigView)
def get(name: str) -> Response:
    """Show one config; a secret one without its value."""
    with context().database.read() as session:
        config = find_config(session, identity(), name, Level.READ)
    return _answer(config, "Config retrieved successfully.")


@blueprint.put("/<name>")
@describe("update_config", body=_Body, result=ConfigView)
def update(name: str) -> Response:
    """Replace a config's value and its actors; the caller becomes its author."""
    here = context()
    description = replace(_read_description(), name=name)
    with changing() as session:
        config = update_config(session, identity(), here.secrets, description, here.now())
    return _answer(config, "Actor config updated successfully.")


@blueprint.delete("/<name>")
@describe("delete_config")
def delete(name: str) -> Response:
    """Remove a config."""
    with changing() as session:
        delete_config(session, identity(), name)
    return success(None, f"Actor config {name} deleted successfully.")


def _read_description() -> ConfigDescription:
    fields = read_fields(case())

    def text(name: str, about: str) -> str:
        return read_field(fields, name, read_text, about, invalid=_INVALID, missing=_MISSING)

    return ConfigDescription(
        name=text("name", "Name of the config."),
        value=text("value", "The value of the config."),
        is_secret=read_field(
            fields,
            "is_secret",
            read_boolean,
            "Whether the config should be encrypted at rest and not retrievable.",
            invalid=_INVALID,
            missing=_MISSING,
        ),
        actors=text("actors", "List of actor IDs or aliases that should get this config."),
    )


def _answer(config: Config, message: str) -> Response:
    return success(spell_object(show_config(config), case()), message)
