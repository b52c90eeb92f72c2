"""Directories of the cluster that a tenant's containers see."""

from __future__ import annotations

import posixpath
from typing import Literal

from pydantic import Field, field_validator

from bridge.sites.kinds import check_path_template
from bridge.sites.table import Table

# What a container has of its own: its programs, the kernel's and the runtime's directories, and
# Abaco's files of a message. Mounted over, they would be gone.
_TAKEN = ("bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr", ".singularity.d")
# Below these the site may have something; below the others, nothing is the site's to give.
_OPEN_BELOW = ("bin", "etc", "lib", "lib64", "sbin", "usr")
TEMPLATES = ("username", "login", "uid", "gid", "home", "tenant", "cluster")


class Mount(Table):
    """One directory of the cluster that the tenant's containers see."""

    host_path: str = Field(
        description="Path on the compute nodes; {username}, {login}, {uid}, {gid}, {home} are the "
        "owner's, {tenant} and {cluster} the names in this file. The owner's own process opens it: "
        "a link that the owner put there leads nowhere that the owner could not go."
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


def is_reserved(path: str) -> bool:
    """Whether a path in the container is one of the container's own."""
    parts = posixpath.normpath("/" + path.lstrip("/")).split("/")[1:]
    if not path or path.startswith("{"):
        return False
    if parts[0] == "" or parts[0].startswith("_abaco_"):
        return True
    return parts[0] in _TAKEN and (len(parts) == 1 or parts[0] not in _OPEN_BELOW)


def lies_below(path: str, other: str) -> bool:
    """Whether `path` is `other` or lies below it, both as the site file has them."""
    inner, outer = (posixpath.normpath("/" + one.lstrip("/")) for one in (path, other))
    return bool(path and other) and f"{inner}/".startswith(f"{outer.rstrip('/')}/")
