"""Submission of what was planned: spool, sbatch as the owner, job id."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, load_only

from bridge.audit import tell, write
from bridge.auth import sign_token
from bridge.core.slots import array_layout
from bridge.core.statuses import ArrayStatus
from bridge.db import Actor, Array, Execution, Image, Message, MessagePart
from bridge.errors import BridgeError, Conflict, SlurmUnavailable, UnreadableOutput, UserUnknown
from bridge.launcher import ArrayContext, build_message, render_script
from bridge.launcher.context import job_name
from bridge.launcher.spool import FOLDERS, NO_STATE, build_shared, chunk_name, needs_file
from bridge.scheduler.acts import act_on, record
from bridge.scheduler.close import close_array
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.hot import note_given
from bridge.scheduler.recipe import build_array
from bridge.services.accounts import Account, read_account
from bridge.services.configs import configs_of
from bridge.services.logins import Person
from bridge.sessions import UserSession

log = logging.getLogger(__name__)

# Slurm certainly has not taken it; asking more often would not move a limit.
RETRY_AFTER = timedelta(seconds=30)
HELD_BYTES = 8 << 20  # payloads that are read from the database at once
PIECE_BYTES = 1 << 20  # of a chunk that is sent at once
# What a message's line says of its execution.
_OF_A_LINE = load_only(Execution.id, Execution.executor, Execution.actor_revision, raiseload=True)


def due_arrays(context: ClusterContext) -> Sequence[tuple[str, str]]:
    """Return the arrays that are to be submitted now: new ones, and those put off until now.

    Each with the account it runs under, in order.
    """
    with context.database.read() as session:
        rows = session.execute(
            select(Array.id, Array.login)
            .where(
                Array.cluster == context.name,
                Array.status == ArrayStatus.PLANNED,
                Array.retry_at <= context.clock.now(),
            )
            .order_by(Array.planned_at, Array.id)
        )
        return [(token, login) for token, login in rows]


def submit_array(context: ClusterContext, token: str) -> None:
    """Submit the array that is planned under `token`, unless somebody has begun to.

    An unclear answer leaves it PLANNED: the watch looks for it by name. A refusal for now (a limit,
    an owner who cannot be reached) puts it off; any other closes it with the reason.
    """
    context.at("planned")
    array = _take_over(context, token)
    if array is None:
        return
    try:
        account = _account(context, array)
    except Conflict as error:
        close_array(context, token, error.message)
        return
    try:
        owner = context.submitter(array)
        write_spool(context, owner, array, account)
        if not _is_still_planned(context, token):
            return
        context.at("before_sbatch")
        job_id = context.slurm.submit(owner, render_script(_script(context, array)))
    except (SlurmUnavailable, UnreadableOutput) as error:
        log.warning("unclear submission: %s", error.message, extra={"facts": {"array": token}})
        return
    except (BridgeError, ValueError) as error:
        log.warning("submission failed: %s", error, extra={"facts": {"array": token}})
        about = f"on {context.name}, actor {array.actor_id}"
        record(context, act_on(context, array, "array.submit", about, type(error).__name__))
        if isinstance(error, BridgeError) and error.retryable:
            _put_off(context, token, error.message)
        else:
            close_array(context, token, str(error), failed=True)
        return
    context.at("after_sbatch")
    adopt(context, token, job_id)
    note_given(context, token, array.chunk_count)
    context.at("adopted")


def _take_over(context: ClusterContext, token: str) -> Array | None:
    """Return the array, and note that its submission begins; None where it has begun before.

    Noted first: if this process dies while it submits, the watch looks for the job by name.
    """
    with context.database.begin() as session:
        array = session.get_one(Array, token, with_for_update=True)
        if array.status is not ArrayStatus.PLANNED or array.retry_at is None:
            return None
        array.retry_at = None
    return array


def _is_still_planned(context: ClusterContext, token: str) -> bool:
    """Look again after the files are written and before Slurm is asked.

    Were this process asleep for long, another scheduler may have taken the array for lost and its
    messages elsewhere, before these files came: nobody may run them then. One that closes it from
    now on finds all of them.
    """
    with context.database.read() as session:
        return session.get_one(Array, token).status is ArrayStatus.PLANNED


def _put_off(context: ClusterContext, token: str, reason: str) -> None:
    with context.database.begin() as session:
        array = session.get_one(Array, token)
        array.retry_at = context.clock.now() + RETRY_AFTER
        array.reason = reason


def adopt(context: ClusterContext, token: str, job_id: int) -> None:
    """Record that Slurm has this array under `job_id`."""
    with context.database.begin() as session:
        array = session.get_one(Array, token)
        if array.status is not ArrayStatus.PLANNED:
            return
        array.status = ArrayStatus.SUBMITTED
        array.array_job_id = job_id
        array.submitted_at = context.clock.now()
        about = (
            f"job {job_id} on {context.name}, {array.task_count} workers, actor {array.actor_id}"
        )
        entry = act_on(context, array, "array.submit", about)
        write(session, entry)
    log.info("submitted", extra={"facts": {"array": token, "job": job_id}})
    tell(entry)


def _account(context: ClusterContext, array: Array) -> Account:
    """Return the account that the array was planned for.

    Raises:
        Conflict: it is not to be submitted any more; its messages go back to the queue.
    """
    if array.stop_requested or array.drain_requested:
        raise Conflict("The actor was deleted or has another image.")
    if array.tenant not in context.site.tenants:  # its messages wait, in case it comes back
        raise Conflict(f"The site has no tenant {array.tenant} at the moment.")
    person = Person(context.name, array.tenant, array.username)
    with context.database.read() as session:
        try:
            account = read_account(session, context.site, person)
        except UserUnknown as error:
            raise Conflict(error.message) from error
    if account is None or account.login != array.login:
        raise Conflict(f"User {array.username} no longer has account {array.login}.")
    return account


def write_spool(
    context: ClusterContext, owner: UserSession, array: Array, account: Account
) -> None:
    """Write the owner's files; array.json last, so that its presence means the rest is there."""
    program = context.program_path(array.login)
    root = context.spool_root(array.login)
    owner.mkdir(root)
    if not any(entry.name == program.rpartition("/")[2] for entry in owner.list(root)):
        owner.put(program, context.program[0])
    for folder in FOLDERS:
        owner.mkdir(f"{array.spool}/{folder}")
    for number in range(1, array.chunk_count + 1):
        write_chunk(context, owner, array, number, f"{array.spool}/inbox/{chunk_name(number)}")
    with context.database.read() as session:
        actor = session.get_one(Actor, array.actor_id)
        image = session.get_one(Image, array.image_id)
        document = build_array(context, array, actor, image, account)
    owner.put(f"{array.spool}/array.json", document)


def write_chunk(
    context: ClusterContext, owner: UserSession, array: Array, number: int, path: str
) -> None:
    """Write a chunk of the array as the file `path`, and the payloads that need their own.

    Raises:
        ConfigsUnusable: the actor's configs cannot be given to its containers.
    """
    pieces = _join(_lines(context, owner, array, number))
    begin = list(itertools.islice(pieces, 2))
    if len(begin) == 1:
        owner.put(path, begin[0])
    else:
        owner.put_stream(path, itertools.chain(begin, pieces))


def _join(lines: Iterator[str]) -> Iterator[bytes]:
    """Put lines together to pieces of `PIECE_BYTES`, or a little more."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line.encode() + b"\n")
        size += len(held[-1])
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _lines(context: ClusterContext, owner: UserSession, array: Array, number: int) -> Iterator[str]:
    """Give the lines of a chunk, a payload's own file written before its message's line."""
    with context.database.read() as session:
        actor = session.get_one(Actor, array.actor_id)
        shared = _shared(context, session, array, actor)
    yield shared
    state = NO_STATE if actor.stateless else actor.state
    for group in _groups(context, array, number):
        with context.database.read() as session:
            rows = session.execute(
                select(Message, Execution)
                .join(Execution, Execution.id == Message.execution_id)
                .where(Message.execution_id.in_(group))
                .order_by(Execution.seq)
                .options(_OF_A_LINE)
            ).all()
        for message, execution in rows:
            if needs_file(message):
                payload = f"{array.spool}/payload/{execution.id}"
                owner.put_stream(payload, _pieces(context, message))
            yield build_message(message, execution, context.site.callback_url, state)


def _shared(context: ClusterContext, session: Session, array: Array, actor: Actor) -> str:
    """Return what the chunk's messages share.

    Whoever a container runs as can read all that it gets. So the owner's token and the secret
    configs are for containers that run as the owner.
    """
    as_owner = array.username == actor.owner
    configs = configs_of(session, actor, context.box, with_secrets=as_owner)
    return build_shared(actor, configs, _access_token(context, array, actor) if as_owner else "")


def _access_token(context: ClusterContext, array: Array, actor: Actor) -> str:
    """Return a token of the owner's with plain use's role alone, where the actor wants one."""
    tenant = context.site.tenants[actor.tenant]
    if str(actor.token).lower() != "true" or tenant.private_key is None:
        return ""
    lifetime_s = context.cluster.access_token_lifetime_s + int(array.request["time_limit_s"])
    roles = (tenant.user_role,)
    return sign_token(tenant, actor.tenant, actor.owner, roles, lifetime_s, context.clock)


def _pieces(context: ClusterContext, message: Message) -> Iterator[bytes]:
    """Give a payload piece by piece; one is in memory at a time.

    Raises:
        ValueError: some of it is not in the database.
    """
    yield message.payload
    given = len(message.payload)
    for number in itertools.count():
        if given >= message.size:
            return
        with context.database.read() as session:
            part = session.get(MessagePart, (message.execution_id, number))
        if part is None:
            raise ValueError(
                f"Of the message of execution {message.execution_id}, {given} of {message.size} "
                "bytes are in the database."
            )
        given += len(part.data)
        yield part.data


def _groups(context: ClusterContext, array: Array, number: int) -> Iterator[list[str]]:
    """Divide a chunk's executions into runs whose payloads are in memory together."""
    with context.database.read() as session:
        sizes = session.execute(
            select(Message.execution_id, func.length(Message.payload))
            .join(Execution, Execution.id == Message.execution_id)
            .where(Execution.array_id == array.id, Execution.chunk == number)
            .order_by(Execution.seq)
        ).all()
    group: list[str] = []
    held = 0
    for execution_id, size in sizes:
        if group and held + size > HELD_BYTES:
            yield group
            group, held = [], 0
        group.append(execution_id)
        held += size
    if group:
        yield group


def _script(context: ClusterContext, array: Array) -> ArrayContext:
    cluster, request = context.cluster, array.request
    layout = array_layout(array.task_count, request)
    return ArrayContext(
        job_name=job_name(array.id),
        task_count=layout.tasks,
        time_limit_s=request["time_limit_s"],
        signal_s=min(int(cluster.kill_grace_s) + 10, 60),
        nodes=request["nodes"],
        ntasks=request["ntasks"],
        cpus=request["cpus"] * layout.slots,
        memory_mib=request["memory_mib"] * layout.slots,
        gpus=request["gpus"] * layout.slots,
        exclusive=bool(request.get("node_cpus")),
        partition=request["partition"],
        account=request["account"],
        qos=request["qos"],
        constraint=request["constraint"],
        spool=array.spool,
        program=context.program_path(array.login),
        python=cluster.node_python,
    )
