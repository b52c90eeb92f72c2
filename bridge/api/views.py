"""What the API shows of each thing, in snake_case: `bridge.core.case` spells it for the client.

Each thing has a TypedDict, from which the OpenAPI document is made too (bridge.api.schemas).

Source: abaco_contract.md section 4 and appendix A.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from bridge.api.paths import Links
from bridge.api.schemas import SPELLED, Moment, With
from bridge.core.cron import format_hour
from bridge.core.statuses import ActorStatus, ExecutionStatus, Level, WorkerStatus
from bridge.core.times import format_moment, format_optional
from bridge.db import Actor, Alias, Config, Execution, Log, Nonce, RegistryLogin
from bridge.services.configs import MASK
from bridge.services.executions import ExecutionRow, Summary
from bridge.services.results import ListedResult, ResultList
from bridge.services.workers import ActorWorker


class Mount(TypedDict):
    """A directory of the cluster that an actor's containers see."""

    host_path: str
    container_path: str
    mode: Literal["ro", "rw"]


class ActorView(TypedDict):
    """An actor (4.1)."""

    id: str
    name: str | None
    image: str
    description: str
    owner: str
    status: ActorStatus
    status_message: str
    stateless: bool
    state: Any
    type: Annotated[str, With(enum=["none", "bin", "json"])]
    link: str
    webhook: str
    hints: list[str]
    token: Annotated[bool | str, "The text `true` or `false` where it is the site's default."]
    privileged: bool
    use_container_uid: bool
    run_as_executor: bool
    batch: Annotated[dict[str, Any] | None, "What the actor asks of Slurm."]
    default_environment: dict[str, str]
    mounts: list[Mount]
    max_workers: int | None
    mem_limit: str | None
    max_cpus: Annotated[int | None, "nanoCPUs"]
    queue: str
    revision: int
    uid: int | None
    gid: int | None
    tasdir: str | None
    log_ex: Annotated[int | None, "seconds"]
    cron_on: bool
    cron_schedule: str | None
    cron_next_ex: str | None
    create_time: Moment
    last_update_time: Moment
    _links: dict[str, str]


class AliasView(TypedDict):
    """An alias (3.11)."""

    alias: str
    actor_id: str
    owner: str
    _links: dict[str, str]


class NonceView(TypedDict):
    """A nonce (4.6)."""

    id: Annotated[str, "A credential: whoever knows it may use it."]
    owner: str
    level: Level
    description: str
    roles: Annotated[list[str], "The owner's when it was made; requests with it have them."]
    api_server: str
    actor_id: Annotated[str | None, "Null for the nonce of an alias."]
    alias: NotRequired[str]
    max_uses: Annotated[int, "-1 for no limit"]
    current_uses: int
    remaining_uses: Annotated[int, "-1 for no limit"]
    create_time: Moment
    last_use_time: Annotated[str, "A moment, or the text `None` before the first use."]
    _links: dict[str, str]


class ConfigView(TypedDict):
    """A config (3.12)."""

    name: str
    value: Annotated[str, "`********` in the place of a secret, which is never shown."]
    is_secret: bool
    actors: Annotated[str, "Ids and aliases, as they were sent."]


class LoginView(TypedDict):
    """A login that a user has left for a registry."""

    registry: str
    username: Annotated[str, "The user's name there."]
    password: Annotated[str, "Always `********`."]
    create_time: Moment
    last_update_time: Moment


class FoundExecutionView(TypedDict):
    """An execution that was searched for (3.13)."""

    id: str
    actor_id: str
    executor: str
    worker_id: str | None
    status: ExecutionStatus
    message_received_time: Moment
    start_time: Moment | None
    finish_time: Moment | None
    runtime: Annotated[int, "seconds"]
    cpu: Annotated[int, "nanoseconds"]
    io: Annotated[int, "bytes read and written"]
    exit_code: int | str | None
    final_state: Annotated[dict[str, Any] | None, "State, as Docker has it."]
    attempt: Annotated[int, "More than 1: the cluster lost it before, and it was run again."]
    executor_uid: NotRequired[Annotated[int, "Where the actor runs as its executor."]]
    executor_gid: NotRequired[Annotated[int | None, "Where the actor runs as its executor."]]
    _links: dict[str, str]


class ExecutionView(FoundExecutionView):
    """An execution (4.2)."""

    api_server: str


class FoundLogView(TypedDict):
    """A log that was searched for (3.13)."""

    logs: str
    _links: dict[str, str]


class ListedExecutionView(TypedDict):
    """An execution in the list (3.4)."""

    id: str
    status: ExecutionStatus
    start_time: Moment | None
    finish_time: Moment | None
    message_received_time: Moment


class SummaryView(TypedDict):
    """An actor's executions: the sums over all of them (3.4)."""

    actor_id: str
    api_server: str
    owner: str
    total_executions: int
    total_runtime: int
    total_cpu: int
    total_io: int
    _links: dict[str, str]


class ExecutionsView(SummaryView):
    """The sums, and the list in the order of creation."""

    executions: Annotated[list[ListedExecutionView], SPELLED]


class LogsView(TypedDict):
    """What a container printed (3.6)."""

    logs: str
    _links: dict[str, str]


class FoundWorkerView(TypedDict):
    """A worker that was searched for (3.13). Times that have not come are the text `None`."""

    id: str
    actor_id: str
    status: WorkerStatus
    image: str
    ch_name: str
    location: Annotated[str | None, "The node, once it has started."]
    cid: Annotated[str | None, "The array task as Slurm names it, once it has started."]
    host_id: str | None
    host_ip: str
    create_time: Moment
    last_execution_time: str
    last_health_check_time: str


class WorkerView(TypedDict):
    """A worker (4.3): one array task. Times that have not come are the text `None`, as in Abaco."""

    id: str
    tenant: str
    status: WorkerStatus
    image: str
    ch_name: str
    location: Annotated[str | None, "The node, once it has started."]
    cid: Annotated[str | None, "The array task as Slurm names it, once it has started."]
    host_id: str | None
    host_ip: str
    create_time: Moment
    last_execution_time: str
    last_health_check_time: str


class StateView(TypedDict):
    """A stateful actor's saved document (3.8)."""

    state: Annotated[Any, "Any JSON value; an empty object while nothing has set it."]


class ResultView(TypedDict):
    """One datagram that a container sent."""

    number: Annotated[int, "From 0, in the order of arrival."]
    size: Annotated[int, "bytes"]
    taken: Annotated[bool, "Whether it has been read in Abaco's way, once."]
    data: Annotated[str, With(format="byte"), "base64"]


class ResultListView(TypedDict):
    """An execution's results: how many there are, and how to go on."""

    total_results: int
    next_skip: Annotated[int | None, "The `skip` of the next part; none after the last."]
    _links: dict[str, str]


class ResultsView(ResultListView):
    """A part of an execution's results, none of them taken by this."""

    results: Annotated[list[ResultView], SPELLED]


class MailboxView(TypedDict):
    """How many messages wait (3.3)."""

    messages: int
    _links: dict[str, str]


class PurgedView(TypedDict):
    """A mailbox that was purged (3.3)."""

    msg: str
    _links: dict[str, str]


class QueuedView(TypedDict):
    """What became of one message of a batch."""

    execution_id: str
    is_new: Annotated[bool, "False: a message under the same key came before; this is its own."]


class BatchView(TypedDict):
    """Messages that were accepted together, in their order."""

    executions: Annotated[list[QueuedView], SPELLED]
    _links: dict[str, str]


class PostedView(TypedDict):
    """A message that was accepted (3.3)."""

    execution_id: str
    msg: Annotated[Any, "The message as it was read, or `binary - omitted`."]
    _links: dict[str, str]


def show_actor(actor: Actor, links: Links) -> ActorView:
    """Return an actor (4.1). What Abaco hides (tenant, server, database id) is hidden."""
    return {
        "id": actor.id,
        "name": actor.name,
        "image": actor.image,
        "description": actor.description,
        "owner": actor.owner,
        "status": actor.status,
        "status_message": actor.status_message,
        "stateless": actor.stateless,
        "state": actor.state,
        "type": actor.type,
        "link": actor.link,
        "webhook": actor.webhook,
        "hints": actor.hints,
        "token": actor.token,
        "privileged": actor.privileged,
        "use_container_uid": actor.use_container_uid,
        "run_as_executor": actor.run_as_executor,
        "batch": actor.batch,
        "default_environment": actor.default_environment,
        "mounts": actor.mounts,
        "max_workers": actor.max_workers,
        "mem_limit": actor.mem_limit,
        "max_cpus": actor.max_cpus,
        "queue": actor.queue,
        "revision": actor.revision,
        "uid": actor.uid,
        "gid": actor.gid,
        "tasdir": actor.tasdir,
        "log_ex": actor.log_ex,
        "cron_on": actor.cron_on,
        "cron_schedule": actor.cron_schedule,
        "cron_next_ex": format_hour(actor.cron_next_at) if actor.cron_next_at else None,
        "create_time": format_moment(actor.create_time),
        "last_update_time": format_moment(actor.last_update_time),
        "_links": {
            "self": links.actor(actor.id),
            "owner": links.owner(actor.owner),
            "executions": links.executions(actor.id),
        },
    }


def show_alias(alias: Alias, links: Links) -> AliasView:
    """Return an alias (3.11)."""
    return {
        "alias": alias.alias,
        "actor_id": alias.actor_id,
        "owner": alias.owner,
        "_links": {
            "self": links.alias(alias.alias),
            "owner": links.owner(alias.owner),
            "actor": links.actor(alias.actor_id),
        },
    }


def show_nonce(nonce: Nonce, actor_id: str, links: Links) -> NonceView:
    """Return a nonce (4.6) of this actor, or of an alias that points at it."""
    shown: NonceView = {
        "id": nonce.id,
        "owner": nonce.owner,
        "level": nonce.level,
        "description": nonce.description,
        "roles": nonce.roles,
        "api_server": links.server,
        "actor_id": nonce.actor_id,
        "max_uses": nonce.max_uses,
        "current_uses": nonce.current_uses,
        "remaining_uses": nonce.remaining_uses,
        "create_time": format_moment(nonce.create_time),
        "last_use_time": format_optional(nonce.last_use_time) or "None",
        "_links": {
            "self": links.nonce(actor_id, nonce.alias, nonce.id),
            "owner": links.owner(nonce.owner),
            "actor": links.actor(actor_id),
        },
    }
    if nonce.alias is not None:
        shown["alias"] = nonce.alias
    return shown


def show_config(config: Config) -> ConfigView:
    """Return a config (3.12), a secret one without its value."""
    return {
        "name": config.name,
        "value": MASK if config.is_secret else config.value,
        "is_secret": config.is_secret,
        "actors": config.actors,
    }


def show_login(login: RegistryLogin) -> LoginView:
    """Return a login for a registry, without its password."""
    return {
        "registry": login.host,
        "username": login.login,
        "password": MASK,
        "create_time": format_moment(login.create_time),
        "last_update_time": format_moment(login.last_update_time),
    }


def show_execution(actor: Actor, execution: Execution, links: Links) -> ExecutionView:
    """Return an execution (4.2), with its attempt and, where it runs as its executor, their ids."""
    return {**show_found_execution(actor, execution, links), "api_server": links.server}


def show_found_execution(actor: Actor, execution: Execution, links: Links) -> FoundExecutionView:
    """Return an execution that was searched for: as one alone, without the server (3.13)."""
    shown: FoundExecutionView = {
        "id": execution.id,
        "actor_id": actor.id,
        "executor": execution.executor,
        "worker_id": execution.worker_id,
        "status": execution.status,
        "message_received_time": format_moment(execution.message_received_time),
        "start_time": format_optional(execution.start_time),
        "finish_time": format_optional(execution.finish_time),
        "runtime": execution.runtime,
        "cpu": execution.cpu,
        "io": execution.io,
        "exit_code": _exit_code(execution),
        "final_state": _final_state(execution),
        "attempt": execution.attempt,
        "_links": {
            "self": links.execution(actor.id, execution.id),
            "owner": links.owner(execution.executor),
            "logs": links.logs(actor.id, execution.id),
        },
    }
    if execution.executor_uid is not None:
        shown["executor_uid"] = execution.executor_uid
        shown["executor_gid"] = execution.executor_gid
    return shown


def show_found_log(actor: Actor, log: Log, links: Links) -> FoundLogView:
    """Return a log that was searched for (3.13)."""
    return {
        "logs": log.text,
        "_links": {
            "self": links.logs(actor.id, log.execution_id),
            "owner": links.owner(actor.owner),
            "execution": links.execution(actor.id, log.execution_id),
        },
    }


def show_worker(worker: ActorWorker) -> WorkerView:
    """Return a worker (4.3). What Docker was to Abaco's, node and array task are to ours."""
    task, row = worker.task, worker.task.worker
    has_started = row is not None and task.array.array_job_id is not None
    return {
        "id": task.id,
        "tenant": task.array.tenant,
        "status": task.status,
        "image": worker.image,
        "ch_name": f"worker_{task.id}",
        "location": (row.host or task.array.cluster) if row else None,
        "cid": f"{task.array.array_job_id}_{task.slurm_task}" if has_started else None,
        "host_id": row.host if row else None,
        "host_ip": "",
        "create_time": format_moment(row.create_time if row else task.array.planned_at),
        "last_execution_time": format_optional(row.last_execution_time if row else None) or "None",
        "last_health_check_time": format_optional(row.last_health_check_time if row else None)
        or "None",
    }


def show_found_worker(actor: Actor, worker: ActorWorker) -> FoundWorkerView:
    """Return a worker that was searched for: with its actor, without the tenant (3.13)."""
    shown = show_worker(worker)
    return {
        "id": shown["id"],
        "actor_id": actor.id,
        "status": shown["status"],
        "image": shown["image"],
        "ch_name": shown["ch_name"],
        "location": shown["location"],
        "cid": shown["cid"],
        "host_id": shown["host_id"],
        "host_ip": shown["host_ip"],
        "create_time": shown["create_time"],
        "last_execution_time": shown["last_execution_time"],
        "last_health_check_time": shown["last_health_check_time"],
    }


def show_listed(row: ExecutionRow) -> ListedExecutionView:
    """Return an execution as the list has it (3.4): nulls stay, in both cases."""
    return {
        "id": row.id,
        "status": row.status,
        "start_time": format_optional(row.start_time),
        "finish_time": format_optional(row.finish_time),
        "message_received_time": format_moment(row.message_received_time),
    }


def show_summary(summary: Summary, links: Links) -> SummaryView:
    """Return the sums over an actor's executions (3.4), without the list itself."""
    actor = summary.actor
    return {
        "actor_id": actor.id,
        "api_server": links.server,
        "owner": actor.owner,
        "total_executions": summary.total_executions,
        "total_runtime": summary.total_runtime,
        "total_cpu": summary.total_cpu,
        "total_io": summary.total_io,
        "_links": {"self": links.executions(actor.id), "owner": links.owner(actor.owner)},
    }


def show_result(result: ListedResult) -> ResultView:
    """Return one result of a listing; its bytes in base64, as JSON has none."""
    return {
        "number": result.number,
        "size": len(result.payload),
        "taken": result.is_taken,
        "data": b64encode(result.payload).decode(),
    }


def show_result_list(found: ResultList, links: Links) -> ResultListView:
    """Return what a listing says of an execution's results, without the results themselves."""
    actor, execution_id = found.actor, found.execution_id
    return {
        "total_results": found.total,
        "next_skip": found.next_skip,
        "_links": {
            "self": links.results(actor.id, execution_id) + "/all",
            "owner": links.owner(actor.owner),
            "execution": links.execution(actor.id, execution_id),
        },
    }


def _exit_code(execution: Execution) -> int | str | None:
    if execution.exit_code is None and execution.status.is_final:
        return "undetermined"
    return execution.exit_code


def _final_state(execution: Execution) -> dict[str, Any] | None:
    """Return Docker's State object, or the word for not having one.

    Where the platform failed, the reason stands where Docker puts its own: in `Error`.
    """
    state = execution.final_state
    if state is None and execution.status.is_final:
        state = {"unavailable": True}
    if execution.status is ExecutionStatus.ERROR and execution.reason:
        return {**(state or {}), "Error": execution.reason}
    return state
