"""The directories that an actor's containers see (abaco_contract.md 5.4)."""

from __future__ import annotations

from bridge.errors import InvalidField
from bridge.sites import Tenant


def mounts_of(tenant: Tenant, tenant_name: str, username: str) -> list[dict[str, str]]:
    """Return the mounts of an actor that `username` owns, in the form the API shows them.

    Raises:
        InvalidField: the name would lead a path elsewhere.
    """
    return [
        {
            "host_path": _fill(mount.host_path, tenant_name, username),
            "container_path": _fill(mount.container_path, tenant_name, username),
            "mode": mount.mode,
        }
        for mount in tenant.mounts
    ]


def _fill(template: str, tenant_name: str, username: str) -> str:
    """Return `template` with the owner's names in it, each one part of the path and no more."""
    for value in (username, tenant_name):
        if value in ("", ".", "..") or any(mark in value for mark in "/:,\\\n\0{}"):
            raise InvalidField(f"The name {value[:64]!r} cannot be part of a mount's path.")
    return template.replace("{username}", username).replace("{tenant}", tenant_name)
