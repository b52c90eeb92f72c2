"""The tables. One module while they are few and refer to each other.

Times are aware UTC. Ids are text (bridge.core.ids). The queue is `executions`: what waits is
``status = SUBMITTED and array_id is null``, and a partial index holds exactly that, so that
finished rows cost nothing to the scheduler.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bridge.core.statuses import (
    ActorStatus,
    ArrayStatus,
    ExecutionStatus,
    ImageStatus,
    Level,
    WorkerStatus,
)
from bridge.db.base import Base, Document, status_column

# SQLite numbers rows by itself only in a column of type INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")


class Image(Base):
    """A reference as one tenant's actors on one cluster use it, or one owner's with their login.

    Where the file is may be the same for several rows. A row that is not READY may have one: what
    was there before it was asked for anew.
    """

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("cluster", "tenant", "owner", "reference"),
        CheckConstraint("status <> 'READY' or (digest is not null and sif_path is not null)",
                        name="ready_has_file"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    cluster: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(64), default="")  # empty: everybody's of the tenant
    reference: Mapped[str] = mapped_column(String(512))
    status: Mapped[ImageStatus] = mapped_column(status_column(ImageStatus))
    status_message: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    digest: Mapped[str | None] = mapped_column(String(128))
    # Every digest by which the site's policy may know it: of the manifest, the index, the SIF.
    names: Mapped[list[Any] | None] = mapped_column(JSON)
    source_bytes: Mapped[int | None] = mapped_column(BigInteger)  # as the registry sends it
    is_signed: Mapped[bool] = mapped_column(default=False)  # by a key of the tenant's keyring
    sif_path: Mapped[str | None] = mapped_column(Text)
    sif_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sif_sha256: Mapped[str | None] = mapped_column(String(64))
    used_at: Mapped[datetime | None]  # when it was last wanted, to the hour or so
    # The image's own configuration as the registry gives it: Entrypoint, Cmd, WorkingDir, Env.
    config: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    create_time: Mapped[datetime]


class RegistryLogin(Base):
    """What a user has left for a registry: with it the images of the user's own actors are pulled.

    The password is ciphertext; it is never shown, and leaves this table only for the registry.
    """

    __tablename__ = "registry_logins"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255), primary_key=True)  # host[:port]
    login: Mapped[str] = mapped_column(String(255))
    password: Mapped[str] = mapped_column(Text)
    create_time: Mapped[datetime]
    last_update_time: Mapped[datetime]


class Actor(Base):
    """An Abaco actor (abaco_contract.md 4.1). Deleted ones stay while their executions need them.

    `uid` and `gid` are the owner's on the cluster, found when the actor is registered.
    """

    __tablename__ = "actors"
    __table_args__ = (
        Index("ix_actors_tenant_live", "tenant", "create_time"),
        CheckConstraint("stateless or coalesce(max_workers, 1) = 1", name="stateful_one_worker"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(64))
    cluster: Mapped[str] = mapped_column(String(64))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    image: Mapped[str] = mapped_column(String(512))
    name: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[ActorStatus] = mapped_column(status_column(ActorStatus))
    status_message: Mapped[str] = mapped_column(Text, default="")
    stateless: Mapped[bool] = mapped_column(default=True)
    state: Mapped[Any] = mapped_column(Document, nullable=False, default=dict)
    type: Mapped[str] = mapped_column(String(32), default="none")
    link: Mapped[str] = mapped_column(Text, default="")
    webhook: Mapped[str] = mapped_column(Text, default="")
    hints: Mapped[list[Any]] = mapped_column(JSON, default=list)
    token: Mapped[Any] = mapped_column(JSON)  # "false"/"true" by default, a boolean when given
    privileged: Mapped[bool] = mapped_column(default=False)
    use_container_uid: Mapped[bool] = mapped_column(default=False)
    run_as_executor: Mapped[bool] = mapped_column(default=False)
    # What the actor asks of Slurm, beyond Abaco's fields: see bridge.core.batch. None: nothing.
    batch: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    default_environment: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    mounts: Mapped[list[Any]] = mapped_column(JSON, default=list)
    max_workers: Mapped[int | None]
    workers_asked: Mapped[int] = mapped_column(default=0)  # by an admin, and not planned yet
    mem_limit: Mapped[str | None] = mapped_column(String(32))
    max_cpus: Mapped[int | None] = mapped_column(BigInteger)
    queue: Mapped[str] = mapped_column(String(64), default="default")
    revision: Mapped[int] = mapped_column(default=1)
    uid: Mapped[int | None] = mapped_column(BigInteger)
    gid: Mapped[int | None] = mapped_column(BigInteger)
    tasdir: Mapped[str | None] = mapped_column(Text)
    log_ex: Mapped[int | None]
    cron_on: Mapped[bool] = mapped_column(default=False)
    cron_schedule: Mapped[str | None] = mapped_column(Text)
    # Months are counted from the start, so that one of 28 days does not move the day for good.
    cron_start_at: Mapped[datetime | None]
    cron_next_at: Mapped[datetime | None] = mapped_column(index=True)
    create_time: Mapped[datetime]
    last_update_time: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    # Mean run time of this actor's containers, for packing; none yet: null.
    mean_run_s: Mapped[float | None]

    image_row: Mapped[Image] = relationship()


class Permission(Base):
    """A user's level on an actor."""

    __tablename__ = "permissions"

    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id"), primary_key=True)
    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    level: Mapped[Level] = mapped_column(status_column(Level))


class Alias(Base):
    """A name for an actor, unique in its tenant (abaco_contract.md 3.11)."""

    __tablename__ = "aliases"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    alias: Mapped[str] = mapped_column(String(255), primary_key=True)
    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id"), index=True)
    owner: Mapped[str] = mapped_column(String(64))
    create_time: Mapped[datetime]


class AliasPermission(Base):
    """A user's level on an alias; it says nothing of the actor behind it."""

    __tablename__ = "alias_permissions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "alias"], ["aliases.tenant", "aliases.alias"], ondelete="CASCADE"
        ),
    )

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    alias: Mapped[str] = mapped_column(String(255), primary_key=True)
    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    level: Mapped[Level] = mapped_column(status_column(Level))


class Config(Base):
    """A named value that actors share (abaco_contract.md 3.12); a secret one is ciphertext here.

    It reaches only actors on which its author, who wrote it last, has UPDATE.
    """

    __tablename__ = "configs"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    is_secret: Mapped[bool]
    actors: Mapped[str] = mapped_column(Text)  # ids and aliases, as they were sent
    author: Mapped[str] = mapped_column(String(64))
    author_is_admin: Mapped[bool] = mapped_column(default=False)
    create_time: Mapped[datetime]
    last_update_time: Mapped[datetime]


class ConfigTarget(Base):
    """One element of a config's `actors`: an actor, or an alias for as long as that very one lives.

    An alias that is deleted and made again, perhaps by somebody else, is another one: it does not
    bring another's secret to another's actor.
    """

    __tablename__ = "config_targets"
    __table_args__ = (
        CheckConstraint("(actor_id is null) <> (alias is null)", name="actor_or_alias"),
        ForeignKeyConstraint(
            ["tenant", "name"], ["configs.tenant", "configs.name"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["tenant", "alias"], ["aliases.tenant", "aliases.alias"], ondelete="CASCADE"
        ),
        Index("ix_config_targets_alias", "tenant", "alias"),
    )

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    identifier: Mapped[str] = mapped_column(String(255), primary_key=True)  # as it was sent
    actor_id: Mapped[str | None] = mapped_column(ForeignKey("actors.id"), index=True)
    alias: Mapped[str | None] = mapped_column(String(255))


class ConfigPermission(Base):
    """A user's level on a config."""

    __tablename__ = "config_permissions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "name"], ["configs.tenant", "configs.name"], ondelete="CASCADE"
        ),
    )

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    level: Mapped[Level] = mapped_column(status_column(Level))


class Nonce(Base):
    """A credential for one actor or one alias (abaco_contract.md 2.5, 4.6)."""

    __tablename__ = "nonces"
    __table_args__ = (
        CheckConstraint("(actor_id is null) <> (alias is null)", name="actor_or_alias"),
        CheckConstraint("remaining_uses >= -1", name="uses_left"),
        ForeignKeyConstraint(
            ["tenant", "alias"], ["aliases.tenant", "aliases.alias"], ondelete="CASCADE"
        ),
    )

    id: Mapped[str] = mapped_column(String(128), primary_key=True)  # <TENANT>_<id>
    tenant: Mapped[str] = mapped_column(String(64))
    actor_id: Mapped[str | None] = mapped_column(ForeignKey("actors.id"), index=True)
    alias: Mapped[str | None] = mapped_column(String(255), index=True)
    owner: Mapped[str] = mapped_column(String(64))
    roles: Mapped[list[Any]] = mapped_column(JSON)  # the owner's when it was made
    level: Mapped[Level] = mapped_column(status_column(Level))
    description: Mapped[str] = mapped_column(Text, default="")
    max_uses: Mapped[int] = mapped_column(BigInteger)  # -1: unlimited
    current_uses: Mapped[int] = mapped_column(BigInteger, default=0)
    remaining_uses: Mapped[int] = mapped_column(BigInteger)  # -1: unlimited
    create_time: Mapped[datetime]
    last_use_time: Mapped[datetime | None]


class Array(Base):
    """One planned job array. `id` is its token and, with a prefix, its Slurm job name."""

    __tablename__ = "arrays"
    __table_args__ = (
        CheckConstraint("status <> 'SUBMITTED' or array_job_id is not null",
                        name="submitted_has_job"),
        CheckConstraint("(status = 'ENDED') = (ended_at is not null)", name="ended_has_time"),
        # Two of them: SQLite does not see that an array with a given status has not ENDED.
        Index("ix_arrays_status", "status"),
        Index("ix_arrays_live", "actor_id", sqlite_where=text("status <> 'ENDED'"),
              postgresql_where=text("status <> 'ENDED'")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    cluster: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str] = mapped_column(String(64))
    username: Mapped[str] = mapped_column(String(64))  # the tenant's user whose account it is
    login: Mapped[str] = mapped_column(
        String(64), server_default=text("''")
    )  # the account on the cluster
    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    sif_path: Mapped[str] = mapped_column(Text)
    sif_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sif_sha256: Mapped[str | None] = mapped_column(String(64))
    spool: Mapped[str] = mapped_column(Text)
    task_count: Mapped[int]  # workers; array tasks are fewer where these have slots
    message_count: Mapped[int]
    chunk_count: Mapped[int]
    # Chunks up to this one are in the workers' hands. A later one is bound to the array; it counts
    # as given to nobody until `staged_as`, the ending of its file's name in staged/, is written.
    fed_chunks: Mapped[int] = mapped_column(default=0)
    staged_as: Mapped[str | None] = mapped_column(String(32))
    # Of all that its messages share: what is fed to it later must have the same.
    fingerprint: Mapped[str] = mapped_column(String(64), default="")
    # The resources and the place in Slurm that the plan decided on: see launcher.context.
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[ArrayStatus] = mapped_column(status_column(ArrayStatus))
    reason: Mapped[str] = mapped_column(Text, default="")
    array_job_id: Mapped[int | None] = mapped_column(BigInteger)
    planned_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]  # Slurm refused it for now: submit it again then
    unseen_since: Mapped[datetime | None]  # Slurm did not list it from then on
    is_standing: Mapped[bool] = mapped_column(default=False)  # an admin asked for its workers
    idle_since: Mapped[datetime | None]  # since then none of its executions is open
    leaving_at: Mapped[datetime | None]  # since then it gets nothing more; its workers leave
    stop_ordered_at: Mapped[datetime | None]  # since then its spool says so
    closing_at: Mapped[datetime | None]  # since then nothing more can be claimed or started
    drain_requested: Mapped[bool] = mapped_column(default=False)  # its actor has another image
    stop_requested: Mapped[bool] = mapped_column(default=False)  # its actor was deleted
    failed: Mapped[bool] = mapped_column(default=False)  # what is open ends ERROR with `reason`
    ended_at: Mapped[datetime | None]


class ArrayTask(Base):
    """What is known of one worker besides its journals, over all restarts of its array task.

    Most have no row. Live arrays only.
    """

    __tablename__ = "array_tasks"

    array_id: Mapped[str] = mapped_column(ForeignKey("arrays.id"), primary_key=True)
    task_index: Mapped[int] = mapped_column(primary_key=True)  # the worker's, in the array
    leave_requested_at: Mapped[datetime | None]  # its worker is to take nothing more
    leave_ordered_at: Mapped[datetime | None]  # ... and the spool says so
    ended_at: Mapped[datetime | None]  # Slurm says so


class Worker(Base):
    """One array task, or a slot of it, under one restart count: an Abaco worker."""

    __tablename__ = "workers"
    __table_args__ = (UniqueConstraint("array_id", "name"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    array_id: Mapped[str] = mapped_column(ForeignKey("arrays.id"))
    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id"), index=True)
    name: Mapped[str] = mapped_column(String(32))  # "<index in the array>.<restart count>"
    host: Mapped[str] = mapped_column(String(255), default="")
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[WorkerStatus] = mapped_column(status_column(WorkerStatus))
    journal_offset: Mapped[int] = mapped_column(BigInteger, default=0)
    dead_reason: Mapped[str | None] = mapped_column(Text)  # why it is taken for gone
    fenced_at: Mapped[datetime | None]  # from then on it can start nothing more
    settled: Mapped[bool] = mapped_column(default=False)
    create_time: Mapped[datetime]
    last_execution_time: Mapped[datetime | None]
    last_health_check_time: Mapped[datetime | None]


class Execution(Base):
    """One run of one actor on one message (abaco_contract.md 4.2)."""

    __tablename__ = "executions"
    __table_args__ = (
        CheckConstraint("(status in ('COMPLETE', 'ERROR')) = (finish_time is not null)",
                        name="final_has_finish"),
        CheckConstraint("status <> 'RUNNING' or (array_id is not null and worker_id is not null)",
                        name="running_has_worker"),
        UniqueConstraint("actor_id", "idempotency_key"),
        Index("ix_executions_actor", "actor_id", "seq"),
        # Each actor's messages by user: one queue after the other (bridge.scheduler.heads).
        Index("ix_executions_queue", "actor_id", "username", "seq",
              sqlite_where=text("status = 'SUBMITTED' and array_id is null"),
              postgresql_where=text("status = 'SUBMITTED' and array_id is null")),
        Index("ix_executions_cancel", "array_id",
              sqlite_where=text("cancel_requested_at is not null and cancel_sent_at is null"),
              postgresql_where=text("cancel_requested_at is not null and cancel_sent_at is null")),
        Index("ix_executions_array", "array_id", "chunk",
              sqlite_where=text("array_id is not null"),
              postgresql_where=text("array_id is not null")),
        Index("ix_executions_array_open", "array_id", "seq",
              sqlite_where=text("status in ('SUBMITTED', 'RUNNING') and array_id is not null"),
              postgresql_where=text("status in ('SUBMITTED', 'RUNNING') and array_id is not null")),
    )  # fmt: skip

    seq: Mapped[int] = mapped_column(_Serial, primary_key=True)  # the order of arrival
    id: Mapped[str] = mapped_column(String(32), unique=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id"))
    actor_revision: Mapped[int]
    executor: Mapped[str] = mapped_column(String(64))
    # Whose account it runs under: the actor's owner's, or the executor's (`run_as_executor`).
    username: Mapped[str] = mapped_column(String(64))
    executor_uid: Mapped[int | None] = mapped_column(BigInteger)  # only with `run_as_executor`
    executor_gid: Mapped[int | None] = mapped_column(BigInteger)
    idempotency_key: Mapped[str | None] = mapped_column(String(200))  # <executor>:<their key>
    # Somebody wants it ended: a force quit, or the delete of one that a plan has taken already.
    cancel_requested_at: Mapped[datetime | None]
    cancel_sent_at: Mapped[datetime | None]  # the order lies in the spool
    attempt: Mapped[int] = mapped_column(default=1)  # more than 1: lost before, and asked for again
    hops: Mapped[int] = mapped_column(default=0)  # links between actors that led to it
    status: Mapped[ExecutionStatus] = mapped_column(status_column(ExecutionStatus))
    array_id: Mapped[str | None] = mapped_column(ForeignKey("arrays.id"))
    chunk: Mapped[int | None]  # its place in the array's inbox, counted from 1
    # In how many plans it was without ever being started; a bound keeps a broken node from
    # swallowing it again and again.
    plan_count: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None] = mapped_column(ForeignKey("workers.id"))
    message_received_time: Mapped[datetime]
    start_time: Mapped[datetime | None]
    finish_time: Mapped[datetime | None]
    runtime: Mapped[int] = mapped_column(default=0)  # whole seconds
    cpu: Mapped[int] = mapped_column(BigInteger, default=0)  # nanoseconds
    io: Mapped[int] = mapped_column(BigInteger, default=0)  # bytes read and written
    max_rss_kib: Mapped[int] = mapped_column(BigInteger, default=0)
    # What its container has sent so far, for numbering and for the limit; also what nobody can get
    # any more.
    result_count: Mapped[int] = mapped_column(default=0)
    result_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    exit_code: Mapped[int | None]
    final_state: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text, default="")


def _word(*words: ExecutionStatus) -> Any:
    """Return statuses that stand in the statement itself, not beside it as parameters.

    Only so does SQLite see that a partial index will do, and that it need not look into the row;
    only so does PostgreSQL in a plan that it keeps for later values.
    """
    kind = Execution.__table__.c.status.type
    several = len(words) > 1
    value = words if several else words[0]
    return bindparam(None, value, type_=kind, expanding=several, literal_execute=True)


# An execution that is not final.
IS_OPEN: ColumnElement[bool] = Execution.status.in_(
    _word(ExecutionStatus.SUBMITTED, ExecutionStatus.RUNNING)
)


def is_queued(of: Any = Execution) -> ColumnElement[bool]:
    """Return, as SQL, whether an execution (`of`: of this alias) waits and is in no array."""
    return and_(of.status == _word(ExecutionStatus.SUBMITTED), of.array_id.is_(None))


class Message(Base):
    """What was posted; gone when its execution is final."""

    __tablename__ = "messages"

    execution_id: Mapped[str] = mapped_column(ForeignKey("executions.id"), primary_key=True)
    content_type: Mapped[str] = mapped_column(String(64))  # str, application/json, octet-stream
    # Text as UTF-8, as the container sees it. Empty where the payload lies in parts.
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    size: Mapped[int] = mapped_column(BigInteger)  # bytes of the whole payload
    environment: Mapped[dict[str, Any]] = mapped_column(JSON)


class MessagePart(Base):
    """A piece of a payload that is too large to be in memory whole."""

    __tablename__ = "message_parts"

    execution_id: Mapped[str] = mapped_column(
        ForeignKey("messages.execution_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)  # from 0
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Result(Base):
    """One datagram that a container sent to ``/_abaco_results.sock`` (abaco_contract.md 5.3)."""

    __tablename__ = "results"

    execution_id: Mapped[str] = mapped_column(ForeignKey("executions.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # from 0, in the order of arrival
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    is_taken: Mapped[bool] = mapped_column(default=False)  # Abaco's reading takes each once
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Log(Base):
    """The log of an execution: stdout and stderr in the order of arrival, cut at the limit."""

    __tablename__ = "logs"

    execution_id: Mapped[str] = mapped_column(ForeignKey("executions.id"), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Event(Base):
    """Something that an actor's link or webhook is to be told (abaco_contract.md 4.8).

    Written in the transaction in which it happened; delivered by the scheduler. One that was
    delivered is gone, one that was given up stays for a while.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_links", "tenant", "id",
              sqlite_where=text("given_up_at is null and is_webhook = 0"),
              postgresql_where=text("given_up_at is null and not is_webhook")),
        Index("ix_events_webhooks", "actor_id", "next_attempt_at", "id",
              sqlite_where=text("given_up_at is null and is_webhook = 1"),
              postgresql_where=text("given_up_at is null and is_webhook")),
        Index("ix_events_open", "create_time", sqlite_where=text("given_up_at is null"),
              postgresql_where=text("given_up_at is null")),
        Index("ix_events_given_up", "given_up_at", sqlite_where=text("given_up_at is not null"),
              postgresql_where=text("given_up_at is not null")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id"))
    target: Mapped[str] = mapped_column(Text)  # an actor's id or alias, or a URL
    is_webhook: Mapped[bool]
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    hops: Mapped[int] = mapped_column(default=0)  # links between actors that led to it
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    given_up_at: Mapped[datetime | None]  # and why is in `error`
    error: Mapped[str] = mapped_column(Text, default="")  # of the last attempt
    create_time: Mapped[datetime]


class CoreUsage(Base):
    """What a user's workers that have ended held on one day (UTC); see bridge.scheduler.usage."""

    __tablename__ = "core_usage"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)  # YYYY-MM-DD
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    core_s: Mapped[float] = mapped_column(Float)  # seconds, each times the worker's CPUs


class AuditRecord(Base):
    """One entry of the audit trail (bridge.audit); rows are added and removed, never changed."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_tenant", "tenant", "username", "id"),)

    id: Mapped[int] = mapped_column(_Serial, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    username: Mapped[str] = mapped_column(String(64))
    via: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(64))
    object: Mapped[str] = mapped_column(String(128))
    detail: Mapped[str] = mapped_column(String(255))
    remote: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(64))
    result: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(64))


class Lease(Base):
    """Who may act as the one active scheduler, until when."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[datetime]


class ClusterUser(Base):
    """What a cluster says of the account of a tenant's user, asked and answered by two processes.

    The API, which never touches the cluster, registers an actor only for a user known here; the
    scheduler looks up whom the API has asked for. Two tenants' users of one name are two people.
    """

    __tablename__ = "cluster_users"
    __table_args__ = (
        CheckConstraint("(login is null) = (uid is null) and (uid is null) = (gid is null)",
                        name="whole_account"),
    )  # fmt: skip

    cluster: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    # Questions are numbered: an answer to an earlier one is not taken for that to a later one, and
    # nothing is decided by the clocks of two hosts.
    asked: Mapped[int] = mapped_column(default=0)
    answered: Mapped[int] = mapped_column(default=0)
    # What the user's token said of the account, where the tenant is believed that: see
    # bridge.services.logins. None: nothing was said.
    claimed: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checked_at: Mapped[datetime | None]
    login: Mapped[str | None] = mapped_column(String(64))  # null: none, or one not to be used
    uid: Mapped[int | None] = mapped_column(BigInteger)
    gid: Mapped[int | None] = mapped_column(BigInteger)
    groups: Mapped[list[int]] = mapped_column(JSON, default=list)  # all of them, as numbers
    home: Mapped[str] = mapped_column(Text, default="")
    # Host paths of mounts that were looked for, and whether the account sees a directory there.
    paths: Mapped[dict[str, bool]] = mapped_column(JSON, default=dict)
    reason: Mapped[str] = mapped_column(Text, default="")  # why there is no login
