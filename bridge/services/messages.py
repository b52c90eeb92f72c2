"""Messages: post one, count those that wait (abaco_contract.md 3.3).

A message and its execution are written in one transaction: what was answered 200 is in the
database and will end COMPLETE or ERROR (design.md, invariant 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.clock import Clock
from bridge.core.environment import check_name, check_value
from bridge.core.ids import new_id
from bridge.core.messages import CRON_NAME, EVENTS_NAME, PostedMessage
from bridge.core.statuses import ExecutionStatus, Level
from bridge.core.waits import Waits
from bridge.db import Actor, Database, Execution, Message, MessagePart
from bridge.errors import Conflict
from bridge.services.access import find_actor
from bridge.services.accounts import Account, find_account
from bridge.sites import Site

# Made once: putting a statement together costs more than sending it.
_INSERT_EXECUTION = insert(Execution)
_INSERT_MESSAGE = insert(Message)
_INSERT_PART = insert(MessagePart)

# A larger payload lies in rows of this size.
PART_BYTES = 1 << 20


@dataclass(frozen=True)
class Executor:
    """Who an execution is put down to.

    Attributes:
        name: shown as its `executor`.
        account: a user's own on the cluster; needed for actors with `run_as_executor`.
        is_user: no name of the bridge's own; those always run as the actor's owner.
    """

    name: str
    account: Account | None = None
    is_user: bool = True


CRON = Executor(CRON_NAME, is_user=False)
EVENTS = Executor(EVENTS_NAME, is_user=False)


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
    actor_id: str,
    message: PostedMessage,
    environment: Mapping[str, str],
    now: datetime,
    *,
    account: Account | None = None,
) -> Posted:
    """Queue `message` for the actor, whatever its status, as a new execution of the caller's.

    `environment` comes from `check_environment`, `account` from `executor_account`. The actor's row
    is kept from changing meanwhile: a message that came after the actor's end would never be run
    or ended.
    """
    actor = find_actor(session, identity, actor_id, Level.EXECUTE, share=True)
    if identity.jwt_header_name:
        environment = {**environment, "_abaco_jwt_header_name": identity.jwt_header_name}
    executor = Executor(identity.username, account)
    execution_id = queue_message(session, actor, executor, message, environment, now)
    return Posted(actor.id, actor.owner, execution_id)


def queue_message(
    session: Session,
    actor: Actor,
    executor: Executor,
    message: PostedMessage,
    environment: Mapping[str, str],
    now: datetime,
    *,
    hops: int = 0,
) -> str:
    """Write a message and its execution; return the execution's id.

    Args:
        session: a transaction in which `actor` was read, and locked against its deletion
            (``share=True`` or ``lock=True`` of `find_actor`).
        actor: whose message it is. Nobody's permission is looked at.
        executor: a user with EXECUTE, or `CRON` or `EVENTS`.
        message: what the container is to see.
        environment: variables beyond those of the actor and those that the bridge itself sets
            (abaco_contract.md 5.1), which are added when the message goes to the cluster.
        now: when it was received.
        hops: links between actors that led to it.

    Raises:
        Conflict: the actor runs as whoever posts, and the executor's account is not known.
    """
    account = None
    if actor.run_as_executor and executor.is_user:
        account = executor.account
        if account is None:
            raise Conflict(
                f"Actor {actor.id} runs as whoever posts to it (run_as_executor), and no account "
                f"of user {executor.name} is known: either this tenant does not allow it, or the "
                "actor was changed just now; then post the message again."
            )
    execution_id = new_id()
    session.execute(
        _INSERT_EXECUTION,
        {
            "id": execution_id,
            "tenant": actor.tenant,
            "actor_id": actor.id,
            "actor_revision": actor.revision,
            "executor": executor.name,
            "username": executor.name if account else actor.owner,
            "executor_uid": account.uid if account else None,
            "executor_gid": account.gid if account else None,
            "status": ExecutionStatus.SUBMITTED,
            "message_received_time": now,
            "hops": hops,
        },
    )
    session.execute(
        _INSERT_MESSAGE,
        {
            "execution_id": execution_id,
            "content_type": message.content_type,
            "payload": message.payload,
            "size": message.size,
            "environment": dict(environment),
        },
    )
    if message.spooled is not None:
        _insert_parts(session, execution_id, message.spooled)
    return execution_id


def _insert_parts(session: Session, execution_id: str, file: BinaryIO) -> None:
    """Write a payload in rows, one of which is in memory at a time."""
    file.seek(0)
    pieces = iter(lambda: file.read(PART_BYTES), b"")
    for number, data in enumerate(pieces):
        row = {"execution_id": execution_id, "number": number, "data": data}
        session.execute(_INSERT_PART, row)


def executor_account(
    database: Database,
    identity: Identity,
    site: Site,
    actor_id: str,
    clock: Clock,
    waits: Waits,
) -> Account | None:
    """Return the caller's own account where the actor runs as its executor, else None.

    Asked before the transaction of `post_message`: the answer may take seconds.

    Raises:
        UserUnknown: the cluster has no such account, or one that may not be used.
        ConnectFailed: no answer came.
    """
    if not site.tenants[identity.tenant].run_as_executor:
        return None
    with database.read() as session:
        actor = find_actor(session, identity, actor_id, Level.EXECUTE)
    if not actor.run_as_executor:
        return None
    return find_account(database, actor.cluster, identity.username, clock, waits)


def count_messages(session: Session, identity: Identity, actor_id: str) -> tuple[Actor, int]:
    """Return the actor and how many of its messages no container has been started for."""
    actor = find_actor(session, identity, actor_id, Level.READ)
    waiting = select(func.count()).where(
        Execution.actor_id == actor.id, Execution.status == ExecutionStatus.SUBMITTED
    )
    return actor, session.scalars(waiting).one()
