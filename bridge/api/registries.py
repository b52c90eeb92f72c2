"""``/actors/registries``: logins that a user leaves for private registries. Not one of Abaco's."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flask import Blueprint, Response

from bridge.api.audit import changing
from bridge.api.context import case, context, identity
from bridge.api.describe import describe
from bridge.api.envelope import success
from bridge.api.parsing import read_field, read_fields
from bridge.api.schemas import With
from bridge.api.views import LoginView, show_login
from bridge.core.case import spell_object
from bridge.core.fields import check_text
from bridge.services.registries import (
    MAX_LOGIN,
    MAX_PASSWORD,
    find_login,
    leave_login,
    list_logins,
    remove_login,
)

blueprint = Blueprint("registries", __name__, url_prefix="/actors/registries")

_INVALID = "Invalid registry login:"
# Printable, as far as a pattern says it; a name ends at a colon in HTTP's Basic authentication.
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]+$"
_NO_COLON = r"^[^:\x00-\x1f\x7f-\x9f]+$"


class _Body(TypedDict):
    username: Annotated[
        str, With(pattern=_NO_COLON, minLength=1, maxLength=MAX_LOGIN), "The name there."
    ]
    password: Annotated[
        str,
        With(pattern=_NO_CONTROLS, minLength=1, maxLength=MAX_PASSWORD),
        "The password or token. It is encrypted at rest, and never shown again.",
    ]


@blueprint.get("")
@describe("list_registry_logins", result=list[LoginView])
def list_all() -> Response:
    """List the caller's own logins, without their passwords."""
    with context().database.read() as session:
        logins = list_logins(session, identity())
    shown = [spell_object(show_login(login), case()) for login in logins]
    return success(shown, "Registry logins retrieved successfully.")


@blueprint.get("/<registry>")
@describe("get_registry_login", result=LoginView)
def get(registry: str) -> Response:
    """Show one of the caller's own logins, without its password."""
    with context().database.read() as session:
        login = find_login(session, identity(), registry)
    return success(spell_object(show_login(login), case()), "Registry login retrieved.")


@blueprint.put("/<registry>")
@describe("put_registry_login", body=_Body, result=LoginView)
def put(registry: str) -> Response:
    """Leave a login for a registry, or replace it.

    Images that the caller's actors name from now on are pulled from there with it, and are the
    caller's alone; actors that are there get theirs so when they are updated with `force`.
    """
    here = context()
    fields = read_fields(case())
    username = read_field(fields, "username", _read_secret, "The name there.", invalid=_INVALID)
    password = read_field(fields, "password", _read_secret, "The password.", invalid=_INVALID)
    with changing() as session:
        login = leave_login(
            session, identity(), here.site, here.secrets, registry, username, password, here.now()
        )
    return success(spell_object(show_login(login), case()), "Registry login saved.")


@blueprint.delete("/<registry>")
@describe("delete_registry_login")
def delete(registry: str) -> Response:
    """Forget a login. What was pulled with it stays until it is pulled anew."""
    with changing() as session:
        remove_login(session, identity(), registry)
    return success(None, "Registry login deleted.")


def _read_secret(value: object) -> str:
    """Return a text; what is none is not repeated."""
    if not isinstance(value, str):
        raise ValueError("expected a text")  # noqa: TRY004 - the reader's protocol
    check_text(value)
    return value
