"""On which line of a TOML file each of its keys is."""

from __future__ import annotations

import bisect
import re
import tomllib

from bridge.sites.mistakes import Loc

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|("(?:\\.|[^"\\])*"|'[^']*'))[ \t]*""")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r"""|"(?:\\.|[^"\\])*"|'[^']*'""",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}#\n]*")


def find_lines(text: str) -> dict[Loc, int]:
    """Return the line of each key, table and list entry, the first line being 1.

    Args:
        text: a file that `tomllib` has read without an error; tomllib itself gives no places.
    """
    scanner = _Scanner(text)
    scanner.scan_file()
    return scanner.lines


class _Scanner:
    """Goes over a file once; it is known to be TOML, so nothing is checked."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Loc, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._counts: dict[Loc, int] = {}  # arrays of tables: how many there are so far

    def scan_file(self) -> None:
        table: Loc = ()
        while self._skip_space() < len(self._text):
            if self._text[self._at] == "[":
                table = self._scan_header()
            else:
                self._scan_pair(table)

    def _skip_space(self) -> int:
        self._take(_SPACE)
        return self._at

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        assert match is not None, f"not TOML at offset {self._at}"
        self._at = match.end()
        return match

    def _note(self, loc: Loc) -> None:
        self.lines.setdefault(loc, bisect.bisect_left(self._breaks, self._at) + 1)

    def _scan_header(self) -> Loc:
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        loc: Loc = ()
        keys = self._scan_key()
        for number, key in enumerate(keys, start=1):
            loc = (*loc, key)
            if is_array and number == len(keys):
                self._counts[loc] = self._counts.get(loc, 0) + 1
                self._note(loc)
            if loc in self._counts:
                loc = (*loc, self._counts[loc] - 1)
            self._note(loc)
        self._at += 2 if is_array else 1
        return loc

    def _scan_key(self) -> list[str]:
        keys = []
        while True:
            bare, quoted = self._take(_KEY).groups()
            keys.append(bare or tomllib.loads(f"key = {quoted}")["key"])
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _scan_pair(self, table: Loc) -> None:
        begin = self._at
        loc = table
        for key in self._scan_key():
            loc = (*loc, key)
            end, self._at = self._at, begin
            self._note(loc)
            self._at = end
        self._at += 1  # the equals sign
        self._scan_value(loc)

    def _scan_value(self, loc: Loc) -> None:
        mark = self._text[self._skip_space()]
        if mark == "[":
            self._scan_entries(loc, "]")
        elif mark == "{":
            self._scan_entries(loc, "}")
        else:
            self._take(_STRING if mark in "\"'" else _BARE)

    def _scan_entries(self, loc: Loc, end: str) -> None:
        self._at += 1
        number = 0
        while self._text[self._skip_space()] != end:
            if end == "}":
                self._scan_pair(loc)
            else:
                self._note((*loc, number))
                self._scan_value((*loc, number))
            number += 1
            if self._text[self._skip_space()] == ",":
                self._at += 1
        self._at += 1
