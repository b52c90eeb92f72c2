"""One active scheduler."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from bridge.clock import ManualClock
from bridge.db import Database, Lease
from bridge.scheduler.lease import DURATION, SchedulerLease, is_gone

Other = Callable[[], SchedulerLease]


@pytest.fixture
def other(database: Database, clock: ManualClock) -> Other:
    """Makes leases as another process sees them, which lives: the parent of this one."""

    def make() -> SchedulerLease:
        lease = SchedulerLease(database, clock)
        lease.holder = lease.holder.replace(f":{os.getpid()}:", f":{os.getppid()}:")
        return lease

    return make


@pytest.fixture
def first(database: Database, clock: ManualClock) -> SchedulerLease:
    return SchedulerLease(database, clock)


def expiry(database: Database) -> object:
    with database.read() as session:
        return session.get_one(Lease, "scheduler").expires_at


def test_the_first_holds_it_and_the_second_stands_by(first: SchedulerLease, other: Other) -> None:
    second = other()
    assert first.hold()
    assert not second.hold()
    assert first.hold()


def test_it_is_renewed_before_it_ends(
    database: Database, clock: ManualClock, first: SchedulerLease, other: Other
) -> None:
    second = other()
    assert first.hold()
    for _ in range(10):
        clock.push(DURATION.total_seconds() * 0.9)
        assert first.hold()
        assert not second.hold()


def test_it_is_not_written_more_often_than_needed(
    database: Database, clock: ManualClock, first: SchedulerLease
) -> None:
    first.hold()
    before = expiry(database)
    clock.push(1)
    first.hold()
    assert expiry(database) == before


def test_who_does_not_renew_it_loses_it(
    clock: ManualClock, first: SchedulerLease, other: Other
) -> None:
    second = other()
    assert first.hold()
    clock.push(DURATION.total_seconds() + 0.001)
    assert second.hold()
    assert not first.hold()


def test_it_is_given_back(first: SchedulerLease, other: Other) -> None:
    second = other()
    first.hold()
    first.release()
    assert second.hold()


def test_nobody_gives_back_another_s(first: SchedulerLease, other: Other) -> None:
    second = other()
    first.hold()
    second.release()
    assert not second.hold()


def test_a_dead_holder_is_not_waited_for(first: SchedulerLease, other: Other) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    second = other()
    second.holder = first.holder.replace(f":{os.getpid()}:", f":{process.pid}:")
    assert second.hold()

    assert first.hold()


def test_a_process_of_another_place_is_not_taken_for_dead(first: SchedulerLease) -> None:
    """Containers have host names and process numbers of their own: a number says nothing there."""
    dead = first.holder.replace(f":{os.getpid()}:", ":4194305:")
    assert is_gone(dead)
    host, place, *rest = dead.split(":")
    assert not is_gone(":".join([host, "0" * len(place), *rest]))
    assert not is_gone(":".join(["elsewhere", place, *rest]))


def test_a_holder_of_another_form_is_waited_for() -> None:
    assert not is_gone("x")
    assert not is_gone("")


def test_the_name_fits_into_its_column(database: Database, clock: ManualClock) -> None:
    length = Lease.__table__.c.holder.type.length  # type: ignore[attr-defined]
    holder = SchedulerLease(database, clock).holder
    _, _, rest = holder.partition(":")
    assert len(rest) + 64 < length
