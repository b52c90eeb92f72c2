"""The tables of a site file, with their titles in the file and their models."""

from __future__ import annotations

from pydantic import BaseModel

from bridge.sites.cluster import WholeNode
from bridge.sites.identity import Claims, TableAccount
from bridge.sites.images import ImagePolicy, RegistryLogin
from bridge.sites.limits import TenantLimits
from bridge.sites.model import BatchPolicy, Cluster, Limits, Mount, Site, Tenant
from bridge.sites.ways import Slurmrestd, Ssh, Sudo

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file itself", Site),
    ("`[limits]`", Limits),
    ("`[clusters.NAME]`", Cluster),
    ("`[clusters.NAME.sudo]`", Sudo),
    ("`[clusters.NAME.ssh]`", Ssh),
    ("`[clusters.NAME.slurmrestd]`", Slurmrestd),
    ("`[clusters.NAME.whole_node]`", WholeNode),
    ("`[clusters.NAME.batch]` and `[tenants.NAME.batch]`", BatchPolicy),
    ("`[tenants.NAME]`", Tenant),
    ("`[tenants.NAME.claims]`", Claims),
    ("`[tenants.NAME.account_table.USERNAME]`", TableAccount),
    ("An entry of a tenant's `mounts`", Mount),
    ("`[tenants.NAME.images]`", ImagePolicy),
    ('`[tenants.NAME.images.logins."REGISTRY"]`', RegistryLogin),
    ("`[tenants.NAME.limits]`", TenantLimits),
)
