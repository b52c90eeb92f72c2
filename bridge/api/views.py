"""What the API shows of each thing, in snake_case: `bridge.core.case` spells it for the client.

Source: abaco_contract.md section 4 and appendix A.
"""

from __future__ import annotations

from typing import Any

from bridge.api.paths import Links
from bridge.core.cron import format_hour
from bridge.core.statuses import ExecutionStatus
from bridge.core.times import format_moment, format_optional
from bridge.db import Actor, Execution
from bridge.services.executions import ExecutionRow, Summary


def show_actor(actor: Actor, links: Links) -> dict[str, Any]:
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


def show_execution(actor: Actor, execution: Execution, links: Links) -> dict[str, Any]:
    """Return an execution (4.2)."""
    return {
        "id": execution.id,
        "actor_id": actor.id,
        "api_server": links.server,
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
        "_links": {
            "self": links.execution(actor.id, execution.id),
            "owner": links.owner(execution.executor),
            "logs": links.logs(actor.id, execution.id),
        },
    }


def show_listed(row: ExecutionRow) -> dict[str, Any]:
    """Return an execution as the list has it (3.4): nulls stay, in both cases."""
    return {
        "id": row.id,
        "status": row.status,
        "start_time": format_optional(row.start_time),
        "finish_time": format_optional(row.finish_time),
        "message_received_time": format_moment(row.message_received_time),
    }


def show_summary(summary: Summary, links: Links) -> dict[str, Any]:
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
