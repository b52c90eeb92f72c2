"""What differs between two readings of a site file."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.sites.mistakes import Loc, show_key
from bridge.sites.model import Site
from bridge.sites.table import Table


def find_changes(old: Site, new: Site) -> list[str]:
    """Return the keys whose effective values differ, as in ``tenants.PHYSICS.mounts``.

    A list is one value; of a cluster or tenant that is new or gone only the table is named.
    """
    return [show_key(loc) for loc in _differences(old, new, ())]


def find_fixed(old: Site, new: Site) -> list[str]:
    """Return those of the changes that a scheduler which runs cannot take over."""
    fixed = [
        f"clusters.{name}"
        for name in sorted(set(old.clusters) ^ set(new.clusters))  # its sessions start with it
    ]
    for name in sorted(set(old.clusters) & set(new.clusters)):
        one, other = old.clusters[name], new.clusters[name]
        fixed += [
            f"clusters.{name}.{key}"
            for key in type(one).fixed
            if getattr(one, key) != getattr(other, key)
        ]
    return fixed


def _differences(old: object, new: object, loc: Loc) -> Iterator[Loc]:
    if old == new:
        return
    if isinstance(old, Table) and isinstance(new, Table):
        for name in type(old).model_fields:
            yield from _differences(getattr(old, name), getattr(new, name), (*loc, name))
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(name), new.get(name), (*loc, name))
    else:
        yield loc
