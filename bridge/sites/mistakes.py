"""What can be wrong with a site file, and the one form in which it is said.

A mistake stands beside the model that it concerns: the type of a key and its bounds are checked by
pydantic, what several keys say together by the methods that `check` marks. Both are reported at
once: a check runs whenever the keys that it names could be read, whatever else is wrong.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time
from typing import Any, TypeVar
from urllib.parse import urlsplit

Loc = tuple[str | int, ...]
Checking = TypeVar("Checking", bound=Callable[..., Iterator["Mistake"]])

_LONGEST = 80
_SECRET = ("password", "passphrase", "secret", "token", "key", "credential")
_BARE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong.

    Attributes:
        loc: the keys that lead to it, with numbers for the places in lists; the ones that a check
            gives begin at its own table.
        text: what was found and what is expected.
        is_warning: it does no harm, but has no effect or is unlikely to be meant.
    """

    loc: Loc
    text: str
    is_warning: bool = False

    @property
    def key(self) -> str:
        """The place as it is written in TOML, as in ``tenants.PHYSICS.mounts[1].mode``."""
        return show_key(self.loc)


def check(*keys: str) -> Callable[[Checking], Checking]:
    """Mark a method of a table as a check of several of its keys together.

    Args:
        keys: what must have been readable for the check to run.

    The method takes the whole site, of which keys that could not be read are missing (the tables
    ``clusters`` and ``tenants`` are always there), and gives mistakes whose places begin at its own
    table.
    """

    def mark(method: Checking) -> Checking:
        method.needs = keys  # type: ignore[attr-defined]
        return method

    return mark


def show_key(loc: Iterable[str | int]) -> str:
    """Return the place `loc` as it is written in TOML; ``site`` for the file itself."""
    parts = ""
    for part in loc:
        if isinstance(part, int):
            parts += f"[{part}]"
        else:
            word = part if part and set(part) <= _BARE else json.dumps(part, ensure_ascii=False)
            parts += f".{word}" if parts else word
    return parts or "site"


def show_value(value: object, key: str = "") -> str:
    """Return `value` as TOML, shortened; never what may be a secret.

    Args:
        value: as it was found.
        key: the name under which it was found.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _show_text(value, key)
    if isinstance(value, list | tuple | dict):
        kind = "table" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if isinstance(value, date | time):
        return "a date or time"
    return str(value)


def _show_text(value: str, key: str) -> str:
    is_path = value.startswith("/") and "\n" not in value
    if not is_path and (any(word in key.lower() for word in _SECRET) or "\n" in value):
        return f"a text of {len(value)} characters, not shown" if value else '""'
    if "@" in value and _has_user(value):
        return "a URL with a user or password, not shown"
    short = value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."
    return json.dumps(short, ensure_ascii=False)


def _has_user(value: str) -> bool:
    try:
        return "@" in urlsplit(value).netloc
    except ValueError:
        return True


def show_choice(words: Iterable[str]) -> str:
    """Return quoted `words` as a choice: ``"a", "b" or "c"``."""
    quoted = [json.dumps(word, ensure_ascii=False) for word in words]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))


def guess(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean "name"?`` with the known name nearest to `word`, or an empty text."""
    near = nearest(word, known)
    return "" if near is None else f"did you mean {json.dumps(near, ensure_ascii=False)}?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `word` may have been meant for."""
    by_case = {name.lower(): name for name in known}
    short = word.lower()
    longer = [name for name in by_case if len(short) > 2 and name.startswith(short)]
    near = longer or difflib.get_close_matches(short, by_case, n=1, cutoff=0.6)
    return by_case[near[0]] if near else None


def not_among(word: str, known: Iterable[str], what: str) -> str:
    """Return the text for a name that is none of `known`, of which there are few."""
    names = sorted(known)
    hint = guess(word, names)
    return f"found {show_value(word)}, expected {what}: {show_choice(names) or 'there is none'}" + (
        f"; {hint}" if hint else ""
    )


def read_checks(table: Any) -> Iterator[Callable[..., Iterator[Mistake]]]:
    """Yield the checks of a table whose keys could be read."""
    for model in reversed(type(table).__mro__):
        for name, method in vars(model).items():
            needs = getattr(method, "needs", None)
            if isinstance(needs, tuple) and all(key in vars(table) for key in needs):
                yield getattr(table, name)
