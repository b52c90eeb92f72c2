"""The files of this host that a site file names: whether they are there, and who may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from bridge.errors import SiteConfigError
from bridge.sites.kinds import HostFile
from bridge.sites.mistakes import Loc, Mistake
from bridge.sites.model import Site
from bridge.sites.parse import walk_tables


@dataclass(frozen=True)
class NamedFile:
    """A file that a key names.

    Attributes:
        loc: the key.
        path: the file.
        what: what it must be, a secret, a directory or root's own.
    """

    loc: Loc
    path: Path
    what: HostFile


def named_files(site: Site) -> Iterator[NamedFile]:
    """Yield every file of this host that `site` names; not those of which each user has one."""
    for loc, table in walk_tables(site, used_only=True):
        for name, field in type(table).model_fields.items():
            what = _find_marker((*field.metadata, field.annotation))
            if what is None:
                continue
            value = getattr(table, name)
            if isinstance(value, tuple):
                for number, one in enumerate(value):
                    yield NamedFile((*loc, name, number), one, what)
            elif value is not None and "{" not in str(value):
                yield NamedFile((*loc, name), Path(value), what)


def check_writers(path: Path) -> None:
    """Refuse a site file that others than its owner and group can write: it says who runs what.

    Raises:
        SiteConfigError: says its mode; or it is no longer there.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise SiteConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if mode & stat.S_IWOTH:
        raise SiteConfigError(
            f"{path}: has mode {mode:04o}, expected 0644 or less: every user of this host can write"
        )


def check_files(site: Site) -> Iterator[Mistake]:
    """Yield what is wrong with them, as far as this process may look."""
    for one in named_files(site):
        text = _check(one)
        if text:
            yield Mistake(one.loc, f"{one.path} {text}")


def _find_marker(hints: tuple[Any, ...]) -> HostFile | None:
    for hint in hints:
        found = hint if isinstance(hint, HostFile) else _find_marker(get_args(hint))
        if found is not None:
            return found
    return None


def _check(one: NamedFile) -> str:
    """Return what is wrong with the file, or nothing."""
    try:
        found = one.path.stat()
    except OSError as error:
        return f"cannot be found ({error.strerror})"
    mode = stat.S_IMODE(found.st_mode)
    kind = "a directory" if one.what.is_directory else "a regular file"
    is_kind = stat.S_ISDIR if one.what.is_directory else stat.S_ISREG
    if not is_kind(found.st_mode):
        return f"is something else, expected {kind}"
    if one.what.is_secret and mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP):
        return f"has mode {mode:04o}, expected a secret to have 0600 or 0640"
    if one.what.is_roots and (found.st_uid != 0 or mode & (stat.S_IWGRP | stat.S_IWOTH)):
        who = f"uid {found.st_uid} and mode {mode:04o}"
        return f"has {who}, expected root to own it and nobody else to write it"
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return f"has mode {mode:04o}: every user of this host can write it"
    if not os.access(one.path, os.R_OK, effective_ids=True):
        return (
            f"cannot be read by this user (uid {os.geteuid()}); the check is for whoever needs it"
        )
    return ""
