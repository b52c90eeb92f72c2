"""Rows: made where several requests want them at once, not too many of a kind, listed in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from bridge.db import Base, Database
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


def list_in_pages(
    database: Database,
    query: Select[Row],
    key: InstrumentedAttribute[str],
    page: int,
    *,
    limit: int | None = None,
    skip: int = 0,
) -> Iterator[Sequence[Row]]:
    """Give what `query` finds in the order of `key`, page by page.

    Memory holds one page, and no transaction is open between two: a client may read as slowly as
    it likes.

    Args:
        database: where it is.
        query: without an order; its rows have each a `key` of their own.
        key: a column that is never changed.
        page: how many rows in one.
        limit: how many rows in all; None for every one.
        skip: how many are left out first.
    """
    ordered = query.order_by(key)
    following, left = ordered.offset(skip), limit
    while left is None or left > 0:
        with database.read() as session:
            count = page if left is None else min(page, left)
            rows = session.scalars(following.limit(count)).all()
        if not rows:
            return
        yield rows
        following = ordered.where(key > getattr(rows[-1], key.key))
        left = None if left is None else left - len(rows)
