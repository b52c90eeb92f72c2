"""Which images a tenant's actors may use, and where they may come from."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bridge.sites.table import Table


class RegistryLogin(Table):
    """What one registry is told; the password is in a file."""

    username: str = Field(min_length=1, description="The user's name at the registry.")
    password_file: Path = Field(
        description="File with the password or token, readable by the service user alone."
    )


class ImagePolicy(Table):
    """What a tenant's actors may run; by default anything that can be read without a login."""

    registries: tuple[str, ...] = Field(
        (),
        description="Registries and namespaces that images may come from, as in "
        "`docker.io/biocontainers` or `registry.example.org:5000`; empty: any.",
    )
    digests: tuple[str, ...] = Field(
        (), description="Digests (sha256:...) that may be run; empty: any."
    )
    require_digest: bool = Field(
        False, description="Whether a reference must name the image by its digest."
    )
    sif_directories: tuple[Path, ...] = Field(
        (), description="Directories of the cluster whose SIF files may be named by their path."
    )
    signed_only: bool = Field(
        False, description="Whether only SIF files that `apptainer verify` believes are run."
    )
    keyring: Path | None = Field(
        None, description="Directory with the public keys that signatures are checked with; "
        "required by `signed_only`."
    )  # fmt: skip
    max_bytes: int = Field(
        20_000_000_000, gt=0, description="Largest image, all layers together, bytes."
    )
    logins: dict[str, RegistryLogin] = Field(
        {}, description="What registries (host[:port]) are told for this tenant's images."
    )
    user_logins: bool = Field(
        True, description="Whether users may leave logins of their own for registries."
    )
