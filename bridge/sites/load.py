"""Reading a site file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import SiteConfigError
from bridge.sites.lines import find_lines
from bridge.sites.mistakes import Loc, Mistake
from bridge.sites.model import Site
from bridge.sites.parse import parse_site

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)\Z", re.DOTALL)


@dataclass(frozen=True)
class SiteFile:
    """A site file that has no mistakes.

    Attributes:
        path: where it is.
        site: what it says.
        lines: on which line each of its keys is.
        warnings: what has no effect or is unlikely to be meant.
    """

    path: Path
    site: Site
    lines: dict[Loc, int]
    warnings: tuple[Mistake, ...]

    def line(self, mistake: Mistake) -> str:
        """Return `mistake` as it is reported, with file and line."""
        return _show(self.path, self.lines, mistake)


def load_site(path: Path) -> Site:
    """Return the site that `path` describes.

    Raises:
        SiteConfigError: the file cannot be read, is not TOML, or has mistakes; every mistake is
            a line of its own with file, line, key, what was found and what is expected.
    """
    return read_site_file(path).site


def read_site_file(path: Path) -> SiteFile:
    """Return the file at `path` with all that is known about it.

    Raises:
        SiteConfigError: as `load_site` does.
    """
    text = _read(path)
    try:
        site, found = parse_site(tomllib.loads(text))
        lines = find_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteConfigError(_show_syntax(path, text, str(error))) from error
    except ValueError as error:  # of Python itself: a number of thousands of digits
        raise SiteConfigError(f"{path}: not TOML: a number is too long") from error
    except RecursionError as error:
        raise SiteConfigError(f"{path}: lists or tables are nested too deep") from error
    found.sort(key=lambda one: _line(lines, one.loc))
    if site is None:
        wrong = [one for one in found if not one.is_warning]
        raise SiteConfigError("\n".join(_show(path, lines, one) for one in wrong))
    return SiteFile(path, site, lines, tuple(found))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # as some editors begin it
    except OSError as error:
        raise SiteConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SiteConfigError(
            f"{path}:{line}: not TOML: found a byte that is not UTF-8, expected UTF-8 text"
        ) from error


def _show_syntax(path: Path, text: str, said: str) -> str:
    """Return the line for what `tomllib` says, with line and column in front."""
    match = _PLACE.match(said)
    if match is None:
        return f"{path}: not TOML: {said}"
    what, line, column = match.groups()
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    return f"{path}:{line}:{column}: not TOML: {what[:1].lower()}{what[1:]}"


def _line(lines: dict[Loc, int], loc: Loc) -> int:
    """Return the line of `loc`, or of the nearest table or list around it; 0: the whole file's."""
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 0)


def _show(path: Path, lines: dict[Loc, int], mistake: Mistake) -> str:
    line = _line(lines, mistake.loc)
    kind = "warning: " if mistake.is_warning else ""
    return f"{path}{f':{line}' if line else ''}: {kind}{mistake.key}: {mistake.text}"
