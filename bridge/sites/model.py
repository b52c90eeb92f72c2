"""The site file as models: every key has its meaning, its unit and its default here.

Pydantic checks the whole file at once, so that one reading reports every mistake. One module a
table; this one has the file itself.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from bridge.sites.cluster import BatchPolicy, Cluster
from bridge.sites.limits import Limits
from bridge.sites.mounts import Mount
from bridge.sites.table import Name, Table
from bridge.sites.tenant import Tenant

__all__ = ["BatchPolicy", "Cluster", "Limits", "Mount", "Site", "Tenant"]


class Site(Table):
    """The whole file."""

    name: Name = Field(description="The site's name, shown in logs.")
    public_url: str = Field(description="Base URL under which clients reach the bridge.")
    container_url: str | None = Field(
        None, description="Base URL under which containers reach the bridge, where compute nodes "
        "cannot use the public one."
    )  # fmt: skip
    case: Literal["camel", "snake"] = Field(
        "snake", description="Case of the JSON keys under the bare prefix /actors."
    )
    queues: dict[str, str] = Field(
        {"default": "", "special": ""},
        min_length=1,
        description="Abaco queues that an actor may name, each with its partition; an empty one "
        "stands for the tenant's or the cluster's.",
    )
    accept_nonce: bool = Field(
        True, description="Whether a nonce (query parameter x-nonce) stands for a token."
    )
    encryption_key_file: Path | None = Field(
        None,
        description="File with the Fernet keys of secret configs, one a line, the first encrypts; "
        "readable by the service user alone. None: there are no secret configs.",
    )
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that webhooks may lead to although they are not public."
    )
    webhook_refused_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that webhooks may not lead to although they are public."
    )
    registry_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that registries may be in although they are not public."
    )
    audit_lifetime_s: int = Field(
        31_536_000, gt=0, description="Lifetime of an audit record, seconds."
    )
    metrics_token_file: Path | None = Field(
        None,
        description="File with the bearer token, at least 16 bytes, that may read /metrics; none: "
        "only admins may.",
    )
    clusters: dict[Name, Cluster] = Field(min_length=1)
    tenants: dict[Name, Tenant] = Field(min_length=1)
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _check_references(self) -> Site:
        for name, tenant in self.tenants.items():
            if tenant.cluster not in self.clusters:
                known = ", ".join(sorted(self.clusters))
                raise ValueError(
                    f"tenants.{name}.cluster is {tenant.cluster!r}; known clusters: {known}"
                )
        folded = [name.upper() for name in self.tenants]
        if len(set(folded)) != len(folded):
            raise ValueError("two tenants have names that differ only in case")
        return self

    @property
    def callback_url(self) -> str:
        """What a container's ``_abaco_api_server`` is."""
        return self.container_url or self.public_url

    def tenant(self, name: str) -> tuple[str, Tenant] | None:
        """Return (name as configured, tenant) for `name` in any case, or None.

        Abaco's header carries the name in title case (abaco_contract.md 2.2), Tapis tokens in
        lower case.
        """
        for known, tenant in self.tenants.items():
            if known.upper() == name.upper():
                return known, tenant
        return None
