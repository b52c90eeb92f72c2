"""Weighted max-min fairness over a tree: things are given out one by one. Pure.

A thing goes down from the root, at each branch to the child that has the fewest for its weight and
may and wants to have one more; below it in the same way.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Place = tuple[float, bool, float, Any]


@dataclass
class Leaf:
    """One that wants things.

    Attributes:
        used: of equals, the one that has used the least comes first.
        name: and of these, the first by name.
        live: how many it has already, which it is asked for first.
        young: of these, those that come before what equals want anew.
        more: how many it wants besides.
        add: called before it is given one more than it has; it gets no more if that says no.
        about: whatever `add` needs.
        count: how many it was given.
    """

    used: float
    name: Any
    live: int
    young: int
    more: int
    add: Callable[[Leaf], bool]
    about: object = None
    count: int = 0
    weight: float = 1.0

    def give(self) -> bool:
        """Give it one; whether it takes it."""
        if self.count >= self.live + self.more:
            return False
        if self.count >= self.live and not self.add(self):
            return False
        self.count += 1
        return True

    def place(self) -> Place:
        """Return what orders those that stand in line for the next one; the lowest is first."""
        return _place(self)


@dataclass
class Branch:
    """Those who share something.

    Attributes:
        weight: of the whole, beside its equals.
        used: see `Leaf`.
        name: see `Leaf`.
        most: how many all below it may have together; None: any number.
        refuse: called for each leaf that might have got more, were it not for `most`.
        children: branches and leaves.
        count: how many were given to those below it.
    """

    weight: float
    used: float
    name: Any
    most: int | None
    refuse: Callable[[Leaf], None]
    children: list[Branch | Leaf] = field(default_factory=list)
    count: int = 0
    _line: list[tuple[Place, int]] | None = None

    @cached_property
    def young(self) -> int:
        """How many of those below it are young."""
        return sum(child.young for child in self.children)

    def give(self) -> bool:
        """Give one to whoever of those below it is next; whether anybody takes it."""
        if self._line is None:
            self._line = [(child.place(), at) for at, child in enumerate(self.children)]
            heapq.heapify(self._line)
        if self.most is not None and self.count >= self.most:
            self.refuse_all(self.refuse)
            return False
        while self._line:
            _, at = heapq.heappop(self._line)
            child = self.children[at]
            if child.give():
                heapq.heappush(self._line, (child.place(), at))
                self.count += 1
                return True
        return False

    def place(self) -> Place:
        """See `Leaf`."""
        return _place(self)

    def refuse_all(self, refuse: Callable[[Leaf], None]) -> None:
        """Call `refuse` for each leaf below it that might have got more."""
        for child in self.children:
            if isinstance(child, Leaf):
                if child.count < child.live + child.more:
                    refuse(child)
            else:
                child.refuse_all(refuse)


def _place(node: Branch | Leaf) -> Place:
    share = (node.count + 1) / node.weight
    return share, node.count >= node.young, node.used / node.weight, node.name


def fill(root: Branch) -> None:
    """Give out things until nobody may have, or wants, another."""
    while root.give():
        pass
