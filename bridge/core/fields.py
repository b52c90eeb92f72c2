"""Values of request fields: what Abaco's parser takes for each type (abaco_contract.md 1.7).

Each function takes a value as JSON, a form or a query gave it, returns it as its type, or raises
ValueError with what is expected.
"""

from __future__ import annotations

import re
from typing import Any

_TRUE = ("true", "1")
_FALSE = ("false", "0")
_DIGITS = re.compile(r"[+-]?[0-9]{1,19}\Z")


def read_text(value: object) -> str:
    """Return any value as text; objects become their Python repr."""
    text = str(value)
    check_text(text)
    return text


def read_boolean(value: object) -> bool:
    """Return a boolean from true, false or their spellings in a form."""
    word = str(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("expected true or false")


def read_integer(value: object) -> int:
    """Return an integer from a number or its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _DIGITS.match(value):
        number = int(value)
    else:
        raise ValueError("expected an integer")
    if abs(number) >= 2**63:
        raise ValueError("expected an integer of 64 bits")
    return number


def read_object(value: object) -> dict[str, Any]:
    """Return a JSON object; text is not one, whatever it contains."""
    if isinstance(value, dict):
        return value
    raise ValueError("expected a JSON object")


def read_texts(value: object) -> list[str]:
    """Return a list of texts; one value alone is a list of one."""
    return [read_text(item) for item in (value if isinstance(value, list) else [value])]


def check_text(text: str) -> None:
    """Refuse what no database or process can hold: NUL and halves of surrogate pairs."""
    if "\0" in text:
        raise ValueError("expected text without NUL bytes")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("expected text without halves of surrogate pairs") from None
