"""Whether a cluster allows what an actor asks of Slurm."""

from __future__ import annotations

from typing import Any

from bridge.errors import InvalidField
from bridge.sites.model import BatchPolicy

# Key of the object, what bounds it in the site file.
_MOST = (
    ("time_limit", "max_time_limit_s"),
    ("cpus", "max_cpus"),
    ("memory", "max_memory_mib"),
    ("gpus", "max_gpus"),
    ("nodes", "max_nodes"),
    ("ntasks", "max_ntasks"),
    ("retries", "max_retries"),
)
_ONE_OF = (
    ("partition", "partitions"),
    ("account", "accounts"),
    ("qos", "qos"),
    ("constraint", "constraints"),
    ("reuse", "reuse"),
)


def check_batch(batch: dict[str, Any], policy: BatchPolicy, cluster: str) -> None:
    """Refuse what `policy` does not allow.

    Raises:
        InvalidField: lists every key that asks for too much, and what is allowed.
    """
    refusals = []
    for key, bound in _MOST:
        most = getattr(policy, bound)
        if batch[key] is not None and batch[key] > most:
            refusals.append(f"{key}: asked for {batch[key]}, at most {most} is allowed")
    for key, bound in _ONE_OF:
        allowed = getattr(policy, bound)
        if batch[key] is not None and batch[key] not in allowed:
            words = ", ".join(allowed) or "none"
            refusals.append(f"{key}: asked for {batch[key]!r}, allowed: {words}")
    if refusals:
        text = f"Cluster {cluster} does not allow this. {'; '.join(refusals)}."
        raise InvalidField(f"Invalid actor description: { ({'batch': text})!r}")
