"""Transactions: what commits, what rolls back, what waits, what SQLite is set to."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, StatementError

from bridge.db import ClusterUser, Database
from bridge.db import session as db_session
from tests.factories.rows import START, add_account, add_image


def test_an_error_takes_everything_back(database):
    def fail(session):
        add_account(session)
        raise RuntimeError

    with pytest.raises(RuntimeError), database.begin() as session:
        fail(session)
    with database.read() as session:
        assert session.query(ClusterUser).count() == 0


def test_a_reader_does_not_wait_for_a_writer(database):
    with database.begin() as writer:
        add_account(writer)
        with database.read() as reader:
            assert reader.query(ClusterUser).count() == 0


def test_moments_are_utc_and_aware(database):
    moment = datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=timezone(timedelta(hours=-6)))
    with database.begin() as session:
        add_account(session, checked_at=moment)
    with database.read() as session:
        found = session.query(ClusterUser).one().checked_at
    assert found == moment
    assert found.utcoffset() == timedelta(0)


def test_a_moment_without_a_zone_is_refused(database):
    with pytest.raises(StatementError, match="without a time zone"), database.begin() as session:
        add_account(session, checked_at=START.replace(tzinfo=None))


def test_numbers_of_rows_are_given_by_the_database(database):
    with database.begin() as session:
        first, second = add_image(session), add_image(session)
    assert second.id == first.id + 1


def test_sqlite_keeps_what_was_answered(database):
    if database.engine.dialect.name != "sqlite":
        pytest.skip("SQLite's own settings")
    with database.engine.connect() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_who_cannot_write_in_time_is_told_so(sqlite_template, tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.db.session.BUSY_MS", 20)
    shutil.copy(sqlite_template, tmp_path / "bridge.db")
    first, second = (Database(f"sqlite:///{tmp_path}/bridge.db") for _ in range(2))
    with first.begin() as session:
        add_image(session)
        with pytest.raises(OperationalError, match="database is locked"), second.begin() as other:
            add_image(other)
    with second.begin() as other:
        add_image(other)
        assert other.scalar(text("SELECT count(*) FROM images")) == 2
    first.close()
    second.close()


@pytest.mark.postgres
def test_a_connection_that_is_no_more_is_replaced(postgres_database, monkeypatch):
    """As after a restart of the server, once it was left alone for a while."""
    database = Database(postgres_database.url)
    with database.read() as session, database.read() as other:
        pids = [one.scalar(text("SELECT pg_backend_pid()")) for one in (session, other)]
    with postgres_database.begin() as session:
        for pid in pids:
            session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    monkeypatch.setattr("bridge.db.session.TRUSTED_S", 0)
    for _ in range(2):
        with database.read() as session:
            assert session.scalar(text("SELECT pg_backend_pid()")) not in pids
    database.close()


@pytest.mark.postgres
def test_one_that_was_used_just_now_is_not_asked_for_first(postgres_database, monkeypatch):
    database = Database(postgres_database.url)
    pings = []
    monkeypatch.setattr(database.engine.dialect, "do_ping", pings.append)
    for _ in range(2):
        with database.read() as session:
            session.scalar(text("SELECT 1"))
    assert pings == []
    monkeypatch.setattr("bridge.db.session.TRUSTED_S", 0)
    with database.read() as session:
        session.scalar(text("SELECT 1"))
    assert len(pings) == 1
    database.close()


def test_who_writes_time_after_time_lets_others_in(database, monkeypatch):
    """On SQLite, where they would find it locked whenever they ask."""
    rests = []
    now = [10.0]
    monkeypatch.setattr(db_session.time, "sleep", rests.append)
    monkeypatch.setattr(db_session, "monotonic_s", lambda: now[0])
    for held_s, other_s in ((0.001, 0.0), (60.0, 0.002), (0.0, 0.0)):
        with database.begin_in_turn():
            now[0] += held_s
        now[0] += other_s
    has_one_writer = database.engine.dialect.name == "sqlite"
    expected = [0.0, 0.001, db_session.MOST_REST_S - 0.002]
    assert rests == (pytest.approx(expected) if has_one_writer else [])
