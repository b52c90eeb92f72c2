"""Which images a tenant's actors may use: what its policy says, asked again before every use.

A registry or namespace is compared part by part, never as the beginning of a text:
``docker.io/lab`` allows ``docker.io/lab/tool`` and not ``docker.io/laboratory/tool``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from bridge.core.batch import PROCESS
from bridge.core.images import ImageReference, SifPath, parse_image
from bridge.db import Actor, Image, RegistryLogin
from bridge.errors import ImageRefused
from bridge.node.dialogue import LABEL
from bridge.sites.images import ImagePolicy


def check_reference(policy: ImagePolicy, reference: ImageReference | SifPath) -> None:
    """Refuse a reference that the tenant's actors may not name.

    Raises:
        ImageRefused: says which rule, and what is allowed.
    """
    if isinstance(reference, SifPath):
        if not any(reference.path.is_relative_to(one) for one in policy.sif_directories):
            allowed = ", ".join(map(str, policy.sif_directories)) or "no directory"
            raise ImageRefused(
                f"The image {reference} is not allowed for your tenant: SIF files may be named "
                f"below {allowed}."
            )
        return
    parts = [reference.registry, *reference.repository.split("/")]
    if policy.registries and not any(
        parts[: len(allowed)] == allowed
        for allowed in (entry.lower().split("/") for entry in policy.registries)
    ):
        raise ImageRefused(
            f"The image {reference} is not allowed for your tenant: images may come from "
            f"{', '.join(policy.registries)}."
        )
    if policy.require_digest and reference.digest is None:
        raise ImageRefused(
            f"The image {reference} is not allowed for your tenant: it must be named by its "
            "digest, as in name@sha256:..."
        )


def check_found(
    policy: ImagePolicy, reference: object, names: Sequence[str], source_bytes: int
) -> None:
    """Refuse an image for what it turned out to be.

    Args:
        policy: the tenant's.
        reference: for what is said.
        names: every digest of it.
        source_bytes: its length where it comes from.

    Raises:
        ImageRefused: says which rule, and what is allowed.
    """
    if policy.digests and not set(policy.digests) & set(names):
        raise ImageRefused(
            f"The image {reference} is not allowed for your tenant: its digest {names[0]} is none "
            f"of the {len(policy.digests)} that are."
        )
    if source_bytes > policy.max_bytes:
        raise ImageRefused(
            f"The image {reference} is not allowed for your tenant: it has {source_bytes} bytes, "
            f"{policy.max_bytes} are allowed."
        )


def check_image(policy: ImagePolicy, image: Image) -> None:
    """Refuse an image that was allowed when it was pulled, and no longer is.

    Raises:
        ImageRefused: says which rule, and what is allowed.
    """
    check_reference(policy, parse_image(image.reference))
    names = image.names or [image.digest or "unknown"]
    check_found(policy, image.reference, names, image.source_bytes or 0)
    if policy.signed_only and not image.is_signed:
        raise ImageRefused(
            f"The image {image.reference} is not allowed for your tenant: it was not signed by a "
            "key of the tenant's keyring when it was pulled. Update the actor to have it looked at "
            "again."
        )
    if image.owner and not policy.user_logins:
        raise ImageRefused(
            f"The image {image.reference} was pulled with a user's own login, which the site no "
            "longer allows. Update the actor."
        )


NOT_FIT = (
    f"The image is not made for batch.reuse={PROCESS}: it has no label {LABEL}={PROCESS}. Ask for "
    "another reuse, or give the image the label and update the actor."
)


def check_fit(batch: Mapping[str, Any] | None, image: Image) -> None:
    """Refuse to run an image in a way that it is not made for.

    Raises:
        ImageRefused: says what is missing.
    """
    labels = (image.config or {}).get("Labels") or {}
    if (batch or {}).get("reuse") == PROCESS and labels.get(LABEL) != PROCESS:
        raise ImageRefused(NOT_FIT)


def fits() -> ColumnElement[bool]:
    """Return the same as a condition on an actor and its image."""
    asked = Actor.batch["reuse"].as_string()
    label = Image.config["Labels"][LABEL].as_string()
    return or_(func.coalesce(asked, "") != PROCESS, func.coalesce(label, "") == PROCESS)


def image_owner(
    session: Session,
    policy: ImagePolicy,
    tenant: str,
    owner: str,
    reference: ImageReference | SifPath,
) -> str:
    """Return whose login the image is pulled with: the owner's, or nobody's of the users.

    What is pulled with a user's own login is that user's alone.
    """
    if isinstance(reference, SifPath) or not policy.user_logins:
        return ""
    query = select(RegistryLogin.username).where(
        RegistryLogin.tenant == tenant,
        RegistryLogin.username == owner,
        RegistryLogin.host == reference.registry,
    )
    return session.scalars(query).one_or_none() or ""
