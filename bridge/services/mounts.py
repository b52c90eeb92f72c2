"""The directories that an actor's containers see (abaco_contract.md 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bridge.errors import ConnectFailed, InvalidField
from bridge.services.logins import Person
from bridge.sites import Mount, Site

_MARKS = ":,\\\n\0{}"  # of bind options, of templates, and what no path should have


class _Account(Protocol):
    """What a mount needs to know of an account."""

    @property
    def login(self) -> str: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def home(self) -> str: ...


def mounts_of(
    site: Site, person: Person, account: _Account, seen: Mapping[str, bool]
) -> list[dict[str, str]]:
    """Return the mounts of an actor that runs as `person`, in the form the API shows them.

    Args:
        site: the tenant's mounts.
        person: fills their templates.
        account: fills them too.
        seen: host paths, and whether the account sees a directory there.

    Raises:
        InvalidField: a name would lead a path elsewhere, or a directory that must be there is not.
        ConnectFailed: it is not known yet whether it is there.
    """
    mounts = []
    for mount in site.tenants[person.tenant].mounts:
        host_path = _fill(mount.host_path, person, account)
        if mount.if_missing != "ignore" and not _is_there(mount, host_path, person, seen):
            continue
        container_path = _fill(mount.container_path, person, account)
        mounts.append(
            {"host_path": host_path, "container_path": container_path, "mode": mount.mode}
        )
    return mounts


def checked_paths(site: Site, person: Person, account: _Account) -> list[str]:
    """Return the host paths that the account is to look for, each once.

    Raises:
        InvalidField: a name would lead one elsewhere.
    """
    mounts = site.tenants[person.tenant].mounts
    paths = (_fill(m.host_path, person, account) for m in mounts if m.if_missing != "ignore")
    return list(dict.fromkeys(paths))


def _is_there(mount: Mount, path: str, person: Person, seen: Mapping[str, bool]) -> bool:
    there = seen.get(path)
    if there is None:
        raise ConnectFailed(
            f"Whether {path} is on cluster {person.cluster} is not known yet; try again."
        )
    if not there and mount.if_missing == "refuse":
        raise InvalidField(
            f"User {person.username} sees no directory {path} on cluster {person.cluster}, which "
            f"every actor of tenant {person.tenant} is to have. Ask the site's administrators for "
            "it."
        )
    return there


def _fill(template: str, person: Person, account: _Account) -> str:
    """Return `template` with what stands for it, each one part of the path and no more."""
    path = template
    for word, value in (
        ("username", person.username),
        ("login", account.login),
        ("tenant", person.tenant),
        ("cluster", person.cluster),
        ("uid", str(account.uid)),
        ("gid", str(account.gid)),
    ):
        if f"{{{word}}}" not in template:
            continue
        if value in ("", ".", "..") or "/" in value or any(mark in value for mark in _MARKS):
            raise InvalidField(f"The name {value[:64]!r} cannot be part of a mount's path.")
        path = path.replace(f"{{{word}}}", value)
    if "{home}" in template:
        path = path.replace("{home}", _home(account.home))
    return path


def _home(home: str) -> str:
    """Return a home directory as the cluster's user database has it, if it is a plain path."""
    parts = home.split("/")
    if parts[0] or not any(parts) or ".." in parts or any(mark in home for mark in _MARKS):
        raise InvalidField(f"The home directory {home[:64]!r} cannot be part of a mount's path.")
    return home.rstrip("/")
