"""What the bridge writes into an array's spool: see bridge.node for the form."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bridge.core.actors import SYNC_HINT
from bridge.core.messages import BINARY, CRON_NAME
from bridge.core.slots import array_layout
from bridge.db import Actor, Array, Execution, Image, Message
from bridge.node import PROTOCOL_VERSION
from bridge.sites import Cluster, Limits

# Up to here a log travels in the journal and a binary message in its line: small executions cost
# no file of their own.
INLINE_BYTES = 64 * 1024
FOLDERS = (
    "inbox", "staged", "claimed", "returned", "payload", "journal", "logs", "results", "cancel",
    "leave",
)  # fmt: skip
IDLE_MARGIN_S = 60.0
NO_STATE = object()  # null is a state too


def build_array_json(
    array: Array,
    actor: Actor,
    image: Image,
    cluster: Cluster,
    limits: Limits,
    mounts: Sequence[Mapping[str, str]],
) -> bytes:
    """Return array.json: what all messages of the array share, however long it lives.

    `mounts` are those of the user as whom it runs. What may change while it lives (the actor's
    state, configs, a token) comes with each chunk: see `build_shared`.
    """
    shape = build_shape(array, actor, image, cluster, limits, mounts)
    own = {
        "array": array.id,
        "idle_timeout_s": _idle_timeout_s(array, actor, cluster),
        "workers": array.task_count,
        "slots": array_layout(array.task_count, array.request).slots,
    }
    return json.dumps({**shape, **own}, indent=1).encode()


def build_shape(
    array: Array,
    actor: Actor,
    image: Image,
    cluster: Cluster,
    limits: Limits,
    mounts: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Return array.json without what is one array's own."""
    config = image.config or {}
    command = list(config.get("Entrypoint") or []) + list(config.get("Cmd") or [])
    request = array.request
    return {
        "version": PROTOCOL_VERSION,
        "actor": actor.id,
        "apptainer": cluster.apptainer,
        "sif": array.sif_path,
        "sif_bytes": array.sif_bytes,
        "sif_sha256": array.sif_sha256 if cluster.image_check == "digest" else None,
        "sif_uid": os.getuid(),  # the service user's, who writes the cache
        "command": command,
        "workdir": config.get("WorkingDir") or None,
        "binds": [[m["host_path"], m["container_path"], m["mode"]] for m in mounts],
        "environment": _environment(actor),
        "log_limit_bytes": limits.max_log_length,
        "inline_log_bytes": INLINE_BYTES,
        "max_run_time_s": cluster.max_run_time_s,
        "kill_grace_s": cluster.kill_grace_s,
        "time_limit_s": request["time_limit_s"],
        "memory_mib": request["message_memory_mib"],
        "max_result_bytes": limits.max_result_bytes,
        "ntasks": request["ntasks"],
        "gpus": request["gpus"] > 0,
        "reuse": (actor.batch or {}).get("reuse") or cluster.reuse,
    }


def build_fingerprint(shape: Mapping[str, Any], array: Array, actor: Actor) -> str:
    """Return what two arrays have in common when a message may go to either.

    The image's file is part of the shape. The revision stands for itself: an update that was
    forced brings new workers, although nothing differs.
    """
    who = [array.username, array.login]
    about = [shape, array.request, *who, actor.revision, actor.stateless]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def patience_s(cluster: Cluster, hints: Collection[str]) -> float:
    """Return how long one idle worker of an actor with these hints waits, seconds."""
    if SYNC_HINT in hints:
        return max(cluster.idle_timeout_s, cluster.sync_idle_timeout_s)
    return cluster.idle_timeout_s


def _idle_timeout_s(array: Array, actor: Actor, cluster: Cluster) -> float:
    """Return how long a worker waits if nobody tells it to leave.

    The scheduler does, after the site's own time; this is for one that is not there.
    """
    if array.is_standing:
        return cluster.standing_timeout_s + IDLE_MARGIN_S
    own_s = patience_s(cluster, actor.hints)
    return own_s + IDLE_MARGIN_S if own_s else 0


def _environment(actor: Actor) -> dict[str, str]:
    """Return the rows of abaco_contract.md 5.1 that are the same as long as the actor is."""
    return {
        **{name: str(value) for name, value in actor.default_environment.items()},
        "_abaco_actor_id": actor.id,
        "_abaco_actor_dbid": f"{actor.tenant}_{actor.id}",
        "_abaco_container_repo": actor.image,
        "_abaco_actor_name": str(actor.name),
    }


def needs_file(message: Message) -> bool:
    """Whether the payload lies in a file of its own, payload/<execution id>."""
    return message.content_type == BINARY and message.size > INLINE_BYTES


def build_shared(actor: Actor, configs: Mapping[str, str], access_token: str) -> str:
    """Return the first line of a chunk: what its messages share at this moment."""
    return json.dumps(
        {
            "shared": {
                "_abaco_access_token": access_token,
                "_abaco_actor_state": repr(actor.state),
                "_actor_configs": repr(dict(configs)),
            }
        }
    )


def build_message(
    message: Message, execution: Execution, api_server: str, state: Any = NO_STATE
) -> str:
    """Return a message's line of its chunk.

    `api_server` is the URL under which containers reach the bridge, for callbacks; `state` is a
    stateful actor's document.
    """
    line: dict[str, Any] = {
        "id": message.execution_id,
        "env": _message_environment(message, execution, api_server),
    }
    if state is not NO_STATE:
        line["state"] = json.dumps(state)
    if needs_file(message):
        line["file"] = True
    elif message.content_type == BINARY:
        line["data"] = base64.b64encode(message.payload).decode()
    else:
        line["msg"] = message.payload.decode()
    return json.dumps(line)


def _message_environment(message: Message, execution: Execution, api_server: str) -> dict[str, str]:
    """Return the rows of abaco_contract.md 5.1 that are a message's own.

    Abaco sets the content type under a name with underscores, agavepy and tapipy look for one with
    a hyphen (clients.md 1.5): both are set.
    """
    variables = {
        **message.environment,
        "_abaco_Content_Type": message.content_type,
        "_abaco_Content-Type": message.content_type,
        "_abaco_api_server": api_server.rstrip("/"),
        "_abaco_execution_id": execution.id,
        "_abaco_actor_revision": str(execution.actor_revision),
    }
    if execution.executor != CRON_NAME:
        variables["_abaco_username"] = execution.executor
    return variables


def chunk_name(number: int) -> str:
    """Return the name of a chunk in the inbox, counted from 1."""
    return f"{number:06}.jsonl"


def staged_name(number: int, ending: str) -> str:
    """Return the name of a chunk in staged/; `ending` is of the one attempt that wrote it."""
    return f"{number:06}.{ending}"


def chunk_number(name: str) -> int | None:
    """Return the number of a chunk by a name in inbox/, claimed/ or returned/, else None."""
    head = name.partition(".")[0]
    return int(head) if len(head) == 6 and head.isascii() and head.isdigit() else None


def chunk_owner(name: str) -> str:
    """Return the worker that a name in claimed/ speaks of (``000001.<worker>.jsonl``)."""
    return name.removesuffix(".jsonl").partition(".")[2]
