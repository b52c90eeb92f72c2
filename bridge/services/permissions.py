"""Permissions on actors, aliases and configs: who has which level (abaco_contract.md 2.4, 3.9).

There is no deleting: NONE is how a right is taken back, from oneself too, as in Abaco.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.core.names import is_name
from bridge.core.statuses import Level
from bridge.db import Actor, Alias, AliasPermission, Config, ConfigPermission, Permission
from bridge.errors import InvalidField
from bridge.services.rows import check_room, find_or_insert

MAX_USERNAME = 64
MAX_ENTRIES = 1000


def parse_username(text: str) -> str:
    """Return `text`, a name that a permission can speak of, whether or not such a user exists.

    Raises:
        ValueError: it is empty, too long, or has characters that cannot be printed.
    """
    if not is_name(text) or len(text) > MAX_USERNAME:
        raise ValueError(f"expected 1 to {MAX_USERNAME} printable characters")
    return text


def parse_level(text: str) -> Level:
    """Return the level of that name.

    Raises:
        InvalidField: there is none; in Abaco's words.
    """
    if text not in list(Level):
        raise InvalidField(
            f"Invalid permission level: {text[:64]}. The valid values are "
            f"{tuple(level.value for level in Level)}"
        )
    return Level(text)


def read_permissions(session: Session, of: Actor | Alias | Config) -> dict[str, Level]:
    """Return every entry: the level by the user's name, in the order of names."""
    model, key = _entries(of)
    query = select(model.username, model.level).filter_by(**key).order_by(model.username)
    return {row[0]: row[1] for row in session.execute(query)}


def set_permission(
    session: Session, of: Actor | Alias | Config, username: str, level: Level
) -> None:
    """Give `username` this level, in the place of the one they had.

    The caller holds `of` against deletion, and has checked who is asking.

    Raises:
        LimitReached: there are too many entries.
    """
    model, key = _entries(of)

    def find() -> Any:
        return session.get(model, (*key.values(), username))

    if find() is None:
        count = select(func.count()).select_from(model).filter_by(**key)
        check_room(session, count, MAX_ENTRIES, "This has", "permissions")
    entry = find_or_insert(session, find, model(**key, username=username, level=level))
    entry.level = level
    session.flush()


def _entries(
    of: Actor | Alias | Config,
) -> tuple[type[Permission | AliasPermission | ConfigPermission], dict[str, Any]]:
    """Return the table that speaks of such a thing, and the part of its key that names `of`."""
    if isinstance(of, Actor):
        return Permission, {"actor_id": of.id}
    if isinstance(of, Alias):
        return AliasPermission, {"tenant": of.tenant, "alias": of.alias}
    return ConfigPermission, {"tenant": of.tenant, "name": of.name}
