"""Rows that several requests may want to make at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.db import Base

Row = TypeVar("Row", bound=Base)


def find_or_insert(session: Session, find: Callable[[], Row | None], row: Row) -> Row:
    """Return what `find` finds, else `row` inserted, else what another was faster to insert."""
    found = find()
    if found is not None:
        return found
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        found = find()
        if found is None:
            raise  # refused for another reason than being there already
        return found
    return row
