"""Making rows that several requests want at the same moment, and not too many of a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.db import Base
from bridge.errors import LimitReached

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


def check_room(session: Session, count: Select[int], limit: int, whose: str, what: str) -> None:
    """Refuse one more where `count` finds as many as there may be.

    Requests at the same moment may each find room for the last one: the limit keeps tables and
    answers small, it need not be exact.

    Raises:
        LimitReached: ``<whose> <limit> <what>``.
    """
    if session.scalars(count).one() >= limit:
        raise LimitReached(f"{whose} {limit} {what}, as many as there may be; remove one first.")
