"""The site file as models: every key has its meaning, its unit and its default here.

One reading reports every mistake, of pydantic's and of the checks beside the models
(bridge.sites.mistakes). One module a table; this one has the file itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from bridge.sites.cluster import BatchPolicy, Cluster
from bridge.sites.kinds import HttpUrl, MaybeSlurmWord, Name, SecretFile
from bridge.sites.limits import Limits
from bridge.sites.mistakes import Mistake, check, show_value
from bridge.sites.mounts import Mount
from bridge.sites.table import Table
from bridge.sites.tenant import Tenant

__all__ = ["BatchPolicy", "Cluster", "Limits", "Mount", "Site", "Tenant"]


class Site(Table):
    """The whole file."""

    name: Name = Field(description="The site's name, shown in logs.")
    public_url: HttpUrl = Field(description="Base URL under which clients reach the bridge.")
    container_url: HttpUrl | None = Field(
        None, description="Base URL under which containers reach the bridge, where compute nodes "
        "cannot use the public one."
    )  # fmt: skip
    case: Literal["camel", "snake"] = Field(
        "snake", description="Case of the JSON keys under the bare prefix /actors."
    )
    queues: dict[str, MaybeSlurmWord] = Field(
        {"default": "", "special": ""},
        min_length=1,
        description="Abaco queues that an actor may name, each with its partition; an empty one "
        "stands for the tenant's or the cluster's.",
    )
    accept_nonce: bool = Field(
        True, description="Whether a nonce (query parameter x-nonce) stands for a token."
    )
    encryption_key_file: SecretFile | None = Field(
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
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks of the site's own reverse proxies: what these say in "
        "X-Forwarded-For and X-Request-Id is believed."
    )  # fmt: skip
    audit_lifetime_s: int = Field(
        31_536_000, gt=0, description="Lifetime of an audit record, seconds."
    )
    metrics_token_file: SecretFile | None = Field(
        None,
        description="File with the bearer token, at least 16 bytes, that may read /metrics; none: "
        "only admins may.",
    )
    clusters: dict[Name, Cluster] = Field(min_length=1)
    tenants: dict[Name, Tenant] = Field(min_length=1)
    limits: Limits = Limits()

    @check("clusters", "tenants")
    def _check_names(self, _site: Site) -> Iterator[Mistake]:
        for kind, names in (("tenants", list(self.tenants)), ("clusters", list(self.clusters))):
            first: dict[str, str] = {}
            for name in names:
                other = first.setdefault(name.upper(), name)
                if other != name:
                    text = f"differs from {kind}.{other} in case alone, expected another name"
                    yield Mistake((kind, name), text)
        used = {getattr(tenant, "cluster", None) for tenant in self.tenants.values()}
        for tenant in self.tenants.values():
            used.update(getattr(tenant, "other_clusters", ()))
        for name in self.clusters:
            if name not in used and None not in used:
                yield Mistake(("clusters", name), "no tenant uses it", is_warning=True)

    @check("trusted_proxies")
    def _check_proxies(self, _site: Site) -> Iterator[Mistake]:
        for number, one in enumerate(self.trusted_proxies):
            if one.prefixlen == 0:
                text = f'found "{one}", expected your own proxies: anybody could say anything'
                yield Mistake(("trusted_proxies", number), text)

    @check("webhook_networks", "registry_networks")
    def _check_networks(self, _site: Site) -> Iterator[Mistake]:
        for key in ("webhook_networks", "registry_networks"):
            for number, one in enumerate(getattr(self, key)):
                if one.prefixlen == 0:
                    text = f'"{one}" opens every network, the hosts\' own services too'
                    yield Mistake((key, number), text, is_warning=True)

    @check("public_url")
    def _check_url(self, _site: Site) -> Iterator[Mistake]:
        host = urlsplit(self.public_url).hostname or ""
        is_here = host in ("localhost", "::1") or host.startswith("127.")
        if self.public_url.startswith("http:") and not is_here:
            text = f"found {show_value(self.public_url)}: tokens and messages travel unencrypted"
            yield Mistake(("public_url",), text, is_warning=True)

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
