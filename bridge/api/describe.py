"""What each route says of itself, for ``/openapi.json``.

A view function is described where it is written:

    @blueprint.post("/<actor_id>/permissions")
    @describe("update_permissions", body=PermissionBody, result=dict[str, Level])
    def post(actor_id: str) -> Response:
        '''Give a user a level on the actor.'''

Its summary is its docstring. `body`, `query` and `result` are type hints (bridge.api.schemas):
TypedDicts in snake_case for objects, which the document spells for the client; what a view shows
has its TypedDict beside it in bridge.api.views, so that mypy compares the two. The path's
parameters, the refusals that every route has, and the envelope are added by bridge.api.openapi.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict, TypeVar

from bridge.api.schemas import With

View = TypeVar("View", bound=Callable[..., Any])

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
BINARY = "application/octet-stream"

# The answer has no envelope: it is of one of the other media types.
BARE: Any = object()


class PageQuery(TypedDict, total=False):
    """What `bridge.api.parsing.read_page` reads."""

    limit: Annotated[int, With(minimum=0, maximum=999_999_999), "How many are shown at most."]
    skip: Annotated[int, With(minimum=0, maximum=999_999_999), "How many are left out first."]


@dataclass(frozen=True)
class Description:
    """One route's description; see `describe`."""

    operation: str
    summary: str
    details: str
    result: Any
    body: Any
    body_required: bool
    body_media: Mapping[str, Any]
    query: Any
    media: Mapping[str, str]
    errors: Mapping[int, str] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    gives: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False


_DESCRIPTIONS: dict[Callable[..., Any], Description] = {}


def describe(
    operation: str,
    *,
    result: Any = None,
    body: Any = None,
    body_required: bool = True,
    body_media: Mapping[str, Any] | None = None,
    query: Any = None,
    media: Mapping[str, str] | None = None,
    errors: Mapping[int, str] | None = None,
    headers: Mapping[str, Any] | None = None,
    gives: Mapping[str, str] | None = None,
    is_public: bool = False,
) -> Callable[[View], View]:
    """Return a decorator that notes what a view function takes and gives.

    Args:
        operation: its id, snake_case, the same for ever: clients have functions of this name.
            tapipy's where it has one (abaco_contract.md 7).
        result: the hint of the envelope's `result`; None for null; BARE for no envelope at all.
        body: the hint of the body, as JSON; a TypedDict's or dataclass's also as a form.
        body_required: whether a request without a body is refused.
        body_media: further media types of the body, each with its hint (`bytes`, `str`).
        query: a TypedDict of the query parameters (`PageQuery`, or one that extends it).
        media: media types of the answer other than the envelope's, with what is in them.
        errors: statuses that not every route has, with what they mean here.
        headers: headers that mean something here, each with its hint.
        gives: for what is created here: the path parameter that stands for it in other routes, with
            the key of the result that it is found under.
        is_public: anybody may ask, without a credential. The application goes by this.
    """

    def note(view: View) -> View:
        summary, _, rest = inspect.cleandoc(view.__doc__ or "").partition("\n\n")
        _DESCRIPTIONS[view] = Description(
            operation=operation,
            summary=" ".join(summary.split()),
            details=rest.split("Raises:")[0].strip(),
            result=result,
            body=body,
            body_required=body_required,
            body_media=body_media or {},
            query=query,
            media=media or {},
            errors=errors or {},
            headers=headers or {},
            gives=gives or {},
            is_public=is_public,
        )
        return view

    return note


def description_of(view: Callable[..., Any] | None) -> Description | None:
    """Return what was said of `view`, if anything was."""
    return _DESCRIPTIONS.get(view) if view else None
