"""``.../nonces`` of actors and aliases (abaco_contract.md 3.10, 3.11)."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flask import Blueprint, Response

from bridge.api.audit import changing, note
from bridge.api.context import case, context, identity, links
from bridge.api.describe import PageQuery, describe
from bridge.api.envelope import success
from bridge.api.parsing import read_field, read_fields, read_page
from bridge.api.schemas import With
from bridge.api.views import NonceView, show_nonce
from bridge.core.case import spell_object
from bridge.core.fields import read_integer, read_text
from bridge.core.statuses import Level
from bridge.db import Nonce
from bridge.errors import InvalidField
from bridge.services.nonces import (
    UNLIMITED,
    NonceDescription,
    Subject,
    create_nonce,
    delete_nonce,
    find_nonce,
    find_subject,
    list_nonces,
)

blueprint = Blueprint("nonces", __name__, url_prefix="/actors")

_INVALID = "Invalid nonce description:"
_LEVELS = (Level.NONE, Level.READ, Level.EXECUTE, Level.UPDATE)
_ALIAS_LEVELS = _LEVELS[:-1]  # Abaco 1.5: an alias's nonce cannot give UPDATE
_MAX_DESCRIPTION = 4096


class AliasNonceBody(TypedDict, total=False):
    """What is asked of an alias's nonce; every field has a default."""

    level: Annotated[str, With(enum=[*_ALIAS_LEVELS]), "EXECUTE where none is given."]
    max_uses: Annotated[
        int,
        With(minimum=-1, **{"not": {"enum": [0]}}),
        "How often it can be used; -1, the default, for no limit.",
    ]
    description: Annotated[str, With(maxLength=_MAX_DESCRIPTION)]


class NonceBody(AliasNonceBody, total=False):
    """What is asked of an actor's nonce; every field has a default."""

    level: Annotated[str, With(enum=[*_LEVELS]), "EXECUTE where none is given."]


@blueprint.get("/<actor_id>/nonces")
@describe("list_nonces", query=PageQuery, result=list[NonceView])
def of_actor(actor_id: str) -> Response:
    """List the actor's nonces: the caller's own; with UPDATE on the actor, all."""
    return _list(actor_id, "Actor", is_alias=False)


@blueprint.post("/<actor_id>/nonces")
@describe(
    "create_nonce",
    body=NonceBody,
    body_required=False,
    result=NonceView,
    gives={"nonce_id": "id"},
)
def create_for_actor(actor_id: str) -> Response:
    """Make a nonce: a credential that stands for the caller at this actor, up to a level."""
    return _create(actor_id, "Actor", is_alias=False)


@blueprint.get("/<actor_id>/nonces/<nonce_id>")
@describe("get_nonce", result=NonceView)
def get_of_actor(actor_id: str, nonce_id: str) -> Response:
    """Show one of the nonces that the list shows."""
    return _get(actor_id, nonce_id, "Actor", is_alias=False)


@blueprint.delete("/<actor_id>/nonces/<nonce_id>")
@describe("delete_nonce")
def delete_of_actor(actor_id: str, nonce_id: str) -> Response:
    """Take a nonce back."""
    return _delete(actor_id, nonce_id, "Actor", is_alias=False)


@blueprint.get("/aliases/<alias>/nonces")
@describe("list_alias_nonces", query=PageQuery, result=list[NonceView])
def of_alias(alias: str) -> Response:
    """List the alias's nonces: the caller's own; with UPDATE on alias and actor, all."""
    return _list(alias, "Alias", is_alias=True)


@blueprint.post("/aliases/<alias>/nonces")
@describe(
    "create_alias_nonce",
    body=AliasNonceBody,
    body_required=False,
    result=NonceView,
    gives={"nonce_id": "id"},
)
def create_for_alias(alias: str) -> Response:
    """Make a nonce that holds where the alias stands in the URL, whatever actor it points at."""
    return _create(alias, "Alias", is_alias=True)


@blueprint.get("/aliases/<alias>/nonces/<nonce_id>")
@describe("get_alias_nonce", result=NonceView)
def get_of_alias(alias: str, nonce_id: str) -> Response:
    """Show one of the nonces that the list shows."""
    return _get(alias, nonce_id, "Alias", is_alias=True)


@blueprint.delete("/aliases/<alias>/nonces/<nonce_id>")
@describe("delete_alias_nonce")
def delete_of_alias(alias: str, nonce_id: str) -> Response:
    """Take a nonce back."""
    return _delete(alias, nonce_id, "Alias", is_alias=True)


def _list(word: str, noun: str, *, is_alias: bool) -> Response:
    page = read_page()
    with context().database.read() as session:
        subject = find_subject(session, identity(), word, Level.READ, is_alias=is_alias)
        nonces = list_nonces(session, identity(), subject, **page)
    shown = [_show(nonce, subject) for nonce in nonces]
    return success(shown, f"{noun} nonces retrieved successfully.")


def _create(word: str, noun: str, *, is_alias: bool) -> Response:
    here, caller = context(), identity()
    description = _read_description(_ALIAS_LEVELS if is_alias else _LEVELS)
    with changing() as session:
        subject = find_subject(session, caller, word, Level.UPDATE, is_alias=is_alias, share=True)
        nonce = create_nonce(session, caller, subject, description, here.now())
        note(detail=f"{nonce.level}, {nonce.max_uses} uses")
    return success(_show(nonce, subject), f"{noun} nonce created successfully.")


def _get(word: str, nonce_id: str, noun: str, *, is_alias: bool) -> Response:
    with context().database.read() as session:
        subject = find_subject(session, identity(), word, Level.READ, is_alias=is_alias)
        nonce = find_nonce(session, identity(), subject, nonce_id)
    return success(_show(nonce, subject), f"{noun} nonce retrieved successfully.")


def _delete(word: str, nonce_id: str, noun: str, *, is_alias: bool) -> Response:
    with changing() as session:
        subject = find_subject(session, identity(), word, Level.UPDATE, is_alias=is_alias)
        delete_nonce(session, subject, nonce_id)
    return success(None, f"{noun} nonce deleted successfully.")


def _show(nonce: Nonce, subject: Subject) -> dict[str, object]:
    return spell_object(show_nonce(nonce, subject.actor.id, links()), case())


def _read_description(levels: tuple[Level, ...]) -> NonceDescription:
    fields = read_fields(case())
    level = read_field(
        fields, "level", read_text, "Its level.", invalid=_INVALID, default=Level.EXECUTE.value
    )
    if level not in levels:
        raise InvalidField(
            "Invalid nonce description. The level attribute must be one of: "
            f"{tuple(word.value for word in levels)}"
        )
    max_uses = read_field(
        fields,
        "max_uses",
        read_integer,
        "Maximum number of times this nonce can be redeemed. Default is unlimited.",
        invalid=_INVALID,
        default=UNLIMITED,
    )
    if max_uses == 0 or max_uses < UNLIMITED:
        raise InvalidField(
            "The max uses parameter must be a positive integer or -1 (to denote unlimited uses)."
        )
    about = "Description of this nonce."
    description = read_field(
        fields, "description", _read_about, about, invalid=_INVALID, default=""
    )
    return NonceDescription(Level(level), max_uses, description)


def _read_about(value: object) -> str:
    text = read_text(value)
    if len(text) > _MAX_DESCRIPTION:
        raise ValueError(f"expected at most {_MAX_DESCRIPTION} characters")
    return text
