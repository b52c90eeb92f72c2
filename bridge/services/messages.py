"""Messages: queue them, count those that wait, purge them (abaco_contract.md 3.3).

A message and its execution are written in one transaction: what was answered 200 is in the
database and will end COMPLETE or ERROR (design.md, invariant 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    and_,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.clock import Clock
from bridge.core.environment import check_name, check_value
from bridge.core.ids import new_id
from bridge.core.messages import BINARY, CRON_NAME, EVENTS_NAME, PostedMessage
from bridge.core.statuses import ArrayStatus, ExecutionStatus, Level
from bridge.core.waits import Waits
from bridge.db import IS_OPEN, Actor, Array, Database, Execution, Message, MessagePart, is_queued
from bridge.errors import Conflict, LimitReached
from bridge.services.access import Target, find_actor, find_target
from bridge.services.accounts import Account, claimed_by, find_account
from bridge.services.bulk import NewExecution, NewText, insert_executions, insert_texts
from bridge.services.endings import end_waiting
from bridge.services.logins import Person
from bridge.services.queued import Gate
from bridge.sites import Site

# Made once: putting a statement together costs more than sending it.
_BY_KEY = select(Execution.idempotency_key, Execution.id).where(
    Execution.actor_id == bindparam("actor_id"),
    Execution.idempotency_key.in_(bindparam("keys", expanding=True)),
)
# No container was started, and nobody has called it off.
_WAITS = and_(
    Execution.status == ExecutionStatus.SUBMITTED, Execution.cancel_requested_at.is_(None)
)
_INSERT_MESSAGE = insert(Message)
_INSERT_PART = insert(MessagePart)

# A larger payload lies in rows of this size.
PART_BYTES = 1 << 20
# Abaco refuses a synchronous message when more than this many wait (3.3).
MAX_BEFORE_SYNCHRONOUS = 3
_KEYS_AT_ONCE = 1000
_PURGED_AT_ONCE = 500
_PURGE_ROUNDS = 2


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


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is to be queued.

    Attributes:
        message: what the container is to see.
        environment: variables beyond those of the actor and those that the bridge itself sets
            (abaco_contract.md 5.1), which are added when the message goes to the cluster.
        key: the executor's own name for it: of messages to one actor under the same key the first
            alone is queued, however often it is sent.
    """

    message: PostedMessage
    environment: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """What became of a message: its execution, and whether that is a new one."""

    execution_id: str
    is_new: bool


@dataclass(frozen=True)
class Posted:
    """What became of a caller's messages, in their order."""

    actor_id: str
    owner: str
    queued: Sequence[Queued]


def check_environment(
    parameters: Iterable[tuple[str, str]], source: str = "the query string"
) -> dict[str, str]:
    """Return the variables that the parameters of a POST set: all but ``message``.

    Raises:
        InvalidField: a name is malformed or reserved, or a value too long; names `source`.
    """
    environment: dict[str, str] = {}
    for name, value in parameters:
        if name == "message":
            continue
        check_name(name, source, by_caller=True)
        check_value(name, value, source)
        environment[name] = value
    return environment


def post_messages(
    session: Session,
    identity: Identity,
    actor_id: str,
    messages: Sequence[NewMessage],
    now: datetime,
    gate: Gate,
    *,
    account: Account | None = None,
    max_waiting: int | None = None,
    hops: int = 0,
) -> Posted:
    """Queue a caller's messages for the actor, whatever its status, or none of them.

    The actor's row is kept from changing meanwhile: a message that came after the actor's end
    would never be run or ended.

    Args:
        session: a transaction.
        identity: the caller.
        actor_id: id or alias of the actor.
        messages: their environments come from `check_environment`.
        now: when they were received.
        gate: judges their sizes and number.
        account: from `executor_account`.
        max_waiting: refuse if more messages than this wait already.
        hops: links between actors, and webhooks, that led to them.

    Raises:
        NotFound: there is no such actor.
        PermissionDenied: the caller may not execute it.
        Conflict: too many wait, or the executor's account is not known.
        PayloadTooLarge: one is too large for the tenant.
        LimitReached: the tenant or the actor's owner has too many. Nothing was written.
    """
    # Two batches with keys in common could wait for each other half way: one after the other.
    lock = len(messages) > 1 and any(message.key is not None for message in messages)
    actor = find_target(session, identity, actor_id, Level.EXECUTE, lock=lock)
    if max_waiting is not None and _count_waiting(session, actor.id, max_waiting + 1) > max_waiting:
        raise Conflict("Cannot issue synchronous execution when actor message queue > 0.")
    if identity.jwt_header_name:
        header = {"_abaco_jwt_header_name": identity.jwt_header_name}
        messages = [NewMessage(m.message, {**m.environment, **header}, m.key) for m in messages]
    executor = Executor(identity.username, account)
    queued = queue_messages(session, actor, executor, messages, now, gate, hops=hops)
    return Posted(actor.id, actor.owner, queued)


def queue_message(
    session: Session,
    actor: Actor | Target,
    executor: Executor,
    message: PostedMessage,
    environment: Mapping[str, str],
    now: datetime,
    gate: Gate,
    *,
    hops: int = 0,
) -> str:
    """Write one message and its execution, as `queue_messages`; return the execution's id."""
    new = NewMessage(message, environment)
    return queue_messages(session, actor, executor, [new], now, gate, hops=hops)[0].execution_id


def queue_messages(
    session: Session,
    actor: Actor | Target,
    executor: Executor,
    messages: Sequence[NewMessage],
    now: datetime,
    gate: Gate,
    *,
    hops: int = 0,
) -> list[Queued]:
    """Write messages and their executions; return what became of each, in their order.

    Args:
        session: a transaction in which `actor` was read, and locked against its deletion
            (``share=True`` or ``lock=True`` of `find_actor`).
        actor: whose messages they are. Nobody's permission is looked at.
        executor: a user with EXECUTE, or `CRON` or `EVENTS`.
        messages: what is to be queued.
        now: when they were received.
        gate: judges their sizes and number.
        hops: links between actors that led to them.

    Raises:
        Conflict: the actor runs as whoever posts, and the executor's account is not known.
        PayloadTooLarge: one is too large for the tenant.
        LimitReached: the tenant or the actor's owner has too many. Nothing was written.
    """
    account = _own_account(actor, executor)
    own: list[tuple[str, bool]] = []  # the id of each, and whether no other has the same
    new: dict[str, NewMessage] = {}
    rows: list[NewExecution] = []
    ids_by_key: dict[str, str] = {}
    for message in messages:
        execution_id = new_id()
        key = None if message.key is None else f"{executor.name}:{message.key}"
        if key is not None:
            execution_id = ids_by_key.setdefault(key, execution_id)
        is_first = execution_id not in new
        own.append((execution_id, is_first))
        if is_first:
            new[execution_id] = message
            rows.append(NewExecution(execution_id, key))
    _check_room(session, gate, actor, new, ids_by_key)
    shared = {
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
    }
    insert_executions(session.connection(), rows, shared)
    repeated = _find_repeated(session, actor.id, ids_by_key)
    _insert_messages(session, {name: one for name, one in new.items() if name not in repeated})
    return [Queued(repeated.get(name, name), first and name not in repeated) for name, first in own]


def _check_room(
    session: Session,
    gate: Gate,
    actor: Actor | Target,
    new: Mapping[str, NewMessage],
    ids_by_key: Mapping[str, str],
) -> None:
    """Let the messages in, of which those that are there already under their key do not count."""
    gate.check_sizes(actor.tenant, [one.message.size for one in new.values()])
    try:
        gate.let_in(session, actor.tenant, actor.owner, len(new))
    except LimitReached:
        there = len(_find_repeated(session, actor.id, ids_by_key))
        if there == 0:
            raise
        if there < len(new):
            gate.let_in(session, actor.tenant, actor.owner, len(new) - there)


def _find_repeated(session: Session, actor_id: str, ids: Mapping[str, str]) -> dict[str, str]:
    """Return, for each of the ids that was not inserted, the one that has its key."""
    repeated = {}
    keys = list(ids)
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        some = {"actor_id": actor_id, "keys": keys[begin : begin + _KEYS_AT_ONCE]}
        for key, found in session.execute(_BY_KEY, some):
            if key is not None and found != ids[key]:
                repeated[ids[key]] = found
    return repeated


def _insert_messages(session: Session, messages: Mapping[str, NewMessage]) -> None:
    texts = []
    for execution_id, new in messages.items():
        message = new.message
        if message.content_type != BINARY:
            kind, text = message.content_type, message.payload.decode()
            texts.append(NewText(execution_id, kind, text, message.size, new.environment))
            continue
        row = {
            "execution_id": execution_id,
            "content_type": message.content_type,
            "payload": message.payload,
            "size": message.size,
            "environment": dict(new.environment),
        }
        session.execute(_INSERT_MESSAGE, row)
        if message.spooled is not None:
            _insert_parts(session, execution_id, message.spooled)
    if texts:
        insert_texts(session.connection(), texts)


def _insert_parts(session: Session, execution_id: str, file: BinaryIO) -> None:
    """Write a payload in rows, one of which is in memory at a time."""
    file.seek(0)
    pieces = iter(lambda: file.read(PART_BYTES), b"")
    for number, data in enumerate(pieces):
        row = {"execution_id": execution_id, "number": number, "data": data}
        session.execute(_INSERT_PART, row)


def _own_account(actor: Actor | Target, executor: Executor) -> Account | None:
    """Return the executor's account where the actor runs as its executor."""
    if not (actor.run_as_executor and executor.is_user):
        return None
    if executor.account is None:
        raise Conflict(
            f"Actor {actor.id} runs as whoever posts to it (run_as_executor), and no account "
            f"of user {executor.name} is known: either this tenant does not allow it, or the "
            "actor was changed just now; then post the message again."
        )
    return executor.account


def executor_account(
    database: Database,
    identity: Identity,
    site: Site,
    actor_id: str,
    clock: Clock,
    waits: Waits,
) -> Account | None:
    """Return the caller's own account where the actor runs as its executor, else None.

    Asked before the transaction of `post_messages`: the answer may take seconds.

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
    person = Person(actor.cluster, actor.tenant, identity.username)
    return find_account(database, site, person, clock, waits, claimed_by(identity))


def count_messages(session: Session, identity: Identity, actor_id: str) -> tuple[Actor, int]:
    """Return the actor and how many of its messages wait to be run."""
    actor = find_actor(session, identity, actor_id, Level.READ)
    return actor, _count_waiting(session, actor.id, None)


def _taken(actor_id: str) -> ColumnElement[bool]:
    """Of what waits, what the actor's job arrays have: found by them, not among all that ran."""
    arrays = select(Array.id).where(Array.actor_id == actor_id, Array.status != ArrayStatus.ENDED)
    return _WAITS & IS_OPEN & Execution.array_id.in_(arrays)


def _count_waiting(session: Session, actor_id: str, most: int | None) -> int:
    """Return how many messages wait, in the queue or in arrays; of each `most` are counted."""
    queued = select(literal(1)).where(is_queued(), Execution.actor_id == actor_id)
    taken = select(literal(1)).where(_taken(actor_id))
    return sum(
        session.scalars(select(func.count()).select_from(query.limit(most).subquery())).one()
        for query in (queued, taken)
    )


def purge_messages(database: Database, identity: Identity, actor_id: str, now: datetime) -> Actor:
    """End every message of the actor that has not been started, of those that there are now.

    What waits ends ERROR at once. What a job array has taken is called off: its worker does not
    start it, and it ends when that is certain. In several transactions, none of them long; twice,
    since planning takes messages from the queue and gives some back.

    Raises:
        NotFound: there is no such actor.
        PermissionDenied: the caller may not update it.
    """
    with database.read() as session:
        actor = find_actor(session, identity, actor_id, Level.UPDATE)
        of_actor = select(func.max(Execution.seq)).where(Execution.actor_id == actor.id)
        last: int | None = session.scalars(of_actor).one()
    if last is None:
        return actor
    reason = f"Purged by {identity.username} before it ran."
    # A sum, so that SQLite takes the index of what waits, and not that of all, by number.
    mine = _WAITS & (Execution.seq + 0 <= last)
    for _ in range(_PURGE_ROUNDS):
        ended = _PURGED_AT_ONCE
        while ended == _PURGED_AT_ONCE:
            with database.begin() as session:
                # No plan is made meanwhile.
                actor = find_actor(session, identity, actor.id, Level.UPDATE, share=True)
                ended = end_waiting(session, actor, mine, reason, now, limit=_PURGED_AT_ONCE)
        # Without the actor: harvesting holds executions of arrays and wants the actor.
        taken = select(Execution.seq).where(mine, _taken(actor.id)).limit(_PURGED_AT_ONCE)
        asked = (
            update(Execution)
            .where(Execution.seq.in_(taken), mine, Execution.array_id.is_not(None))
            .values(cancel_requested_at=now, reason=reason)
            .execution_options(synchronize_session=False)
        )
        called_off = _PURGED_AT_ONCE
        while called_off == _PURGED_AT_ONCE:
            with database.begin() as session:
                done = session.execute(asked)
                assert isinstance(done, CursorResult)
                called_off = done.rowcount
    return actor
