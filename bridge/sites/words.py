"""The models in words: what kind of value a key takes, within which bounds, in which unit."""

from __future__ import annotations

import types
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_WORDS = {
    str: "text", int: "integer", float: "number", bool: "true or false", Path: "path",
    IPv4Network: "network", IPv6Network: "network",
}  # fmt: skip
_PLURALS = (
    ("integer", "integers"),
    ("path", "paths"),
    ("table", "tables"),
    ("text", "texts"),
    ("network", "networks"),
    ("number", "numbers"),
)
_UNITS = {"_s": "seconds", "_bytes": "bytes", "_mib": "MiB", "_length": "characters"}


def kinds(hint: Any) -> Iterator[str]:
    """Yield the words for a type hint: more than one for a union."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from kinds(inner[0])
    elif origin in (Union, types.UnionType):
        for one in inner:
            if one is not type(None):
                yield from kinds(one)
    elif origin is Literal:
        yield from (f'`"{one}"`' for one in inner)
    elif origin is tuple:
        yield "list of " + " or ".join(dict.fromkeys(kinds(inner[0])))
    elif origin is dict:
        yield "table of " + " or ".join(kinds(inner[1]))
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        yield "table"
    else:
        yield _WORDS[hint]


def expected(name: str, field: FieldInfo | None, hint: Any) -> str:
    """Return what a key takes, as in ``an integer of at least 60 (seconds)``.

    Args:
        name: the key's, whose ending tells the unit.
        field: its description in the model; None for an entry of a list or table.
        hint: the type of the key or entry.
    """
    words = list(dict.fromkeys(kinds(hint)))
    if len(words) > 1 and words[0].startswith("`"):
        said = ", ".join(words[:-1]) + f" or {words[-1]}"
    else:
        said = " or ".join(words)
    said = said.replace("`", "")
    for one, many in _PLURALS:
        said = said.replace(f" of {one}", f" of {many}")
    if said.startswith(('"', "text", "true")):
        return said
    said = ("an " if said[0] in "aeiou" else "a ") + said
    if said == "a network":
        return "a network with nothing set beyond its prefix, as in 10.0.0.0/8 or fd00::/8"
    return said + _bounds(field) + _unit(name, said)


def _unit(name: str, said: str) -> str:
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), None)
    return f" ({unit})" if unit and said.startswith(("an integer", "a number")) else ""


def _bounds(field: FieldInfo | None) -> str:
    limits: dict[str, Any] = {}
    for one in field.metadata if field else ():
        for key in ("gt", "ge", "lt", "le", "min_length"):
            if getattr(one, key, None) is not None:
                limits[key] = getattr(one, key)
    if "min_length" in limits:
        return " with at least one entry"
    lowest, highest = limits.get("ge"), limits.get("le")
    if isinstance(limits.get("gt"), int):
        lowest = _whole(field, limits["gt"], 1)
    if isinstance(limits.get("lt"), int):
        highest = _whole(field, limits["lt"], -1)
    if lowest is None:
        return " above 0" if limits.get("gt") == 0 else ""
    return f" of at least {lowest}" if highest is None else f" from {lowest} to {highest}"


def _whole(field: FieldInfo | None, limit: int, step: int) -> int | None:
    """Return the whole number next to an open bound, or None where any number counts."""
    is_whole = field is not None and float not in (field.annotation, *get_args(field.annotation))
    return limit + step if is_whole else None
