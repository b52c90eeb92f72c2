"""Engine and sessions.

SQLite runs in WAL mode with ``synchronous=FULL``: what was answered 200 is on the disk. Every
transaction that writes begins IMMEDIATE, so that two writers queue up instead of failing half way.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import SystemRandom
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

from bridge.clock import monotonic_s
from bridge.core.patterns import matches
from bridge.db.group import Group

T = TypeVar("T")
MOST_REST_S = 0.0035  # longer than between two questions of who waits

# Of one process at most; one of each thread that has something to do with the database.
CONNECTIONS = 15
# A connection that was in use so short a time ago is not asked whether it is still there: that
# would cost each request a way to the server and back.
TRUSTED_S = 2.0
# How long SQLite's transactions wait for each other.
BUSY_MS = 30_000
_random = SystemRandom()


class Database:
    """An engine and its sessions."""

    def __init__(self, url: str) -> None:
        """Open `url` (an SQLAlchemy URL; ``sqlite:///path`` or ``postgresql+psycopg://``)."""
        self.url = url
        # Values stay out of errors, and so out of logs: nonces are among them.
        # What was opened once is kept: opening one costs PostgreSQL a process.
        self.engine: Engine = create_engine(
            url, pool_size=CONNECTIONS, max_overflow=0, hide_parameters=True
        )
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin)
        else:
            event.listen(self.engine, "checkin", _note_return)
            event.listen(self.engine, "checkout", partial(_check_idle, self.engine.dialect))
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._group = Group(self.begin)
        self._rest_until = 0.0

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Give a session whose work is committed at the end, or rolled back on an error."""
        with self._sessions.begin() as session:
            yield session

    def write(self, work: Callable[[Session], T]) -> T:
        """Return what `work` returns, committed; for what many threads do at the same moment.

        On SQLite in one transaction with the others': `work` may be done twice, of which one time
        counts, and does nothing but use the session. PostgreSQL brings commits together itself.
        """
        if self.engine.dialect.name == "sqlite":
            return self._group.run(work)
        with self.begin() as session:
            return work(session)

    @contextmanager
    def begin_in_turn(self) -> Iterator[Session]:
        """As `begin`, for one of many transactions in a row: others get to write in between.

        SQLite has one writer at a time, and who waits for its turn asks for it every few
        milliseconds, and stands in no line: whoever writes time after time without a rest would
        keep the others out for long. The rest is as long as the transaction before, and what was
        done meanwhile counts.
        """
        if self.engine.dialect.name == "sqlite":
            time.sleep(max(0.0, self._rest_until - monotonic_s()))
        begun = monotonic_s()
        with self.begin() as session:
            yield session
        ended = monotonic_s()
        self._rest_until = ended + min(ended - begun, MOST_REST_S)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session for reading only: on SQLite it takes no write lock."""
        options = {"sqlite_read": True} if self.engine.dialect.name == "sqlite" else {}
        with (
            self.engine.connect().execution_options(**options) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    def close(self) -> None:
        """Close every connection of the pool."""
        self.engine.dispose()


def _note_return(_connection: Any, record: Any) -> None:
    record.info["returned_s"] = monotonic_s()


def _check_idle(dialect: Any, connection: Any, record: Any, _proxy: object) -> None:
    """Have the pool begin anew if the connection is no more: the server was started again."""
    returned_s = record.info.get("returned_s")
    if returned_s is None or monotonic_s() - returned_s < TRUSTED_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError() from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    connection.create_function("bridge_matches", 2, _matches, deterministic=True)


def _matches(pattern: str, subject: bytes | None) -> bool | None:
    """SQL's function for patterns, which SQLite leaves to its users.

    The text comes as bytes, since what SQLite reads in a JSON document need not be Unicode.
    """
    return None if subject is None else matches(pattern, subject.decode(errors="replace"))


def _begin(connection: Any) -> None:
    if connection.get_execution_options().get("sqlite_read", False):
        connection.exec_driver_sql("BEGIN")
        return
    driver = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout=0")
    try:
        began = _try_to_begin(driver)
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    if not began:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _try_to_begin(driver: sqlite3.Connection) -> bool:
    """Wait for the one who writes, asking often; whether a transaction that writes has begun.

    SQLite itself asks again after up to a tenth of a second. Whoever comes to a database to which
    another process writes one short transaction after the other would wait for many of them.
    """
    end = monotonic_s() + BUSY_MS / 1000
    while monotonic_s() < end:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                return False  # whatever it is, it is told as errors of the database are
        else:
            return True
        time.sleep(_random.uniform(0.0005, 0.003))
    return False
