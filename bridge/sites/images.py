"""Which images a tenant's actors may use, and where they may come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from bridge.sites.kinds import AbsolutePath, Digest, Namespace, PublicFolder, Registry, SecretFile
from bridge.sites.mistakes import Mistake, check
from bridge.sites.table import Table

if TYPE_CHECKING:
    from bridge.sites.model import Site


class RegistryLogin(Table):
    """What one registry is told; the password is in a file."""

    username: str = Field(min_length=1, description="The user's name at the registry.")
    password_file: SecretFile = Field(
        description="File with the password or token, readable by the service user alone."
    )


class ImagePolicy(Table):
    """What a tenant's actors may run; by default anything that can be read without a login."""

    registries: tuple[Namespace, ...] = Field(
        (),
        description="Registries and namespaces that images may come from, as in "
        "`docker.io/biocontainers` or `registry.example.org:5000`; empty: any.",
    )
    digests: tuple[Digest, ...] = Field(
        (), description="Digests (sha256:...) of manifests, indexes and SIF files that may be run; "
        "empty: any."
    )  # fmt: skip
    require_digest: bool = Field(
        False, description="Whether a reference to a registry must name the image by its digest."
    )
    sif_directories: tuple[AbsolutePath, ...] = Field(
        (), description="Directories of the cluster whose SIF files may be named by their path, "
        "if everybody on the cluster may read them."
    )  # fmt: skip
    signed_only: bool = Field(
        False, description="Whether only SIF files that `apptainer verify` believes are run."
    )
    keyring: PublicFolder | None = Field(
        None, description="Directory with the public keys that signatures are checked with, in a "
        "file `pgp-public` as `apptainer key` keeps one; required by `signed_only`."
    )  # fmt: skip
    max_bytes: int = Field(
        20_000_000_000, gt=0, description="Largest image, all layers together as they are sent, or "
        "the SIF file, bytes."
    )  # fmt: skip
    max_unpacked_bytes: int = Field(100_000_000_000, gt=0, description="The same, unpacked, bytes.")
    logins: dict[Registry, RegistryLogin] = Field(
        {}, description="What registries (host[:port]) are told for this tenant's images."
    )
    user_logins: bool = Field(
        True, description="Whether users may leave logins of their own for registries."
    )

    @check("signed_only", "keyring")
    def _check_keyring(self, _site: Site) -> Iterator[Mistake]:
        if self.signed_only and self.keyring is None:
            text = "missing, expected the directory of public keys, as signed_only is true"
            yield Mistake(("keyring",), text)
        if not self.signed_only and self.keyring is not None:
            yield Mistake(("keyring",), "has no effect, as signed_only is false", is_warning=True)
