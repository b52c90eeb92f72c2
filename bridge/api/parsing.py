"""Reading a request: JSON, query and form, in Abaco's order (abaco_contract.md 1.7)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from flask import request
from werkzeug.datastructures import MultiDict

from bridge.core.actors import MISSING
from bridge.core.case import Case, spell, to_camel
from bridge.errors import InvalidField

_MAX_DEPTH = 100

T = TypeVar("T")


def parse_json(body: bytes) -> Any:
    """Return the value that `body` is in JSON.

    Raises:
        InvalidField: it is not JSON, is nested too deeply, or has a number that JSON cannot show.
    """
    try:
        value = _DECODER.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except RecursionError as error:
        raise InvalidField(f"The JSON body is nested deeper than {_MAX_DEPTH} levels.") from error
    except ValueError as error:
        raise InvalidField(f"The body is not valid JSON: {error}.") from error
    if body.count(b"[") + body.count(b"{") > _MAX_DEPTH and _depth(value) > _MAX_DEPTH:
        raise InvalidField(f"The JSON body is nested deeper than {_MAX_DEPTH} levels.")
    return value


class Fields:
    """The named values of a request: from the JSON body, else the query, else the form.

    Both spellings of a name are taken, the client's own first.
    """

    def __init__(self, case: Case, body: Mapping[str, Any]) -> None:
        """Take the query and the form of the request being served; `body` is its JSON object."""
        self._case = case
        self._sources: tuple[Mapping[str, Any], ...] = (body, request.args, request.form)

    def get(self, name: str, many: bool = False) -> object:
        """Return the value of `name` (in snake_case), or MISSING; with `many` all of a form's."""
        for source in self._sources:
            for key in (spell(name, self._case), name, to_camel(name)):
                if key in source:
                    if many and isinstance(source, MultiDict):
                        return source.getlist(key)
                    return source[key]
        return MISSING

    def spell(self, name: str) -> str:
        """Return `name` as this client writes it."""
        return spell(name, self._case)


def read_json_body() -> Any:
    """Return what a JSON body holds, or None without one or with another content type.

    Raises:
        InvalidField: it is malformed.
    """
    return parse_json(request.get_data()) if request.is_json and request.get_data() else None


def read_fields(case: Case) -> Fields:
    """Return the fields of the request that is being served.

    Raises:
        InvalidField: its JSON body is malformed, or no object.
    """
    body = read_json_body()
    if body is not None and not isinstance(body, dict):
        raise InvalidField("The JSON body must be an object.")
    return Fields(case, body or {})


def read_field(
    fields: Fields,
    name: str,
    reader: Callable[[object], T],
    about: str,
    *,
    invalid: str,
    missing: str | None = None,
    default: T | None = None,
) -> T:
    """Return the value of a field as `reader` takes it, or `default` where it is missing or null.

    Args:
        fields: those of the request.
        name: the field's, in snake_case.
        reader: returns the value, or raises ValueError with what is expected.
        about: what the field is, for errors.
        invalid: what an error begins with.
        missing: what it begins with where a field without a default is missing, if otherwise.
        default: None for a field that must be there.

    Raises:
        InvalidField: names the field as the client writes it, and says what was expected.
    """
    sent = fields.get(name)
    if sent is MISSING or sent is None:
        if default is not None:
            return default
        detail = {fields.spell(name): f"{about} It is required."}
        raise InvalidField(f"{missing or invalid} {detail}")
    try:
        return reader(sent)
    except ValueError as error:
        raise InvalidField(f"{invalid} { ({fields.spell(name): f'{about} {error}'}) }") from error


def read_page() -> dict[str, int]:
    """Return `limit` and `skip` of the query, those that are given.

    They page a plain list: the two fields do not make a search of it, which agavepy could not
    read (clients.md 0.12). agavepy and tapipy call the second one `offset` (clients.md 1.3, 2.2).

    Raises:
        InvalidField: one of them is not a number from 0.
    """
    page = {}
    for key, name in (("limit", "limit"), ("offset", "skip"), ("skip", "skip")):
        text = request.args.get(key)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidField(
                f"Invalid query parameter {key}: got {text[:64]!r}, expected an integer from 0."
            )
        page[name] = int(text)
    return page


def _refuse_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:32]} is out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_number, parse_float=_finite)


def _depth(value: object) -> int:
    """Return how deep `value` is nested, without nesting calls as deep."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
