"""The effective values of a site file, as TOML, each with where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.sites.load import SiteFile
from bridge.sites.mistakes import Loc, show_key
from bridge.sites.model import Site
from bridge.sites.table import Table
from bridge.sites.tenant import Tenant

_COLUMN = 60


def explain(file: SiteFile) -> str:
    """Return the whole site as a site file in which every key stands with its origin.

    Keys without a value are comments; what a tenant has from its cluster or the site is written
    out. The text is itself a site file that means the same.
    """
    return "\n".join(_table(file, file.site, ())).strip() + "\n"


def _table(file: SiteFile, table: Table, loc: Loc) -> Iterator[str]:
    """Yield the lines of a table: first its own keys, as TOML wants it, then the tables in it."""
    inner: list[tuple[Loc, Table]] = []
    if loc:
        yield ""
        yield _beside(f"[{show_key(loc)}]", _origin(file, loc))
    for name in type(table).model_fields:
        value, origin = _effective(file, table, (*loc, name))
        if isinstance(value, Table) and getattr(table, name) is None:
            yield _beside(f"# [{show_key((*loc, name))}]", f"as {origin}")
        elif isinstance(value, Table) and table.uses(name):
            inner.append(((*loc, name), value))
        elif isinstance(value, dict) and any(isinstance(one, Table) for one in value.values()):
            inner += [((*loc, name, key), one) for key, one in value.items()]
        elif value is None:
            yield _beside(f"# {name}", f"none, {origin}")
        elif not isinstance(value, Table):
            yield from _pair(name, value, origin)
    for place, one in inner:
        yield from _table(file, one, place)


def _pair(name: str, value: object, origin: str) -> Iterator[str]:
    if isinstance(value, tuple) and any(isinstance(one, Table) for one in value):
        yield _beside(f"{name} = [", origin)
        yield from (f"  {_show(one)}," for one in value)
        yield "]"
    else:
        yield _beside(f"{name} = {_show(value)}", origin)


def _effective(file: SiteFile, table: Table, loc: Loc) -> tuple[Any, str]:
    """Return the value that counts for the key at `loc`, and its origin."""
    value = getattr(table, str(loc[-1]))
    above = _above(file.site, table, loc) if value is None else None
    if above is None:
        return value, _origin(file, loc)
    found: Any = file.site
    for part in above:
        found = found[part] if isinstance(found, dict) else getattr(found, str(part))
    return found, f"{show_key(above)}, {_origin(file, above)}"


def _above(site: Site, table: Table, loc: Loc) -> Loc | None:
    """Return the key that counts where a tenant leaves its own out."""
    if isinstance(table, Tenant) and loc[-1] in Tenant.from_cluster:
        return ("clusters", table.cluster, loc[-1])
    if loc[-1] == "max_message_bytes" and loc[:1] == ("tenants",):
        return ("limits", "max_message_bytes")
    return None if loc != ("container_url",) else ("public_url",)


def _origin(file: SiteFile, loc: Loc) -> str:
    return f"line {file.lines[loc]}" if loc in file.lines else "default"


def _beside(text: str, origin: str) -> str:
    return f"{text:{_COLUMN}}  # {origin}"


def _show(value: object) -> str:
    """Return `value` as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_show(one) for one in value)}]"
    if isinstance(value, Table):
        given = {name: one for name, one in vars(value).items() if one is not None}
        return _show(given)
    if isinstance(value, dict):
        pairs = ", ".join(f"{show_key((key,))} = {_show(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return json.dumps(str(value) if not isinstance(value, Path) else value.as_posix(),
                      ensure_ascii=False).replace("\x7f", "\\u007f")  # fmt: skip
