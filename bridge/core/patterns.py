r"""Regular expressions of strangers, matched in time linear in the text.

Abaco's ``.like`` takes a regular expression, and Python's `re` can be made to work for ever by a
few characters such as ``(a+)+$``. So a pattern is parsed here, into what a finite automaton can do:
characters, ``.``, classes, groups, ``|``, ``* + ? {m,n}``, ``^`` and ``$``. Look-around and
back-references, which are what takes for ever, are refused. SQLite calls `matches`; PostgreSQL,
whose engine is an automaton too, gets the pattern as `translate` writes it, so that both take the
same patterns for the same thing: unanchored, case-sensitive, ``.`` anything but a new line, ``^``
and ``$`` the ends of the whole text, ``\d \w \s`` ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

MAX_PATTERN = 200
_MAX_REPEAT = 50
_MAX_NODES = 300
_MAX_DEPTH = 20
# Combinations of states and characters that one text may make the automaton work out anew; what
# it keeps of them for the next text.
_MAX_STEPS = 20_000
_MAX_STATES = 1000

_END_OF_UNICODE = 0x10FFFF
_WORD = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_CLASSES = {"d": (("0", "9"),), "w": _WORD, "s": (("\t", "\r"), (" ", " "))}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}


@dataclass(frozen=True)
class Chars:
    """One character of these ranges, or one of all others."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def has(self, char: str) -> bool:
        """Whether `char` is one of them."""
        return any(low <= char <= high for low, high in self.ranges) is not self.negated


@dataclass(frozen=True)
class Edge:
    """The beginning or the end of the text."""

    is_end: bool


@dataclass(frozen=True)
class Sequence:
    """One after the other; none of them is the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """The same from `least` to `most` times; None: without end."""

    part: Node
    least: int
    most: int | None


Node: TypeAlias = Chars | Edge | Sequence | Choice | Repeat


def parse_pattern(text: str) -> Node:
    """Return what `text` means.

    Raises:
        ValueError: says what is not understood, and where.
    """
    if len(text) > MAX_PATTERN:
        raise ValueError(f"a pattern of at most {MAX_PATTERN} characters")
    node = _Parser(text).parse()
    _Automaton(node)  # refuses what is too large
    return node


def translate(node: Node) -> str:
    """Return `node` as a pattern of PostgreSQL's (advanced regular expressions)."""
    if isinstance(node, Chars):
        ranges = "".join(f"{_escape(low)}-{_escape(high)}" for low, high in node.ranges)
        return f"[{'^' if node.negated else ''}{ranges}]"
    if isinstance(node, Edge):
        return r"\Z" if node.is_end else r"\A"
    if isinstance(node, Repeat):
        most = "" if node.most is None else node.most
        return f"(?:{translate(node.part)}){{{node.least},{most}}}"
    mark = "|" if isinstance(node, Choice) else ""
    return f"(?:{mark.join(translate(part) for part in node.parts)})"


def matches(pattern: str, text: str) -> bool:
    """Return whether `pattern` is found in `text`.

    Raises:
        ValueError: the pattern is none, or this text takes it too many steps.
    """
    return _automaton(pattern).finds(text)


class _Parser:
    """Reads a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._choice()
        if self._at < len(self._text):
            raise self._unexpected("no ')' without its '('")
        return node

    def _choice(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated())
        return Sequence(tuple(parts))

    def _repeated(self) -> Node:
        node = self._one()
        while (bounds := self._bounds()) is not None:
            if isinstance(node, (Edge, Repeat)):
                raise self._unexpected("something that can be repeated before it")
            node = Repeat(node, *bounds)
            self._take("?")  # the shortest first, which makes no difference to being found
        return node

    def _bounds(self) -> tuple[int, int | None] | None:
        for mark, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(mark):
                return bounds
        if not self._take("{"):
            return None
        inside, closed, _ = self._text[self._at :].partition("}")
        low, comma, high = inside.partition(",")
        numbers = [low or "0", (high or None) if comma else low]
        if not closed or any(n is not None and not _is_number(n) for n in numbers) or not inside:
            raise self._unexpected("{m}, {m,} or {m,n}")
        self._at += len(inside) + 1
        least, most = (None if n is None else int(n) for n in numbers)
        assert least is not None
        if max(least, most or 0) > _MAX_REPEAT or (most is not None and most < least):
            raise self._unexpected(f"bounds in order and up to {_MAX_REPEAT}")
        return least, most

    def _one(self) -> Node:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return Chars((("\n", "\n"),), negated=True)
        if char in "^$":
            return Edge(is_end=char == "$")
        if char in "*+?{":
            self._at -= 1
            raise self._unexpected("something that can be repeated before it")
        return self._escaped() if char == "\\" else Chars(((char, char),))

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._unexpected(f"groups nested up to {_MAX_DEPTH} deep")
        if self._take("?") and not self._take(":"):
            raise self._unexpected("a plain group (...) or (?:...)")
        node = self._choice()
        if not self._take(")"):
            raise self._unexpected("')'")
        self._depth -= 1
        return node

    def _class(self) -> Chars:
        negated = self._take("^")
        ranges: list[tuple[str, str]] = []
        first = True
        while first or not self._take("]"):
            ranges += self._range()
            first = False
        return Chars(tuple(ranges), negated)

    def _range(self) -> Iterable[tuple[str, str]]:
        low = self._member()
        if len(low.ranges) != 1 or low.negated or low.ranges[0][0] != low.ranges[0][1]:
            return _positive(low)
        rest = self._text[self._at : self._at + 2]
        if len(rest) < 2 or rest[0] != "-" or rest[1] == "]":
            return low.ranges
        self._at += 1
        high = self._member()
        start, end = low.ranges[0][0], high.ranges[0][0]
        if len(high.ranges) != 1 or high.negated or end != high.ranges[0][1] or end < start:
            raise self._unexpected("a range from one character to a later one")
        return ((start, end),)

    def _member(self) -> Chars:
        char = self._next()
        return self._escaped() if char == "\\" else Chars(((char, char),))

    def _escaped(self) -> Chars:
        char = self._next()
        if char.lower() in _CLASSES:
            return Chars(_CLASSES[char.lower()], negated=char.isupper())
        if char in _CONTROLS:
            return Chars(((_CONTROLS[char], _CONTROLS[char]),))
        if char.isalnum():
            self._at -= 1
            raise self._unexpected(r"one of \d \w \s \D \W \S \n \t \r \f \v or a mark after '\'")
        return Chars(((char, char),))

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise self._unexpected("more")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _unexpected(self, expected: str) -> ValueError:
        found = repr(self._text[self._at]) if self._at < len(self._text) else "its end"
        return ValueError(
            f"a pattern that can be matched; at character {self._at + 1}, {found}, expected "
            f"{expected}"
        )


@dataclass(eq=False)
class _State:
    """A set of positions of the automaton, and where each character leads from there."""

    nodes: frozenset[int]
    accepts: bool
    accepts_at_end: bool
    moves: dict[str, _State] = field(default_factory=dict)


class _Automaton:
    """Positions joined by characters and by nothing; sets of them are states, made as needed."""

    def __init__(self, node: Node) -> None:
        self._chars: dict[int, tuple[Chars, int]] = {}
        self._free: list[list[tuple[Edge | None, int]]] = []
        self._first = self._new()
        self._last = self._new()
        self._build(node, self._first, self._last)
        self._states: dict[tuple[frozenset[int], bool], _State] = {}
        self._moves = 0

    def finds(self, text: str) -> bool:
        """Return whether the pattern is somewhere in `text`."""
        state = self._state({self._first}, at_start=True)
        steps = 0
        for char in text:
            if state.accepts:
                return True
            following = state.moves.get(char)
            if following is None:
                steps += 1
                if steps > _MAX_STEPS:
                    raise ValueError("a simpler pattern: this one takes too many steps")
                following = self._step(state, char)
            state = following
        return state.accepts_at_end

    def _step(self, state: _State, char: str) -> _State:
        found = {
            target
            for chars, target in (self._chars[n] for n in state.nodes if n in self._chars)
            if chars.has(char)
        }
        following = self._state(found | {self._first})
        state.moves[char] = following
        self._moves += 1
        return following

    def _state(self, nodes: Iterable[int], *, at_start: bool = False) -> _State:
        reached = self._reach(nodes, at_start=at_start)
        known = self._states.get((reached, at_start))
        if known is None:
            if len(self._states) >= _MAX_STATES or self._moves > _MAX_STEPS:
                self._states.clear()
                self._moves = 0
            at_end = self._reach(reached, at_start=at_start, at_end=True)
            known = _State(reached, self._last in reached, self._last in at_end)
            self._states[reached, at_start] = known
        return known

    def _reach(
        self, nodes: Iterable[int], *, at_start: bool = False, at_end: bool = False
    ) -> frozenset[int]:
        """Return `nodes` and what can be reached from them without a character."""
        open_ = list(nodes)
        found = set(open_)
        while open_:
            for edge, target in self._free[open_.pop()]:
                passes = edge is None or (at_end if edge.is_end else at_start)
                if passes and target not in found:
                    found.add(target)
                    open_.append(target)
        return frozenset(found)

    def _new(self) -> int:
        if len(self._free) >= _MAX_NODES:
            raise ValueError("a simpler pattern: this one has too many repeats")
        self._free.append([])
        return len(self._free) - 1

    def _build(self, node: Node, start: int, end: int) -> None:
        """Join `start` to `end` by what `node` matches."""
        if isinstance(node, Chars):
            place = self._new()
            self._free[start].append((None, place))
            self._chars[place] = (node, end)
        elif isinstance(node, Edge):
            self._free[start].append((node, end))
        elif isinstance(node, Choice):
            for part in node.parts:
                self._build(part, start, end)
        elif isinstance(node, Sequence):
            for part in node.parts:
                start = self._build_next(part, start)
            self._free[start].append((None, end))
        else:
            self._build_repeat(node, start, end)

    def _build_next(self, node: Node, start: int) -> int:
        end = self._new()
        self._build(node, start, end)
        return end

    def _build_repeat(self, node: Repeat, start: int, end: int) -> None:
        for _ in range(node.least):
            start = self._build_next(node.part, start)
        if node.most is None:
            loop = self._new()
            self._free[start].append((None, loop))
            self._build(node.part, loop, loop)
            self._free[loop].append((None, end))
            return
        for _ in range(node.most - node.least):
            self._free[start].append((None, end))
            start = self._build_next(node.part, start)
        self._free[start].append((None, end))


@lru_cache(maxsize=4)
def _automaton(pattern: str) -> _Automaton:
    return _Automaton(_Parser(pattern).parse())


def _positive(chars: Chars) -> Iterable[tuple[str, str]]:
    """Return the ranges of `chars`, those of all others if it is negated."""
    if not chars.negated:
        return chars.ranges
    gaps = []
    low = 1  # no text has a NUL
    for start, end in sorted(chars.ranges):
        if ord(start) > low:
            gaps.append((chr(low), chr(ord(start) - 1)))
        low = ord(end) + 1
    return [*gaps, (chr(low), chr(_END_OF_UNICODE))]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4


def _escape(char: str) -> str:
    return char if char.isalnum() else f"\\U{ord(char):08x}"
