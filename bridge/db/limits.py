"""A time limit on statements that a user's request makes expensive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from bridge.clock import monotonic_s
from bridge.errors import QueryTooCostly

# SQLite asks whether to go on after so many steps of its virtual machine: some ten rows. One row's
# pattern may take a tenth of a second.
_STEPS = 500
_CANCELED = "57014"  # PostgreSQL: query_canceled
_PATTERN_REFUSED = "2201B"  # PostgreSQL: invalid_regular_expression, which "too complex" is too


@contextmanager
def time_limit(session: Session, limit_s: float) -> Iterator[None]:
    """Let the block's statements take at most `limit_s` (each, on PostgreSQL).

    Raises:
        QueryTooCostly: one of them took longer, or a pattern in it was too much for the engine.
    """
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        end = monotonic_s() + limit_s
        driver.set_progress_handler(lambda: monotonic_s() > end, _STEPS)
    else:
        session.execute(text(f"SET LOCAL statement_timeout = {max(1, int(limit_s * 1000))}"))
    try:
        yield
    except DBAPIError as error:
        if not _is_too_costly(error.orig):
            raise
        raise QueryTooCostly(
            f"The search did not finish within {limit_s:g} seconds, or its pattern has too many "
            "steps. Narrow it: fewer or simpler conditions, or one actor's records."
        ) from error
    finally:
        if is_sqlite:
            driver.set_progress_handler(None, 0)


def _is_too_costly(error: BaseException | None) -> bool:
    name = getattr(error, "sqlite_errorname", None)
    if name is not None:
        # The one function of ours that fails is bridge_matches, on a pattern with too many steps.
        return name == "SQLITE_INTERRUPT" or "user-defined function" in str(error)
    return getattr(error, "sqlstate", None) in (_CANCELED, _PATTERN_REFUSED)
