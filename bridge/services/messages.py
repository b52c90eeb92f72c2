"""Messages: post one, count those that wait (abaco_contract.md 3.3).

A message and its execution are written in one transaction: what was answered 200 is in the
database and will end COMPLETE or ERROR (design.md, invariant 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.environment import check_name, check_value
from bridge.core.ids import new_id
from bridge.core.messages import PostedMessage
from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Actor, Execution, Message
from bridge.services.access import find_actor
from bridge.sites import Site

# Made once: putting a statement together costs more than sending it.
_INSERT_EXECUTION = insert(Execution)
_INSERT_MESSAGE = insert(Message)


@dataclass(frozen=True)
class Posted:
    """What became of a message."""

    actor_id: str
    owner: str
    execution_id: str


def check_environment(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the variables that the query parameters of a POST set: all but ``message``.

    Raises:
        InvalidField: a name is malformed or reserved, or a value too long.
    """
    source = "the query string"
    environment: dict[str, str] = {}
    for name, value in parameters:
        if name == "message":
            continue
        check_name(name, source, by_caller=True)
        check_value(name, value, source)
        environment[name] = value
    return environment


def post_message(
    session: Session,
    identity: Identity,
    site: Site,
    actor_id: str,
    message: PostedMessage,
    environment: dict[str, str],
    now: datetime,
) -> Posted:
    """Queue `message` for the actor, whatever its status, as a new execution.

    `environment` comes from `check_environment`; the actor's own defaults and what only the
    worker knows are added when the message goes to the cluster. The actor's row is kept from
    changing meanwhile: a message that came after the actor's end would never be run or ended.
    """
    actor = find_actor(session, identity, actor_id, Level.EXECUTE, share=True)
    execution_id = new_id()
    variables = environment | {
        "_abaco_Content_Type": message.content_type,
        "_abaco_username": identity.username,
        "_abaco_api_server": site.public_url.rstrip("/"),
        "_abaco_execution_id": execution_id,
        "_abaco_actor_revision": str(actor.revision),
    }
    if identity.jwt_header_name:
        variables["_abaco_jwt_header_name"] = identity.jwt_header_name
    session.execute(
        _INSERT_EXECUTION,
        {
            "id": execution_id,
            "tenant": actor.tenant,
            "actor_id": actor.id,
            "actor_revision": actor.revision,
            "executor": identity.username,
            "username": actor.owner,
            "status": ExecutionStatus.SUBMITTED,
            "message_received_time": now,
        },
    )
    session.execute(
        _INSERT_MESSAGE,
        {
            "execution_id": execution_id,
            "content_type": message.content_type,
            "payload": message.payload,
            "size": len(message.payload),
            "environment": variables,
        },
    )
    return Posted(actor.id, actor.owner, execution_id)


def count_messages(session: Session, identity: Identity, actor_id: str) -> tuple[Actor, int]:
    """Return the actor and how many of its messages no container has been started for."""
    actor = find_actor(session, identity, actor_id, Level.READ)
    waiting = select(func.count()).where(
        Execution.actor_id == actor.id, Execution.status == ExecutionStatus.SUBMITTED
    )
    return actor, session.scalars(waiting).one()
