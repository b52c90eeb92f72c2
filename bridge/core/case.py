"""The two spellings of Abaco's JSON keys (abaco_contract.md 1.4, 0.11)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

Case = Literal["camel", "snake"]


@lru_cache(maxsize=1024)
def to_camel(key: str) -> str:
    """Return `key` in Abaco's camelCase: ``create_time`` to ``createTime``, ``_links`` as it is.

    Split at ``_``; empty pieces become ``_``; the first other piece is lower-cased, the rest are
    capitalized.
    """
    words: list[str] = []
    first = True
    for piece in key.split("_"):
        if not piece:
            words.append("_")
        else:
            words.append(piece.lower() if first else piece.capitalize())
            first = False
    return "".join(words)


def spell(key: str, case: Case) -> str:
    """Return the snake_case `key` as a client of `case` writes it."""
    return to_camel(key) if case == "camel" else key


def spell_keys(values: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """Return `values` with its own keys in `case`; what is nested is left alone."""
    return {spell(key, case): value for key, value in values.items()}


def spell_object(values: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """Return one object of a response: as `spell_keys`, without its nulls in camelCase."""
    if case == "snake":
        return dict(values)
    return {to_camel(key): value for key, value in values.items() if value is not None}
