"""A search's conditions as SQL, for SQLite and PostgreSQL alike (abaco_contract.md 3.13).

What comes from the query is always a bound parameter, as wide as it is, so that no number is out of
a narrow column's range.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Text,
    case,
    cast,
    collate,
    column,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)

from bridge.core.patterns import parse_pattern, translate
from bridge.core.search import NEGATIONS, Condition, Kind, Operator, Value
from bridge.db.base import Document, Moment

# What PostgreSQL fails to read in a JSON document: NUL, and halves of surrogate pairs. A document
# with such text in it is not found there by what is in it.
_UNREADABLE = r"\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f]"


def kind_of(field: ColumnElement[Any]) -> Kind:
    """Return what a column holds."""
    for kind, types in (
        (Kind.JSON, (JSON, Document)),
        (Kind.MOMENT, (Moment,)),
        (Kind.TRUTH, (Boolean,)),
        (Kind.NUMBER, (Integer, Numeric, Float)),
    ):
        if isinstance(field.type, types):
            return kind
    return Kind.TEXT


def build_condition(
    condition: Condition, field: ColumnElement[Any], is_sqlite: bool
) -> ColumnElement[bool]:
    """Return `condition` as SQL. What is null is unlike everything, as in Abaco's MongoDB."""
    operator = NEGATIONS.get(condition.operator, condition.operator)
    if kind_of(field) is Kind.JSON:
        holds = _holds_in_json(field, condition.path, operator, condition.values, is_sqlite)
    else:
        operand = type_coerce(field, String()) if kind_of(field) is Kind.TEXT else field
        holds = _holds(operand, operator, condition.values, is_sqlite)
    return not_(func.coalesce(holds, false())) if condition.operator in NEGATIONS else holds


def _holds(
    operand: ColumnElement[Any], operator: Operator, values: Iterable[Value], is_sqlite: bool
) -> ColumnElement[bool]:
    if operator in (Operator.EQ, Operator.IN):
        given = [_bound(value) for value in values if value is not None]
        is_null = operand.is_(None) if None in values else false()
        return or_(operand.in_(given), is_null) if given else is_null
    first, *rest = (_bound(value) for value in values)
    if operator is Operator.LIKE:
        return _like(operand, str(next(iter(values))), is_sqlite)
    if isinstance(first.type, String) and not is_sqlite:
        operand = collate(operand, "C")  # by code points, as SQLite and MongoDB compare
    if operator is Operator.BETWEEN:
        return operand.between(first, rest[0])
    comparisons: dict[Operator, ColumnElement[bool]] = {
        Operator.LT: operand < first,
        Operator.LTE: operand <= first,
        Operator.GT: operand > first,
        Operator.GTE: operand >= first,
    }
    return comparisons[operator]


def _like(operand: ColumnElement[Any], pattern: str, is_sqlite: bool) -> ColumnElement[bool]:
    if is_sqlite:
        return func.bridge_matches(pattern, cast(operand, LargeBinary), type_=Boolean())
    return operand.op("~", is_comparison=True)(translate(parse_pattern(pattern)))


def _bound(value: Value) -> ColumnElement[Any]:
    """Return `value` as a parameter that is as wide as it is, however narrow the column."""
    if isinstance(value, bool):
        return literal(value, Boolean())
    if isinstance(value, int):
        return literal(value, BigInteger())
    if isinstance(value, float):
        return literal(value, Float(53))
    return literal(value, Moment() if isinstance(value, datetime) else String())


def _holds_in_json(
    field: ColumnElement[Any],
    path: tuple[str, ...],
    operator: Operator,
    values: tuple[Value, ...],
    is_sqlite: bool,
) -> ColumnElement[bool]:
    """Return whether what is at `path` of a JSON document, or one element of a list, holds."""
    elements = _in_sqlite(field, path) if is_sqlite else _in_postgresql(field, path)
    if operator in (Operator.EQ, Operator.IN):
        tests = [
            test
            for value in values
            if value is not None
            for test in (
                elements.text == (value if isinstance(value, str) else json.dumps(value)),
                elements.number == _bound(value) if _is_number(value) else false(),
            )
        ]
        holds = elements.some(or_(*tests)) if tests else false()
        return or_(holds, elements.is_null) if None in values else holds
    operand = elements.number if all(_is_number(value) for value in values) else elements.text
    if operator is Operator.LIKE:
        operand = elements.text
    return elements.some(_holds(operand, operator, values, is_sqlite))


@dataclass(frozen=True)
class _Elements:
    """What is at a path of a JSON document: one scalar, or the elements of a list."""

    text: ColumnElement[Any]  # of any scalar, as JSON writes it; null: it is none
    number: ColumnElement[Any]  # null: it is none
    kind: ColumnElement[str]  # of what is at the path; null: there is nothing

    def some(self, test: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return whether there is an element of which `test` is true."""
        return exists(select(1).where(self.kind != "object", test))

    @property
    def is_null(self) -> ColumnElement[bool]:
        """Whether there is nothing, or a null."""
        return func.coalesce(self.kind, "null", type_=String()) == "null"


def _in_sqlite(field: ColumnElement[Any], path: tuple[str, ...]) -> _Elements:
    where = "$" + "".join(f'."{name}"' for name in path)
    each = func.json_each(field, where).table_valued("value", column("type", String()))
    text = case(
        (each.c.type.in_(("true", "false")), each.c.type),
        (each.c.type.in_(("text", "integer", "real")), cast(each.c.value, Text)),
    )
    number = case((each.c.type.in_(("integer", "real")), type_coerce(each.c.value, Float())))
    return _Elements(text, number, func.json_type(field, where, type_=String()))


def _in_postgresql(field: ColumnElement[Any], path: tuple[str, ...]) -> _Elements:
    document = field
    if isinstance(field.type, Document):
        raw = type_coerce(field, Text())
        document = case((raw.op("!~", is_comparison=True)(_UNREADABLE), cast(raw, JSON())))
    found = document.op("#>", return_type=JSON())(cast(list(path), ARRAY(Text)))
    kind = func.json_typeof(found, type_=String())
    listed = case((kind == "array", found), else_=func.json_build_array(found))
    each = func.json_array_elements(listed).table_valued(column("value", JSON()))
    element_kind = func.json_typeof(each.c.value, type_=String())
    plain = each.c.value.op("#>>", return_type=Text())(cast([], ARRAY(Text)))
    text = case((element_kind.in_(("string", "number", "boolean")), plain))
    number = case((element_kind == "number", cast(plain, Numeric)))
    return _Elements(text, number, kind)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
