"""Transactions of several threads as one, with one flush to the disk for all of them.

SQLite lets one transaction write at a time and flushes each: a thousand a second at best, most of
which is waiting. The thread that comes first leads: it does the work of all that wait in one
transaction, and each goes on when that is committed, never before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

T = TypeVar("T")
Begin = Callable[[], AbstractContextManager[Session]]

MAX_TOGETHER = 32


class Interrupted(Exception):
    """The thread that led was ended; whether this work was committed is unknown."""


class _Job:
    """One thread's work: `turn` is set when it is done, or when this thread is to lead."""

    def __init__(self, work: Callable[[Session], Any]) -> None:
        self.work = work
        self.turn = threading.Event()
        self.answer: Future[Any] = Future()

    def run_alone(self, begin: Begin) -> None:
        """Do the work in a transaction of its own."""
        try:
            with begin() as session:
                value = self.work(session)
        except Exception as error:  # noqa: BLE001  # raised again in the thread whose work it is
            self.answer.set_exception(error)
        else:
            self.answer.set_result(value)


class Group:
    """Brings threads' work together; `begin` opens a transaction."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []  # empty whenever nobody leads
        self._is_led = False

    def run(self, work: Callable[[Session], T]) -> T:
        """Return what `work` returns, committed; or raise what it raises, rolled back.

        `work` is done again, alone, when that of another thread in the same transaction fails.
        """
        job = _Job(work)
        with self._lock:
            self._waiting.append(job)
            leads, self._is_led = not self._is_led, True
        if not leads:
            job.turn.wait()
        if not job.answer.done():
            self._lead()
        answer: T = job.answer.result()
        return answer

    def _lead(self) -> None:
        """Do what waits, this thread's own work first, and leave the lead to the next."""
        with self._lock:
            jobs, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
        try:
            self._run_together(jobs)
        finally:
            with self._lock:
                following = self._waiting[:1]
                self._is_led = bool(following)
            for job in jobs:
                if not job.answer.done():
                    job.answer.set_exception(Interrupted())
            for job in jobs + following:
                job.turn.set()

    def _run_together(self, jobs: list[_Job]) -> None:
        try:
            with self._begin() as session:
                values = [job.work(session) for job in jobs]
        except OperationalError as error:  # the database itself: no better one by one
            for job in jobs:
                job.answer.set_exception(error)
        except Exception:  # noqa: BLE001  # whose it was shows when each is done alone
            for job in jobs:
                job.run_alone(self._begin)
        else:
            for job, value in zip(jobs, values, strict=True):
                job.answer.set_result(value)
