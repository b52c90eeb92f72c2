"""One of several processes looks out for all."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from bridge.node.lookout import Lookout


def follow(lookout: Lookout, orders: Connection) -> None:
    """Do what is ordered, in a process of its own."""
    while (order := orders.recv()) != "end":
        orders.send(lookout.take() if order == "take" else lookout.leave())


class Other:
    def __init__(self, lookout: Lookout) -> None:
        context = multiprocessing.get_context("fork")
        self._orders, theirs = context.Pipe()
        self._process = context.Process(target=follow, args=(lookout, theirs))
        self._process.start()

    def do(self, order: str) -> bool | None:
        self._orders.send(order)
        answer: bool | None = self._orders.recv()
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@pytest.fixture
def others() -> Iterator[tuple[Other, Other]]:
    """Two processes that share a lookout."""
    lookout = Lookout(is_shared=True)
    both = Other(lookout), Other(lookout)
    yield both
    for other in both:
        other.kill()


def test_one_at_a_time(others: tuple[Other, Other]) -> None:
    one, other = others

    assert one.do("take")
    assert one.do("take")
    assert not other.do("take")
    one.do("leave")
    assert other.do("take")
    assert not one.do("take")


def test_one_that_was_killed_leaves_the_place(others: tuple[Other, Other]) -> None:
    one, other = others
    one.do("take")
    one.kill()

    assert other.do("take")


def test_a_worker_that_is_alone_always_is() -> None:
    lookout = Lookout()

    assert lookout.take()
    lookout.leave()
    assert lookout.take()
