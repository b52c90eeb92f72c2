"""What somebody reports of an execution that ran elsewhere (abaco_contract.md 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bridge.core.actors import MISSING
from bridge.core.fields import read_integer
from bridge.errors import InvalidField

_MOST = {"runtime": 2**31 - 1, "cpu": 2**62, "io": 2**62}


def _within(name: str) -> dict[str, Any]:
    return {"schema": {"minimum": 0, "maximum": _MOST[name]}}


@dataclass(frozen=True)
class Usage:
    """Seconds of run time, nanoseconds of CPU, bytes read and written."""

    runtime: int = field(metadata=_within("runtime"))
    cpu: int = field(metadata=_within("cpu"))
    io: int = field(metadata=_within("io"))


def parse_usage(get: Callable[[str], object], spell: Callable[[str], str]) -> Usage:
    """Return the usage that a request reports; all of it is required.

    Args:
        get: gives the value of a field as it was sent, or MISSING.
        spell: gives a field's name as this client writes it, for errors.

    Raises:
        InvalidField: names the field, and what was expected.
    """
    return Usage(**{name: _read(name, most, get, spell) for name, most in _MOST.items()})


def _read(name: str, most: int, get: Callable[[str], object], spell: Callable[[str], str]) -> int:
    sent, why = get(name), f"expected an integer from 0 to {most}"
    if sent is MISSING:
        why = "it is required"
    else:
        with suppress(ValueError):
            number = read_integer(sent)
            if 0 <= number <= most:
                return number
    text = f"The {name} of the execution: {why}."
    raise InvalidField(f"Invalid execution description: { ({spell(name): text})!r}")
