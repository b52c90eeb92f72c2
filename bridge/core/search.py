"""What a search asks for, read from its query (abaco_contract.md 3.13).

A key is a field in either spelling, below a JSON field followed by a dotted path, and may end in an
operator: ``final_state.StartedAt.gt``. A value is read as what its field holds, so that
``name=123`` finds the actor of that name, which in Abaco's own typing it would not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any, TypeAlias

from bridge.core.case import to_camel
from bridge.core.fields import check_text
from bridge.core.patterns import matches, parse_pattern
from bridge.core.times import format_moment
from bridge.errors import InvalidField

MAX_CONDITIONS = 50
_MAX_VALUES = 200
_MAX_WORDS = 20
_MAX_PATH = 8

Value: TypeAlias = str | int | float | bool | datetime | None

# At any precision from the year on, with Z or an offset or neither (UTC); also "2000-05:00", which
# is a year in a zone.
_DATE = re.compile(
    r"""(?P<year>\d{4}) (?: -(?P<month>\d\d) (?: -(?P<day>\d\d)
        (?: [T\ ](?P<hour>\d\d) (?: :(?P<minute>\d\d)
        (?: :(?P<second>\d\d) (?: \.(?P<fraction>\d{1,9}) )? )? )? )? )? )?
        (?: Z | (?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d) )?""",
    re.VERBOSE | re.ASCII,
)
# Keys of JSON documents whose text is a moment as `format_moment` writes it.
_MOMENTS_IN_JSON = ("StartedAt", "FinishedAt")
_UNUSABLE_IN_PATH = re.compile(r'["\\\x00-\x1f]')


class Kind(StrEnum):
    """What a field holds, as errors call it."""

    TEXT = "text"
    NUMBER = "a number"
    TRUTH = "true or false"
    MOMENT = "a date such as 2020-05-01T14:45:41.591Z, at any precision from the year on"
    JSON = "a JSON value"


class Operator(StrEnum):
    """How a field is compared."""

    EQ = "eq"
    NEQ = "neq"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    NIN = "nin"
    BETWEEN = "between"
    LIKE = "like"
    NLIKE = "nlike"


# Operators that are true where another one is not.
NEGATIONS = {
    Operator.NEQ: Operator.EQ,
    Operator.NIN: Operator.IN,
    Operator.NLIKE: Operator.LIKE,
}
_ORDERS = (Operator.LT, Operator.LTE, Operator.GT, Operator.GTE)


@dataclass(frozen=True)
class Condition:
    """One filter; `values` has one value, for `in` and `nin` any number, for `between` two."""

    field: str
    path: tuple[str, ...]
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Search:
    """Everything that a query asks for but its page: all conditions, and any word or the phrase."""

    conditions: tuple[Condition, ...] = ()
    words: tuple[str, ...] = ()
    phrase: str = ""


def parse_search(query: Iterable[tuple[str, str]], fields: Mapping[str, Kind]) -> Search:
    """Return what `query` (keys and values as they came) asks of records with these `fields`.

    Raises:
        InvalidField: names the key, what it got and what it expected.
    """
    conditions: list[Condition] = []
    words: tuple[str, ...] = ()
    phrase = ""
    for key, text in query:
        try:
            check_text(key + text)
            if key == "search":
                words = _read_words(text)
            elif key == "exactsearch":
                phrase = text
            else:
                conditions.append(_read_condition(key, text, fields))
        except ValueError as error:
            raise InvalidField(
                f"Invalid query parameter {key[:64]}: got {text[:64]!r}, expected "
                f"{str(error).removeprefix('expected ')}."
            ) from error
    if len(conditions) > MAX_CONDITIONS:
        raise InvalidField(
            f"Invalid query: got {len(conditions)} conditions, expected at most {MAX_CONDITIONS}."
        )
    return Search(tuple(conditions), words, phrase)


def holds(condition: Condition, held: str | None) -> bool:
    """Return whether `condition` is true of a text, or of a moment as `format_moment` writes it.

    As the database has it: what is null is unlike everything, and has no order.
    """
    operator = NEGATIONS.get(condition.operator, condition.operator)
    values = [format_moment(v) if isinstance(v, datetime) else v for v in condition.values]
    return _holds(operator, held, values) is not (condition.operator in NEGATIONS)


def _holds(operator: Operator, held: str | None, values: Sequence[Value]) -> bool:
    if operator in (Operator.EQ, Operator.IN):
        return held in values
    if held is None:
        return False
    texts = [str(value) for value in values]
    if operator is Operator.LIKE:
        return matches(texts[0], held)
    if operator is Operator.BETWEEN:
        return texts[0] <= held <= texts[1]
    return {
        Operator.LT: held < texts[0],
        Operator.LTE: held <= texts[0],
        Operator.GT: held > texts[0],
        Operator.GTE: held >= texts[0],
    }[operator]


def read_moment(text: str) -> datetime:
    """Return the first moment of what `text` names.

    Raises:
        ValueError: says what is expected.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError(Kind.MOMENT)
    part = found.groupdict()
    try:
        return datetime(
            int(part["year"] or 0),
            int(part["month"] or 1),
            int(part["day"] or 1),
            int(part["hour"] or 0),
            int(part["minute"] or 0),
            int(part["second"] or 0),
            int((part["fraction"] or "0").ljust(6, "0")[:6]),
            tzinfo=_read_zone(part),
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(Kind.MOMENT) from None


def _read_zone(part: Mapping[str, str | None]) -> timezone:
    if part["sign"] is None:
        return UTC
    offset = timedelta(hours=int(part["zone_hour"] or 0), minutes=int(part["zone_minute"] or 0))
    return timezone(-offset if part["sign"] == "-" else offset)


def _read_words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(text.split()))
    if len(words) > _MAX_WORDS:
        raise ValueError(f"at most {_MAX_WORDS} words")
    return words


def _read_condition(key: str, text: str, fields: Mapping[str, Kind]) -> Condition:
    first, *path = key.split(".")
    name = _find_field(first, fields)
    kind = fields[name]
    operator = Operator.EQ
    if path and path[-1] in list(Operator):
        operator = Operator(path.pop())
    if path and kind is not Kind.JSON:
        words = ", ".join(f".{word}" for word in Operator)
        raise ValueError(f"{name} to be followed by nothing or one of {words}")
    if len(path) > _MAX_PATH or any(not p or _UNUSABLE_IN_PATH.search(p) for p in path):
        raise ValueError(f"a path of at most {_MAX_PATH} names")
    read = _READERS[kind]
    if kind is Kind.JSON and path and path[-1] in _MOMENTS_IN_JSON:
        read = _read_moment_in_json
    return Condition(name, tuple(path), operator, _read_values(operator, text, kind, read))


def _find_field(text: str, fields: Mapping[str, Kind]) -> str:
    if text in fields:
        return text
    for name in fields:
        if to_camel(name) == text:
            return name
    raise ValueError(f"as its key one of: {', '.join(fields)}")


def _read_values(
    operator: Operator, text: str, kind: Kind, read: Callable[[str], Value]
) -> tuple[Value, ...]:
    if operator in (Operator.LIKE, Operator.NLIKE):
        if kind not in (Kind.TEXT, Kind.JSON):
            raise ValueError("no pattern, since the field is not text")
        parse_pattern(text)
        return (text,)
    if operator in (Operator.IN, Operator.NIN):
        return _read_list(text, read)
    if operator is Operator.BETWEEN:
        values = tuple(read(part.strip()) for part in text.split(","))
        if len(values) != 2 or any(value is None for value in values):
            raise ValueError(f"two values with a comma between them, each {kind}")
        return values
    value = None if _is_null(text) else read(text)
    if operator in _ORDERS and (value is None or isinstance(value, bool)):
        raise ValueError("something that has an order")
    return (value,)


def _read_list(text: str, read: Callable[[str], Value]) -> tuple[Value, ...]:
    """Return the values of a JSON list."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or len(items) > _MAX_VALUES:
        raise ValueError(f'a JSON list of at most {_MAX_VALUES} values, such as ["A", "B"]')
    return tuple(
        None if item is None else read(item if isinstance(item, str) else json.dumps(item))
        for item in items
    )


def _read_text(text: str) -> str:
    """Return text; that which is in JSON's quotes without them."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        value = _parse_plain(text)
        return value if isinstance(value, str) else text
    return text


def _read_number(text: str) -> int | float:
    value = _parse_plain(text)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise ValueError(Kind.NUMBER)


def _read_truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(Kind.TRUTH)
    return text.lower() in ("true", "1")


def _read_json(text: str) -> Value:
    """Return what Abaco takes a value for: a literal, a number, else text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    value = _parse_plain(text)
    return value if isinstance(value, (int, float, str)) else text


def _read_moment_in_json(text: str) -> str:
    return format_moment(read_moment(text))


def _parse_plain(text: str) -> Any:
    """Return the JSON value that `text` is, or None; numbers only those a database takes."""
    try:
        value = json.loads(text, parse_constant=lambda word: word)  # NaN is a word
    except (ValueError, RecursionError):
        return None
    if isinstance(value, (int, float)) and not -(2**63) <= value < 2**63:
        raise ValueError("a number of 64 bits")
    if isinstance(value, str):
        check_text(value)
    return value


def _is_null(text: str) -> bool:
    return text.lower() in ("none", "null")


_READERS: dict[Kind, Callable[[str], Value]] = {
    Kind.TEXT: _read_text,
    Kind.NUMBER: _read_number,
    Kind.TRUTH: _read_truth,
    Kind.MOMENT: read_moment,
    Kind.JSON: _read_json,
}
