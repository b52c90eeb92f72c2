"""Whether a site allows what an actor asks of Slurm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import InvalidField
from bridge.sites import Site, Tenant
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


@dataclass(frozen=True)
class BatchRules:
    """A policy, and whose it is: ``Tenant X`` or ``Cluster Y``."""

    policy: BatchPolicy
    whose: str


def rules_of(site: Site, tenant: str, cluster: str) -> BatchRules:
    """Return what holds for the tenant's actors on the cluster: its own table in place of that's.

    The tenant's counts as a whole; what it leaves out has the defaults, not the cluster's values.
    """
    own = site.tenants[tenant].batch
    if own is not None:
        return BatchRules(own, f"Tenant {tenant}")
    return BatchRules(site.clusters[cluster].batch, f"Cluster {cluster}")


def cluster_of(tenant: Tenant, batch: Mapping[str, Any] | None) -> str:
    """Return the name of the cluster that an actor with this `batch` runs on.

    Raises:
        InvalidField: it is none of the tenant's.
    """
    asked = (batch or {}).get("cluster") or tenant.cluster
    known = (tenant.cluster, *tenant.other_clusters)
    if asked not in known:
        text = f"cluster: asked for {asked!r}, allowed: {', '.join(known)}."
        raise InvalidField(f"Invalid actor description: { ({'batch': text})!r}")
    return str(asked)


def check_batch(batch: dict[str, Any], rules: BatchRules) -> None:
    """Refuse what `rules` do not allow.

    Raises:
        InvalidField: lists every key that asks for too much, what is allowed, and whom to ask.
    """
    policy = rules.policy
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
        text = (
            f"{rules.whose} does not allow this. {'; '.join(refusals)}. Ask for less, or the "
            "site's administrators to allow it."
        )
        raise InvalidField(f"Invalid actor description: { ({'batch': text})!r}")
