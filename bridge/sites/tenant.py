"""A tenant: who its users are, what they may use."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bridge.sites.cluster import BatchPolicy
from bridge.sites.identity import Claims, TableAccount
from bridge.sites.images import ImagePolicy
from bridge.sites.limits import TenantLimits
from bridge.sites.mounts import Mount
from bridge.sites.table import Table


class Tenant(Table):
    """One Abaco tenant: who its users are and what they may use."""

    cluster: str = Field(description="Name of the cluster that runs this tenant's actors.")
    other_clusters: tuple[str, ...] = Field(
        (), description="Clusters that an actor's `batch.cluster` may name besides."
    )
    public_keys: tuple[Path, ...] = Field(
        (), description="PEM files whose keys may sign this tenant's tokens."
    )
    jwks_file: Path | None = Field(
        None, description="JSON Web Key Set with such keys; read again when it changes."
    )
    jwks_url: str | None = Field(
        None, description="https URL of such a set; fetched again when a token names a key that is "
        "not in it."
    )  # fmt: skip
    jwks_lifetime_s: int = Field(
        3600, gt=0, description="How long a fetched set counts, seconds; while it cannot be "
        "fetched again the old one does."
    )  # fmt: skip
    algorithms: tuple[Literal["RS256", "ES256"], ...] = Field(
        ("RS256", "ES256"), min_length=1, description="Signatures that count."
    )
    issuer: str | None = Field(None, description="What `iss` must be; none: not looked at.")
    audience: str | None = Field(None, description="What `aud` must hold; none: not looked at.")
    clock_skew_s: int = Field(
        0, ge=0, le=600, description="By how much `exp` and `nbf` may be off, seconds."
    )
    claims: Claims = Claims()
    accounts: Literal["getent", "table", "claims"] = Field(
        "getent", description="Where a user's account comes from: the cluster's own user database "
        "(the account has the user's name), `account_table`, or the claims of the token. Whatever "
        "it is, the account that the cluster has counts, and must agree."
    )  # fmt: skip
    account_table: dict[str, TableAccount] = Field(
        {}, description='Accounts by username (`accounts = "table"`).'
    )
    private_key: Path | None = Field(
        None, description="PEM file that `bridge token create` signs with; only for sites without "
        "an issuer of their own."
    )  # fmt: skip
    user_role: str = Field("Internal/everyone", description="Role that plain use needs.")
    admin_role: str = Field("Internal/abaco-admin", description="Role with every right.")
    privileged_role: str = Field(
        "Internal/abaco-privileged", description="Role that may set restricted actor fields."
    )
    partition: str | None = Field(None, description="Overrides the cluster's partition.")
    account: str | None = Field(None, description="Overrides the cluster's Slurm account.")
    qos: str | None = Field(None, description="Overrides the cluster's QOS.")
    mounts: tuple[Mount, ...] = Field((), description="Directories that containers see.")
    run_as_executor: bool = Field(
        False, description="Whether actors may run as the user who sent the message."
    )
    default_token: bool = Field(False, description="Abaco's `token` field where none is given.")
    webhook_key_file: Path | None = Field(
        None,
        description="File with the secret that this tenant's webhook requests are signed with, at "
        "least 16 bytes; none: they carry no signature.",
    )
    batch: BatchPolicy | None = Field(
        None, description="What this tenant's actors may ask of the cluster; none: as the "
        "cluster's table says."
    )  # fmt: skip
    images: ImagePolicy = ImagePolicy()
    limits: TenantLimits = TenantLimits()
