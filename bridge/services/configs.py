"""Configs: named values that actors share, secret ones encrypted at rest (abaco_contract.md 3.12).

A config may list any actor or alias of the tenant (Abaco's own tests do), so listing one gives
nothing: its value reaches an actor only while the config's author, who is whoever wrote it last,
has UPDATE on that actor, or where the author was an admin when writing. An alias is followed to the
actor that it points at, so listing one trusts whoever may change it; it counts as long as that very
alias lives. One that was deleted and made again is another one, until the config is written anew.

A secret is never shown again, to nobody: `MASK` stands in its place. A write that sends the mask
for a secret is refused, since it would replace the secret by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, exists, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.auth.encryption import SecretBox
from bridge.auth.identity import WORLD, Identity
from bridge.core.messages import MAX_TEXT_BYTES
from bridge.core.names import check_config_name, is_name
from bridge.core.statuses import Level
from bridge.db import Actor, Alias, Config, ConfigPermission, ConfigTarget, Database, Permission
from bridge.errors import (
    ConfigsUnusable,
    Conflict,
    InvalidField,
    NotFound,
    PermissionDenied,
)
from bridge.services.access import highest
from bridge.services.rows import check_room, list_in_pages

MASK = "********"
MAX_VALUE_BYTES = 64 * 1024
# All configs of an actor travel as the Python repr of one dict in one environment variable.
MAX_CONFIGS_BYTES = MAX_TEXT_BYTES
MAX_TARGETS = 256
MAX_TARGETS_TEXT = 16 * 1024
MAX_PER_AUTHOR = 1000
PAGE = 16  # a mebibyte of values

NO_CONFIG = "No config found: {}."


@dataclass(frozen=True)
class ConfigDescription:
    """A config as it was sent; `actors` is a list of ids and aliases with commas between them."""

    name: str
    value: str
    is_secret: bool
    actors: str


def find_config(
    session: Session,
    identity: Identity,
    name: str,
    wanted: Level,
    *,
    lock: bool = False,
    share: bool = False,
) -> Config:
    """Return the config; `lock` and `share` as of `find_actor`.

    Raises:
        NotFound: there is none in the caller's tenant.
        PermissionDenied: the caller's level is lower.
    """
    query = (
        select(Config, ConfigPermission.level)
        .outerjoin(
            ConfigPermission,
            and_(
                ConfigPermission.tenant == Config.tenant,
                ConfigPermission.name == Config.name,
                ConfigPermission.username.in_((identity.username, WORLD)),
            ),
        )
        .where(Config.tenant == identity.tenant, Config.name == name)
        .execution_options(populate_existing=lock or share)
    )
    if lock or share:
        query = query.with_for_update(of=Config, read=share)
    rows = session.execute(query).all() if is_name(name) else []
    if not rows:
        raise NotFound(NO_CONFIG.format(name[:64]))
    if not highest(identity, (level for _, level in rows)).allows(wanted):
        raise PermissionDenied("You do not have sufficient access to this actor config.")
    return rows[0][0]


def list_configs(
    database: Database, identity: Identity, *, limit: int | None = None, skip: int = 0
) -> Iterator[Sequence[Config]]:
    """Give the configs that the caller may read by name, page by page; an admin's are all.

    Abaco shows every config to the whole tenant, values that are not secret included; here a
    config that one may not GET is not listed either.
    """
    query = select(Config).where(Config.tenant == identity.tenant)
    if not identity.is_admin:
        query = query.where(
            exists().where(
                ConfigPermission.tenant == Config.tenant,
                ConfigPermission.name == Config.name,
                ConfigPermission.username.in_((identity.username, WORLD)),
                ConfigPermission.level != Level.NONE,
            )
        )
    return list_in_pages(database, query, Config.name, PAGE, limit=limit, skip=skip)


def create_config(
    session: Session,
    identity: Identity,
    box: SecretBox | None,
    description: ConfigDescription,
    now: datetime,
) -> Config:
    """Return the new config, on which its creator has UPDATE.

    Raises:
        InvalidField: the name or the value cannot be, or the site has no key for secrets.
        NotFound: an element of `actors` is no actor or alias of the tenant.
        Conflict: the tenant has a config of that name.
        ConfigsUnusable: an actor would get more than a variable holds.
        LimitReached: the caller has written too many.
    """
    check_config_name(description.name)
    stored = _seal(description, box)
    mine = select(func.count()).where(
        Config.tenant == identity.tenant, Config.author == identity.username
    )
    check_room(session, mine, MAX_PER_AUTHOR, f"User {identity.username} has written", "configs")
    targets = _find_targets(session, identity.tenant, description.actors)
    config = Config(
        tenant=identity.tenant,
        name=description.name,
        value=stored,
        is_secret=description.is_secret,
        actors=description.actors,
        author=identity.username,
        author_is_admin=identity.is_admin,
        create_time=now,
        last_update_time=now,
    )
    try:
        with session.begin_nested():
            session.add(config)
    except IntegrityError as error:
        raise Conflict(
            f"Config {description.name} already exists; please choose another name for your config"
        ) from error
    session.add(
        ConfigPermission(
            tenant=config.tenant,
            name=config.name,
            username=identity.username,
            level=Level.UPDATE,
        )
    )
    _write_targets(session, config, targets)
    _check_sizes(session, targets, box)
    return config


def update_config(
    session: Session,
    identity: Identity,
    box: SecretBox | None,
    description: ConfigDescription,
    now: datetime,
) -> Config:
    """Replace all of a config but its name; the caller becomes its author.

    Raises:
        As `create_config` and `find_config`.
    """
    find_config(session, identity, description.name, Level.UPDATE)
    stored = _seal(description, box)
    # Actors and aliases before the config: in this order nothing can wait for each other.
    targets = _find_targets(session, identity.tenant, description.actors)
    config = find_config(session, identity, description.name, Level.UPDATE, lock=True)
    config.value = stored
    config.is_secret = description.is_secret
    config.actors = description.actors
    config.author = identity.username
    config.author_is_admin = identity.is_admin
    config.last_update_time = now
    session.execute(
        delete(ConfigTarget).where(
            ConfigTarget.tenant == config.tenant, ConfigTarget.name == config.name
        )
    )
    _write_targets(session, config, targets)
    _check_sizes(session, targets, box)
    return config


def delete_config(session: Session, identity: Identity, name: str) -> None:
    """Remove the config; containers that start from now on do not get it."""
    session.delete(find_config(session, identity, name, Level.UPDATE, lock=True))


def configs_of(
    session: Session, actor: Actor, box: SecretBox | None, *, with_secrets: bool = True
) -> dict[str, str]:
    """Return what the containers of `actor` get as ``_actor_configs``: values by name, in order.

    Nothing that belongs to the actor is left out: what cannot be given whole is an error, for the
    executions to end with, so that no container runs without a value that its author counts on.
    Writing a config checks the same, so this is met only where a permission, an alias or the
    site's keys have changed since.

    Args:
        session: where they are.
        actor: whose containers.
        box: the site's keys (`bridge.auth.load_secret_box`).
        with_secrets: whether the containers run as the owner. Whoever they run as can read all
            that they get.

    Raises:
        ConfigsUnusable: a secret cannot be decrypted, or all together are too large; names the
            config or says the size.
    """
    values = {
        config.name: _open(config, box)
        for _, config in _rows_for(session, [actor.id])
        if with_secrets or not config.is_secret
    }
    _check_size(actor.id, values)
    return values


def _seal(description: ConfigDescription, box: SecretBox | None) -> str:
    """Return the value as it is stored, or refuse it.

    Raises:
        InvalidField: see `create_config`.
    """
    name, value = description.name, description.value
    size = len(value.encode())
    if size > MAX_VALUE_BYTES:
        raise InvalidField(
            f"Invalid config description. The value is {size} bytes, expected at most "
            f"{MAX_VALUE_BYTES}; put larger data on a filesystem that the actor's containers see."
        )
    size = len(repr({name: value}).encode())
    if size > MAX_CONFIGS_BYTES:
        raise InvalidField(
            f"Invalid config description. The value is {size} bytes as the Python text that "
            f"containers get, expected at most {MAX_CONFIGS_BYTES}; encode binary data in base64."
        )
    if not description.is_secret:
        return value
    if value == MASK:
        raise InvalidField(
            f"Invalid config description. The value {MASK} is what is shown in the place of a "
            "secret; send the secret itself."
        )
    if box is None:
        raise InvalidField(
            "Invalid config description. A secret config needs an encryption key, and this site "
            "has none: ask its admins to set encryption_key_file, or send is_secret as false."
        )
    return box.encrypt(value)


def _open(config: Config, box: SecretBox | None) -> str:
    if not config.is_secret:
        return config.value
    refusal = f"Config {config.name} cannot be given to containers"
    if box is None:
        raise ConfigsUnusable(f"{refusal}: it is secret, and the site has no encryption key.")
    try:
        return box.decrypt(config.value)
    except ConfigsUnusable as error:
        raise ConfigsUnusable(f"{refusal}. {error.message} Write the config anew.") from error


def _check_size(actor_id: str, values: dict[str, str]) -> None:
    size = len(repr(values).encode())
    if size > MAX_CONFIGS_BYTES:
        raise ConfigsUnusable(
            f"The configs of actor {actor_id} are {size} bytes together, more than the "
            f"{MAX_CONFIGS_BYTES} that its containers can be given; make a value smaller, or list "
            "the actor in fewer configs."
        )


def _check_sizes(session: Session, targets: Iterable[_Target], box: SecretBox | None) -> None:
    """Refuse a write after which an actor would get too much.

    What cannot be decrypted does not count here: it must not keep others from being written.
    """
    session.flush()
    actor_ids = {target.leads_to for target in targets}
    values: dict[str, dict[str, str]] = {}
    for actor_id, config in _rows_for(session, actor_ids):
        with suppress(ConfigsUnusable):
            values.setdefault(actor_id, {})[config.name] = _open(config, box)
    for actor_id, of_actor in values.items():
        _check_size(actor_id, of_actor)


def _rows_for(session: Session, actor_ids: Collection[str]) -> Sequence[tuple[str, Config]]:
    """Return (actor's id, config) for what each of the actors gets, by name."""
    actor_id = func.coalesce(ConfigTarget.actor_id, Alias.actor_id)
    may_update = exists().where(
        Permission.actor_id == actor_id,
        Permission.username.in_((Config.author, WORLD)),
        Permission.level == Level.UPDATE,
    )
    query = (
        select(actor_id, Config)
        .join(ConfigTarget, and_(ConfigTarget.tenant == Config.tenant,
                                 ConfigTarget.name == Config.name))
        .outerjoin(Alias, and_(Alias.tenant == ConfigTarget.tenant,
                               Alias.alias == ConfigTarget.alias))
        .where(
            or_(ConfigTarget.actor_id.in_(actor_ids), Alias.actor_id.in_(actor_ids)),
            or_(Config.author_is_admin, may_update),
        )
        .order_by(Config.name)
    )  # fmt: skip
    return [(row[0], row[1]) for row in session.execute(query)]


@dataclass(frozen=True)
class _Target:
    """An element of `actors` as it was found: an actor, or an alias and where it leads."""

    identifier: str
    leads_to: str
    is_alias: bool


def _find_targets(session: Session, tenant: str, actors: str) -> list[_Target]:
    """Return what the elements of `actors` are, held against deletion until the commit.

    Raises:
        InvalidField: there are too many.
        NotFound: one is no actor or alias of the tenant.
    """
    words = list(dict.fromkeys(word.strip() for word in actors.split(",")))
    if len(words) > MAX_TARGETS or len(actors) > MAX_TARGETS_TEXT:
        raise InvalidField(
            f"Invalid config description. It lists {len(words)} actors in {len(actors)} "
            f"characters, expected at most {MAX_TARGETS} in {MAX_TARGETS_TEXT}."
        )
    known = [word for word in words if is_name(word)]
    live = select(Actor.id).where(Actor.tenant == tenant, Actor.deleted_at.is_(None))
    ids = set(session.scalars(live.where(Actor.id.in_(known))))
    alias_rows = select(Alias.alias, Alias.actor_id).where(
        Alias.tenant == tenant, Alias.alias.in_([word for word in known if word not in ids])
    )
    leads_to = {row[0]: row[1] for row in session.execute(alias_rows)}
    # Everybody who holds both holds actors first, then aliases, each in order: so nobody waits for
    # somebody who waits for them.
    to_hold = live.where(Actor.id.in_(ids.union(leads_to.values()))).order_by(Actor.id)
    held_ids = set(session.scalars(to_hold.with_for_update(read=True, key_share=True)))
    aliases = alias_rows.order_by(Alias.alias).with_for_update(read=True, key_share=True)
    held_aliases = {row[0]: row[1] for row in session.execute(aliases)}
    targets = []
    for word in words:
        if word in ids.intersection(held_ids):
            targets.append(_Target(word, word, is_alias=False))
        elif word in held_aliases:
            targets.append(_Target(word, held_aliases[word], is_alias=True))
        else:
            raise NotFound(f"No actor or alias found with id: {word[:64]}.")
    return targets


def _write_targets(session: Session, config: Config, targets: Iterable[_Target]) -> None:
    session.add_all(
        ConfigTarget(
            tenant=config.tenant,
            name=config.name,
            identifier=target.identifier,
            actor_id=None if target.is_alias else target.identifier,
            alias=target.identifier if target.is_alias else None,
        )
        for target in targets
    )
