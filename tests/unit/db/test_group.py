"""Threads' transactions as one: each is answered after its commit, and with its own outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from bridge.db import Lease
from bridge.db.group import MAX_TOGETHER, Group, Interrupted
from tests.factories.rows import START


class Threads:
    """Starts work in threads, and keeps what came of each by its name."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.outcomes: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[Any], Any]) -> None:
        def run() -> None:
            try:
                self.outcomes[name] = self.group.run(work)
            except BaseException as error:  # noqa: BLE001  # it is looked at
                self.outcomes[name] = error

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def until_waiting(self, count: int) -> None:
        """Go on when so many wait for the one that leads."""
        for _ in range(5000):
            if len(self.group._waiting) == count:
                return
            self._threads[-1].join(0.002)
        raise AssertionError(f"{len(self.group._waiting)} wait")

    def join(self) -> dict[str, Any]:
        for thread in self._threads:
            thread.join(30)
        return self.outcomes


@pytest.fixture
def commits(database):
    """How many transactions were committed, as a list that grows."""
    seen: list[str] = []

    def note(_connection: Any) -> None:
        seen.append("commit")

    event.listen(database.engine, "commit", note)
    yield seen
    event.remove(database.engine, "commit", note)


@pytest.fixture
def threads(database):
    return Threads(Group(database.begin))


def add(name: str) -> Callable[[Any], str]:
    def work(session: Any) -> str:
        session.add(Lease(name=name, holder="x", expires_at=START))
        session.flush()
        return name

    return work


def blocked(work: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], threading.Event]:
    """Return `work` that first waits, once, for the event."""
    go = threading.Event()

    def wait_and_work(session: Any) -> Any:
        assert go.wait(30)
        return work(session)

    return wait_and_work, go


def leases(database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Lease.name)))


def test_what_waits_meanwhile_goes_together(database, threads, commits):
    first, go = blocked(add("first"))
    threads.start("first", first)
    for number in range(5):
        threads.start(str(number), add(str(number)))
    threads.until_waiting(5)
    go.set()
    names = {"first", *map(str, range(5))}
    assert threads.join() == {name: name for name in names}
    assert leases(database) == names
    assert len(commits) == 2


def test_an_answer_comes_after_its_commit(database):
    committed = threading.Event()

    @contextmanager
    def begin():
        with database.begin() as session:
            yield session
        committed.set()

    def work(session):
        add("x")(session)
        assert not committed.is_set()

    Group(begin).run(work)
    assert committed.is_set()
    assert leases(database) == {"x"}


def test_a_failure_is_one_s_own(database, threads):
    def fail(session):
        add("half")(session)
        raise LookupError("mine alone")

    first, go = blocked(add("first"))
    threads.start("first", first)
    threads.start("a", add("a"))
    threads.start("bad", fail)
    threads.start("b", add("b"))
    threads.until_waiting(3)
    go.set()
    outcomes = threads.join()
    assert repr(outcomes.pop("bad")) == "LookupError('mine alone')"
    assert outcomes == {name: name for name in ("first", "a", "b")}
    assert leases(database) == {"first", "a", "b"}


def test_the_database_s_own_failure_is_everybody_s_at_once(database):
    tries = []

    @contextmanager
    def begin():
        tries.append(1)
        raise OperationalError("BEGIN", {}, Exception("database is locked"))
        yield

    with pytest.raises(OperationalError, match="locked"):
        Group(begin).run(add("x"))
    assert len(tries) == 1


def test_who_leads_may_be_interrupted_and_nobody_waits_for_ever(database, threads):
    def interrupt(_session):
        raise SystemExit

    first, go = blocked(interrupt)
    threads.start("first", first)
    threads.start("second", add("second"))
    threads.until_waiting(1)
    go.set()
    outcomes = threads.join()
    assert isinstance(outcomes["first"], SystemExit)
    assert outcomes["second"] == "second"
    assert threads.group.run(add("later")) == "later"
    assert leases(database) == {"second", "later"}


def test_those_led_by_one_who_is_interrupted_are_told(database, threads):
    def interrupt(_session):
        raise SystemExit

    first, go = blocked(add("first"))
    threads.start("first", first)
    threads.start("a", add("a"))
    threads.until_waiting(1)
    threads.start("bad", interrupt)
    threads.until_waiting(2)
    threads.start("b", add("b"))
    threads.until_waiting(3)
    go.set()
    outcomes = threads.join()
    assert outcomes["first"] == "first"
    assert isinstance(outcomes["a"], SystemExit)  # it led
    assert isinstance(outcomes["bad"], Interrupted)
    assert isinstance(outcomes["b"], Interrupted)
    assert leases(database) == {"first"}


def test_a_group_has_a_bound(database, threads, commits):
    first, go = blocked(add("first"))
    threads.start("first", first)
    for number in range(MAX_TOGETHER + 3):
        threads.start(str(number), add(str(number)))
    threads.until_waiting(MAX_TOGETHER + 3)
    go.set()
    assert len(threads.join()) == MAX_TOGETHER + 4
    assert len(commits) == 3


def test_many_at_once_lose_nothing(database):
    names = [str(number) for number in range(60)]
    done = []

    def work(mine):
        done.extend([database.write(add(name)) for name in mine])

    workers = [threading.Thread(target=work, args=(names[number::6],)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(done) == sorted(names)
    assert leases(database) == set(names)
