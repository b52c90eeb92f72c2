"""From what a TOML file says to a site, or to all of its mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from bridge.sites.mistakes import Loc, Mistake, guess, read_checks, show_choice, show_value
from bridge.sites.model import Site
from bridge.sites.table import Table
from bridge.sites.tables import TABLES
from bridge.sites.words import expected

_KEYS_SHOWN = 14


def parse_site(data: dict[str, Any]) -> tuple[Site | None, list[Mistake]]:
    """Return the site that `data` describes, None if it has mistakes, and everything to be said.

    Args:
        data: what `tomllib` reads; types count, a number in quotes is no number.
    """
    mistakes = list(_find_dates(data, ()))
    site = None
    try:  # as JSON: there pydantic's strictness fits TOML's types
        site = Site.model_validate_json(json.dumps(data, default=lambda _: None), strict=True)
    except ValidationError as error:
        mistakes += [_explain(item) for item in error.errors(include_url=False)]
    # One a place: of a union pydantic reports each member.
    mistakes = list({one.loc: one for one in reversed(mistakes)}.values())[::-1]
    whole: Table | None = site
    if site is None or mistakes:
        whole = _read_partly(Site, data, {one.loc for one in mistakes}, ())
    assert isinstance(whole, Site)
    mistakes += find_mistakes(whole)
    return (None if any(not one.is_warning for one in mistakes) else site), mistakes


def find_mistakes(site: Site) -> Iterator[Mistake]:
    """Yield what the checks of all tables of `site` find."""
    for loc, table in walk_tables(site):
        for run in read_checks(table):
            for one in run(site):
                yield Mistake((*loc, *one.loc), one.text, one.is_warning)


def walk_tables(
    value: object, loc: Loc = (), *, used_only: bool = False
) -> Iterator[tuple[Loc, Table]]:
    """Yield `value` and every table in it, or every one that has an effect, each with its place."""
    inner: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(value, Table):
        yield loc, value
        keys = vars(value).items()
        inner = iter([(key, one) for key, one in keys if not used_only or value.uses(key)])
    elif isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, tuple):
        inner = iter(enumerate(value))
    for key, one in inner:
        yield from walk_tables(one, (*loc, key), used_only=used_only)


def _find_dates(value: object, loc: Loc) -> Iterator[Mistake]:
    """Yield a mistake for each date and time of TOML: there is no key that takes one."""
    if isinstance(value, date | time):
        _, hint, field = _resolve(loc)
        words = "" if hint is None else f", expected {expected(str(loc[-1]), field, hint)}"
        yield Mistake(loc, f"found a date or time{words}")
    items = value.items() if isinstance(value, dict) else ()
    places = enumerate(value) if isinstance(value, list) else ()
    for key, one in (*items, *places):
        yield from _find_dates(one, (*loc, key))


def _explain(item: ErrorDetails) -> Mistake:
    """Return what pydantic has found in the words of this room."""
    loc, hint, field = _resolve(item["loc"])
    key = next((part for part in reversed(loc) if isinstance(part, str)), "")
    found = f"found {show_value(item['input'], key)}"
    said = str(item.get("ctx", {}).get("error", ""))
    if item["type"] == "json_invalid":  # what tomllib reads can be too deep for pydantic
        return Mistake((), "lists or tables are nested too deep")
    if item["loc"][-1:] == ("[key]",):
        return Mistake(loc, said)
    if item["type"] == "extra_forbidden":
        return Mistake(loc, _explain_unknown(loc))
    if item["type"] == "missing":
        return Mistake(loc, f"missing, expected {expected(key, field, hint)}")
    if item["type"] == "string_too_short":
        return Mistake(loc, f"{found}, expected a text that is not empty")
    if said.startswith("expected") and "not shown" in found and _bare(hint) is Path:
        said += ": the name of a file, never what is in it"
    if said.startswith("expected"):
        return Mistake(loc, f"{found}, {said}")
    return Mistake(loc, f"{found}, expected {expected(key, field, hint)}")


def _explain_unknown(loc: Loc) -> str:
    """Return the text for a key that its table does not have."""
    word = str(loc[-1])
    _, hint, _ = _resolve(loc[:-1])
    model = _bare(hint)
    elsewhere = [title.replace("`", "") for title, one in TABLES if word in one.model_fields]
    if elsewhere:
        return f"unknown key here; it is one of: {', '.join(elsewhere)}"
    near = guess(word, model.model_fields)
    if near:
        return f"unknown key; {near}"
    names = list(model.model_fields)
    if len(names) > _KEYS_SHOWN:
        return "unknown key; the keys of this table are in site_configs/README.md"
    return f"unknown key, expected {show_choice(names)}"


def _resolve(loc: Loc) -> tuple[Loc, Any, FieldInfo | None]:
    """Return `loc` without pydantic's own marks, the type there, and the key's description.

    The type is None where the place is none that the models know.
    """
    hint: Any = Site
    field: FieldInfo | None = None
    for number, part in enumerate(loc):
        hint = _bare(hint)
        inner = get_args(hint)
        if isinstance(hint, type) and issubclass(hint, Table):
            field = hint.model_fields.get(str(part))
            if field is None:
                return loc, None, None
            hint = field.annotation
        elif get_origin(hint) is tuple and isinstance(part, int):
            hint, field = inner[0], None
        elif get_origin(hint) is dict and loc[number + 1 :] != ("[key]",):
            hint, field = inner[1], None
        elif get_origin(hint) is dict:
            return loc[: number + 1], None, None
        else:
            return loc[:number], hint, field
    return loc, hint, field


def _bare(hint: Any) -> Any:
    """Return the type itself, without bounds and without None."""
    while True:
        inner = [one for one in get_args(hint) if one is not type(None)]
        if get_origin(hint) is Annotated or (len(inner) == 1 and len(get_args(hint)) == 2):
            if get_origin(hint) in (tuple, dict):
                return hint
            hint = inner[0]
        else:
            return hint


def _read_partly(model: type[Table], data: dict[str, Any], bad: set[Loc], loc: Loc) -> Table:
    """Return the table without the keys that have mistakes: to see whether the others agree."""
    values: dict[str, Any] = {}
    given = set()
    for name, field in model.model_fields.items():
        if name in data:
            given.add(name)
            found = _value(field.annotation, field, data[name], bad, (*loc, name))
            if found is not _Unreadable:
                values[name] = found
        elif not field.is_required():
            values[name] = field.get_default(call_default_factory=True)
        elif _is_table_of_tables(field.annotation):
            values[name] = {}
    table = model.model_construct(given)
    vars(table).clear()
    vars(table).update(values)
    return table


class _Unreadable:
    """Stands for a value that has a mistake."""


def _value(hint: Any, field: FieldInfo | None, data: Any, bad: set[Loc], loc: Loc) -> Any:
    bare = _bare(hint)
    inner = get_args(bare)
    if isinstance(bare, type) and issubclass(bare, Table):
        return _read_partly(bare, data, bad, loc) if isinstance(data, dict) else _Unreadable
    if _is_table_of_tables(bare):
        entries = data.items() if isinstance(data, dict) else ()
        return {
            key: _read_partly(inner[1], one, bad, (*loc, key))
            for key, one in entries
            if isinstance(one, dict)
        }
    if get_origin(bare) is tuple and _is_table(inner[0]):
        if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
            return _Unreadable
        places = enumerate(data)
        return tuple(_read_partly(inner[0], one, bad, (*loc, place)) for place, one in places)
    if any(one[: len(loc)] == loc for one in bad):
        return _Unreadable
    metadata = field.metadata if field else ()
    whole: Any = Annotated[hint, *metadata] if metadata else hint
    return TypeAdapter(whole).validate_json(json.dumps(data), strict=True)


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Table)


def _is_table_of_tables(hint: Any) -> bool:
    return get_origin(hint) is dict and _is_table(get_args(hint)[1])
