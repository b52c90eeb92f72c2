"""Getting one image: from its registry, from a directory of the cluster, or from what is there.

What is pulled with a user's own login is that user's alone: made in a folder that only the service
user can enter, then handed to the owner's own session, which writes it below the owner's spool.
Nobody else's account can read it there. Everything else lies in the cluster's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.containers import (
    Access,
    Login,
    SifCache,
    Stored,
    open_local,
    read_sif,
    resolve,
    verify_sif,
)
from bridge.containers.cache import PIECE_BYTES, hash_file
from bridge.core.ids import new_token
from bridge.core.images import ImageReference, SifPath, parse_image
from bridge.core.statuses import ArrayStatus
from bridge.db import Array, Image, RegistryLogin
from bridge.errors import ConnectFailed, ImageRefused
from bridge.net import AddressRules
from bridge.scheduler.context import ClusterContext
from bridge.services.accounts import ask_again, read_account
from bridge.services.images import check_found, check_reference
from bridge.services.logins import Person
from bridge.sessions import UserSession
from bridge.sites import read_secret
from bridge.sites.images import ImagePolicy

PRIVATE_FOLDER = "images"


@dataclass(frozen=True)
class Found:
    """An image that is there.

    Attributes:
        digest: of its manifest; of the file, where it is a SIF of the cluster's own.
        names: every digest by which the policy may know it.
        source_bytes: its length where it comes from.
        is_signed: whether a key of the tenant's keyring vouches for it.
        config: see `bridge.db.Image`.
        stored: the file.
        twin: the row whose file it is too.
    """

    digest: str
    names: tuple[str, ...]
    source_bytes: int
    is_signed: bool
    config: dict[str, Any]
    stored: Stored
    twin: int | None = None


def obtain(context: ClusterContext, image: Image) -> Found:
    """Return the image, brought to where its actors' workers find it.

    Raises:
        ContainerError: it cannot be had, or may not be; says why.
        SessionError: the owner, whose alone it is, cannot be reached.
        InvalidField: the reference is none.
    """
    policy = context.site.tenants[image.tenant].images
    reference = parse_image(image.reference)
    check_reference(policy, reference)
    if isinstance(reference, SifPath):
        return _obtain_local(context, image, reference, policy)
    return _obtain_remote(context, image, reference, policy)


def _obtain_remote(
    context: ClusterContext, image: Image, reference: ImageReference, policy: ImagePolicy
) -> Found:
    access = _access(context, image, reference, policy)
    resolved = resolve(reference, access)
    digest = resolved.reference.digest or ""
    names = (*resolved.names, *(layer.digest for layer in resolved.layers if resolved.is_sif))
    check_found(policy, reference, names, resolved.size_bytes)
    if policy.signed_only and not resolved.is_sif:
        raise ImageRefused(
            f"The image {reference} is not allowed for your tenant: only signed SIF files are, and "
            "it is none. Push one with `apptainer push FILE oras://...`, or name one by its path."
        )
    twin = _find_twin(context, image, digest, policy)
    # What an earlier release read of a SIF has no labels: it is read again.
    if twin is not None and (resolved.config or "Labels" in (twin.config or {})):
        return _of_twin(twin, resolved.config)
    cache = SifCache(context.cluster.image_cache)
    with cache.work(str(reference)) as work:
        part = cache.fetch(resolved, access, work)
        config = _look_at(part, policy) if resolved.config is None else resolved.config
        stored = _keep(context, image, cache, part)
    return Found(digest, names, resolved.size_bytes, policy.signed_only, config, stored)


def _obtain_local(
    context: ClusterContext, image: Image, reference: SifPath, policy: ImagePolicy
) -> Found:
    cache = SifCache(context.cluster.image_cache)
    with cache.work(str(reference)) as work:
        with open_local(reference.path, policy.sif_directories) as file:
            part = cache.copy(file, policy.max_bytes, work)
        sha256, size = hash_file(part)
        digest = f"sha256:{sha256}"
        check_found(policy, reference, (digest,), size)
        twin = _find_twin(context, image, digest, policy)
        if twin is not None:
            return _of_twin(twin, read_sif(part).config)
        config = _look_at(part, policy)
        stored = _keep(context, image, cache, part)
    return Found(digest, (digest,), size, policy.signed_only, config, stored)


def _look_at(part: Path, policy: ImagePolicy) -> dict[str, Any]:
    """Return how a SIF that was made elsewhere is run, once it may be."""
    config = read_sif(part).config
    if policy.signed_only:
        assert policy.keyring is not None  # the site file is checked for it
        verify_sif(part, policy.keyring)
    return config


def _keep(context: ClusterContext, image: Image, cache: SifCache, part: Path) -> Stored:
    if not image.owner:
        return cache.keep(image.tenant, part)
    login = login_of(context, image)
    # Not the session that everything else of the owner's goes through: this may take minutes.
    owner = context.submitters.session(login)
    # Several users may share an account; a name of theirs may have anything in it.
    person = hashlib.sha256(f"{image.tenant}/{image.owner}".encode()).hexdigest()[:16]
    folder = f"{context.spool_root(login)}/{PRIVATE_FOLDER}/{person}"
    sha256, size = hash_file(part)
    path = f"{folder}/{sha256[:16]}-{new_token()}.sif"
    owner.mkdir(folder)
    _remove_former(context, owner, folder)
    owner.put_stream(path, _pieces(part))
    return Stored(path, size, sha256)


def _remove_former(context: ClusterContext, owner: UserSession, folder: str) -> None:
    """Remove from the owner's folder what no image and no array has any more."""
    live = Array.status != ArrayStatus.ENDED
    with context.database.read() as session:
        known = set(session.scalars(select(Image.sif_path).where(Image.owner != "")))
        known.update(session.scalars(select(Array.sif_path).where(live)))
    for entry in owner.list(folder):
        if entry.name.endswith(".sif") and f"{folder}/{entry.name}" not in known:
            owner.remove(f"{folder}/{entry.name}")


def login_of(context: ClusterContext, image: Image) -> str:
    """Return the account of the user whose alone the image is.

    Raises:
        UserUnknown: there is none.
        ConnectFailed: it is not known at this moment, and has been asked for.
    """
    person = Person(context.name, image.tenant, image.owner)
    with context.database.begin() as session:
        account = read_account(session, context.site, person)
        if account is None:
            ask_again(session, person, context.clock)
    if account is None:
        raise ConnectFailed(f"The account of {image.owner} is being looked up; wait a little.")
    return account.login


def _pieces(part: Path) -> Iterator[bytes]:
    with part.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _find_twin(
    context: ClusterContext, image: Image, digest: str, policy: ImagePolicy
) -> Image | None:
    """Return a row that has the same image, for the same people, with its file."""
    query = select(Image).where(
        Image.cluster == image.cluster,
        Image.tenant == image.tenant,
        Image.owner == image.owner,
        Image.digest == digest,
        Image.sif_path.is_not(None),
        Image.sif_sha256.is_not(None),
    )
    if policy.signed_only:
        query = query.where(Image.is_signed)
    with context.database.read() as session:
        twins = session.scalars(query.order_by(Image.id)).all()
    cache = SifCache(context.cluster.image_cache)
    for twin in twins:
        if twin.owner or cache.holds(str(twin.sif_path), twin.sif_bytes):
            return twin
    return None


def _of_twin(twin: Image, config: dict[str, Any] | None) -> Found:
    """Return what a row has; its own `config` may have been read by an earlier release."""
    assert twin.sif_path
    assert twin.sif_sha256
    assert twin.sif_bytes is not None
    assert twin.digest
    return Found(
        twin.digest,
        tuple(twin.names or ()),
        twin.source_bytes or 0,
        twin.is_signed,
        config or twin.config or {},
        Stored(twin.sif_path, twin.sif_bytes, twin.sif_sha256),
        twin.id,
    )


def _access(
    context: ClusterContext, image: Image, reference: ImageReference, policy: ImagePolicy
) -> Access:
    return Access(
        rules=AddressRules(context.site.registry_networks),
        insecure=frozenset(name.lower() for name in context.cluster.insecure_registries),
        login=_find_login(context, image, reference, policy),
        max_bytes=policy.max_bytes,
        max_unpacked_bytes=policy.max_unpacked_bytes,
    )


def _find_login(
    context: ClusterContext, image: Image, reference: ImageReference, policy: ImagePolicy
) -> Login | None:
    if image.owner:
        with context.database.read() as session:
            return _read_own(session, context, image, reference, policy)
    for host, login in policy.logins.items():
        if host.lower() == reference.registry:
            key = f"tenants.{image.tenant}.images.logins.{host}.password_file"
            secret = read_secret(login.password_file, key, min_bytes=1)
            return Login(login.username, secret.decode())
    return None


def _read_own(
    session: Session,
    context: ClusterContext,
    image: Image,
    reference: ImageReference,
    policy: ImagePolicy,
) -> Login:
    row = session.get(RegistryLogin, (image.tenant, image.owner, reference.registry))
    if row is None or context.box is None or not policy.user_logins:
        raise ImageRefused(
            f"The image {reference} was asked for with a login of {image.owner}'s for "
            f"{reference.registry}, which is no longer there. Leave one, or update the actor."
        )
    return Login(row.login, context.box.decrypt(row.password))
