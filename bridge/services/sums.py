"""Sums over counts that journals gave, which their owner may forge.

SQLite refuses a sum that 64 bits do not hold, so it is made of two halves.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import InstrumentedAttribute

_HALF = 2**32


def halves_of_sum(
    column: InstrumentedAttribute[int],
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return two columns of which `whole_sum` makes the sum of `column`, which is not negative."""
    high, low = func.sum(column // _HALF), func.sum(column % _HALF)
    return func.coalesce(high, 0), func.coalesce(low, 0)


def whole_sum(high: Any, low: Any) -> int:
    """Return the sum of which these are the halves; PostgreSQL gives them as decimals."""
    return int(high) * _HALF + int(low)
