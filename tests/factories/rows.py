"""Rows for tests: each maker takes what matters and fills in the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from bridge.core.ids import new_id, new_token
from bridge.core.statuses import (
    ActorStatus,
    ArrayStatus,
    ExecutionStatus,
    ImageStatus,
    Level,
    WorkerStatus,
)
from bridge.db import (
    Actor,
    Alias,
    AliasPermission,
    Array,
    ClusterUser,
    Config,
    ConfigPermission,
    ConfigTarget,
    Execution,
    Image,
    Message,
    Nonce,
    Permission,
    Worker,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def add_image(session: Session, **changes: Any) -> Image:
    """Add an image that the cluster does not have yet."""
    values: dict[str, Any] = {
        "cluster": "alpha",
        "tenant": "PHYSICS",
        "reference": f"docker.io/library/{new_id().lower()}:latest",
        "status": ImageStatus.REQUESTED,
        "create_time": START,
    }
    return _add(session, Image(**values | changes))


def add_actor(session: Session, *, level: Level = Level.UPDATE, **changes: Any) -> Actor:
    """Add an actor of alice's in PHYSICS, with her permission on it."""
    if "image_id" not in changes:
        changes["image_id"] = add_image(session).id
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant": "PHYSICS",
        "owner": "alice",
        "cluster": "alpha",
        "image": "debian",
        "status": ActorStatus.READY,
        "token": "false",
        "uid": 2001,
        "gid": 2001,
        "create_time": START,
        "last_update_time": START,
    }
    actor = _add(session, Actor(**values | changes))
    add_permission(session, actor, actor.owner, level)
    return actor


def add_permission(session: Session, actor: Actor, username: str, level: Level) -> Permission:
    """Give `username` a level on the actor."""
    return _add(session, Permission(actor_id=actor.id, username=username, level=level))


def add_alias(
    session: Session, actor: Actor, alias: str, *, level: Level = Level.UPDATE, **changes: Any
) -> Alias:
    """Add an alias of alice's for the actor, with her permission on the alias."""
    values: dict[str, Any] = {
        "tenant": actor.tenant,
        "alias": alias,
        "actor_id": actor.id,
        "owner": "alice",
        "create_time": START,
    }
    row: Alias = _add(session, Alias(**values | changes))
    add_alias_permission(session, row, row.owner, level)
    return row


def add_alias_permission(
    session: Session, alias: Alias, username: str, level: Level
) -> AliasPermission:
    """Give `username` a level on the alias."""
    row = AliasPermission(tenant=alias.tenant, alias=alias.alias, username=username, level=level)
    return _add(session, row)


def add_nonce(session: Session, of: Actor | Alias, **changes: Any) -> Nonce:
    """Add an unlimited EXECUTE nonce of alice's for an actor or an alias."""
    of_alias = isinstance(of, Alias)
    values: dict[str, Any] = {
        "id": f"{of.tenant}_{new_id()}",
        "tenant": of.tenant,
        "actor_id": None if of_alias else of.id,
        "alias": of.alias if of_alias else None,
        "owner": "alice",
        "roles": ["Internal/everyone"],
        "level": Level.EXECUTE,
        "max_uses": changes.get("remaining_uses", -1),
        "remaining_uses": -1,
        "create_time": START,
    }
    return _add(session, Nonce(**values | changes))


def add_config(session: Session, name: str, *targets: Actor | Alias, **changes: Any) -> Config:
    """Add a config of alice's, not secret, for these actors and aliases."""
    words = {of.alias if isinstance(of, Alias) else of.id: of for of in targets}
    values: dict[str, Any] = {
        "tenant": "PHYSICS",
        "name": name,
        "value": "a value",
        "is_secret": False,
        "actors": ",".join(words),
        "author": "alice",
        "create_time": START,
        "last_update_time": START,
    }
    row: Config = _add(session, Config(**values | changes))
    for word, of in words.items():
        place = {"alias": of.alias} if isinstance(of, Alias) else {"actor_id": of.id}
        _add(session, ConfigTarget(tenant=row.tenant, name=name, identifier=word, **place))
    permission = ConfigPermission(
        tenant=row.tenant, name=name, username=row.author, level=Level.UPDATE
    )
    _add(session, permission)
    return row


def add_array(session: Session, actor: Actor, **changes: Any) -> Array:
    """Add an array that Slurm does not know yet."""
    values: dict[str, Any] = {
        "id": new_token(),
        "cluster": actor.cluster,
        "tenant": actor.tenant,
        "username": actor.owner,
        "login": actor.owner,
        "actor_id": actor.id,
        "image_id": actor.image_id,
        "sif_path": "/work/.bridge/images/x.sif",
        "spool": "/scratch/alice/.bridge/x",
        "task_count": 1,
        "message_count": 1,
        "chunk_count": 1,
        "fed_chunks": 1,
        "request": {},
        "status": ArrayStatus.PLANNED,
        "planned_at": START,
    }
    return _add(session, Array(**values | changes))


def add_worker(session: Session, array: Array, **changes: Any) -> Worker:
    """Add a worker of the array."""
    values: dict[str, Any] = {
        "id": new_id(),
        "array_id": array.id,
        "actor_id": array.actor_id,
        "name": "0.0",
        "status": WorkerStatus.READY,
        "create_time": START,
    }
    return _add(session, Worker(**values | changes))


def add_execution(session: Session, actor: Actor, **changes: Any) -> Execution:
    """Add an execution that waits."""
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant": actor.tenant,
        "actor_id": actor.id,
        "actor_revision": actor.revision,
        "executor": actor.owner,
        "username": actor.owner,
        "status": ExecutionStatus.SUBMITTED,
        "message_received_time": START,
    }
    return _add(session, Execution(**values | changes))


def add_message(session: Session, execution: Execution, **changes: Any) -> Message:
    """Add the message of an execution."""
    values: dict[str, Any] = {
        "execution_id": execution.id,
        "content_type": "str",
        "payload": b"hello",
        "environment": {},
    }
    values["size"] = len(changes.get("payload", values["payload"]))
    return _add(session, Message(**values | changes))


def add_account(session: Session, username: str = "alice", **changes: Any) -> ClusterUser:
    """Set what the cluster said of a user, just now: the account has the user's name."""
    values: dict[str, Any] = {
        "cluster": "alpha",
        "tenant": "PHYSICS",
        "username": username,
        "asked": 1,
        "answered": 1,
        "checked_at": START,
        "login": username if changes.get("uid", 2001) else None,
        "uid": 2001,
        "gid": 2001,
        "groups": [2001],
        "home": f"/home/{username}",
        "paths": {},
        "reason": "",
    }
    return session.merge(ClusterUser(**values | changes))


def _add(session: Session, row: Any) -> Any:
    session.add(row)
    session.flush()
    return row
