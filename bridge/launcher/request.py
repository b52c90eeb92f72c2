"""What a plan asks of Slurm for one actor, and the limits of each of its messages.

What the `batch` object names comes first, then Abaco's own fields (`queue`, `mem_limit`,
`max_cpus`), then the tenant's, then the cluster's settings. Abaco's fields only privileged users
may set, so they are not bounded; what `batch` asks for is checked against the site's policy
(bridge.services.batch) whenever a message goes to the cluster, since the site file may have
changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bridge.db import Actor
from bridge.errors import InvalidField
from bridge.sites import Cluster, Site
from bridge.sites.cluster import WholeNode

# A worker and the container's runtime take this much beside the message's own processes.
OVERHEAD_MIB = 64
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def build_request(site: Site, cluster: Cluster, actor: Actor) -> dict[str, Any]:
    """Return the resources of one worker and the place in Slurm, as JSON.

    The names are those of `ArrayContext`. Besides them:

    * `message_memory_mib`: the limit of one message's processes together, 0 for none
    * `slots`: workers that one array task may have (bridge.core.slots)
    * `node_cpus`: CPUs that an array task holds whatever it needs, since it has its node for
      itself; 0 where it does not

    Raises:
        InvalidField: the site no longer has the actor's queue.
    """
    if actor.queue not in site.queues:
        raise InvalidField(
            f"The site no longer has the queue {actor.queue!r} of this actor; its queues are "
            f"{', '.join(site.queues)}. Update the actor."
        )
    batch = {key: value for key, value in (actor.batch or {}).items() if value is not None}
    tenant = site.tenants[actor.tenant]
    memory, message_mib = _memory(batch.get("memory"), memory_mib(actor.mem_limit), cluster)
    cpus = batch.get("cpus") or cpu_count(actor.max_cpus) or cluster.cpus_per_task
    node = cluster.whole_node
    slots = _count_slots(node, batch, cpus, memory)
    if slots > 1 and not message_mib:  # Slurm bounds the workers of a task together alone
        message_mib = _without_overhead(memory)
    return {
        "time_limit_s": batch.get("time_limit", cluster.time_limit_s),
        "cpus": cpus,
        "memory_mib": memory,
        "message_memory_mib": message_mib,
        "partition": batch.get("partition")
        or site.queues[actor.queue]
        or tenant.partition
        or cluster.partition,
        "account": batch.get("account") or tenant.account or cluster.account,
        "qos": batch.get("qos") or tenant.qos or cluster.qos,
        "constraint": batch.get("constraint"),
        "gpus": batch.get("gpus", 0),
        "nodes": batch.get("nodes"),
        "ntasks": batch.get("ntasks", 1),
        "slots": slots,
        "node_cpus": node.cpus if node is not None and node.exclusive else 0,
    }


def _count_slots(node: WholeNode | None, batch: Mapping[str, Any], cpus: int, memory: int) -> int:
    """Return how many workers fit on a node; messages of several tasks have array tasks alone."""
    if node is None or batch.get("ntasks", 1) > 1 or batch.get("nodes", 1) > 1:
        return 1
    fitting = [node.cpus // cpus, node.memory_mib // memory]
    if gpus := batch.get("gpus", 0):
        fitting.append(node.gpus // gpus)
    return max(1, min(fitting))


def _memory(worker: int | None, message: int | None, cluster: Cluster) -> tuple[int, int]:
    """Return the memory of a worker and of a message, MiB, from what is asked for either."""
    if worker is None:
        return (cluster.memory_mib, 0) if message is None else (message + OVERHEAD_MIB, message)
    return worker, message or _without_overhead(worker)


def _without_overhead(worker: int) -> int:
    return max(worker - OVERHEAD_MIB, worker // 2, 1)


def memory_mib(limit: str | None) -> int | None:
    """Return Abaco's `mem_limit` in whole MiB, rounded up; None where there is no limit.

    Source: abaco_contract.md 3.1; docker-run(1), option ``--memory``: a number, and b, k, m or g.
    """
    if not limit:
        return None
    number, unit = (limit[:-1], limit[-1].lower()) if limit[-1].isalpha() else (limit, "b")
    return math.ceil(int(number) * _UNITS[unit] / (1 << 20)) if int(number) > 0 else None


def cpu_count(max_cpus: int | None) -> int | None:
    """Return Abaco's `max_cpus` (nanoCPUs) in whole CPUs, rounded up; None for no limit."""
    if max_cpus is None or max_cpus <= 0:
        return None
    return math.ceil(max_cpus / 1e9)
