"""Directories of the cluster that a tenant's containers see."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bridge.sites.kinds import check_path_template
from bridge.sites.table import Table

TEMPLATES = ("username", "login", "uid", "gid", "home", "tenant")


class Mount(Table):
    """One directory of the cluster that the tenant's containers see."""

    host_path: str = Field(
        description="Path on the compute nodes; {username}, {login}, {uid}, {gid}, {home} are the "
        "owner's, {tenant} the tenant's name."
    )
    container_path: str = Field(description="Absolute path in the container; the same templates.")
    mode: Literal["ro", "rw"] = Field("ro", description="Read-only or read-write.")
    if_missing: Literal["ignore", "skip", "refuse"] = Field(
        "ignore",
        description="Where the owner does not see the host path when the actor is registered: "
        "nothing is looked at, the actor goes without this mount, or it is refused.",
    )

    @field_validator("host_path", "container_path")
    @classmethod
    def _absolute_and_plain(cls, value: str) -> str:
        return check_path_template(value, *TEMPLATES, start="{home}")
