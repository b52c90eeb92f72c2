"""How an actor's messages run as one user at this moment: what a plan and a spool are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.core.batch import KEYS
from bridge.db import Actor, Array, Image
from bridge.launcher import build_array_json, build_request
from bridge.launcher.spool import build_fingerprint, build_shape, patience_s
from bridge.scheduler.context import ClusterContext
from bridge.services.accounts import Account
from bridge.services.batch import check_batch, rules_of
from bridge.services.images import check_fit, check_image
from bridge.services.logins import Person
from bridge.services.mounts import mounts_of


@dataclass(frozen=True)
class Recipe:
    """What an array for these messages asks for.

    Attributes:
        request: of Slurm, see `bridge.launcher.request`.
        fingerprint: the same for two arrays when a message may go to either.
        patience_s: how long an idle worker waits for more; 0: none does.
    """

    request: dict[str, Any]
    fingerprint: str
    patience_s: float


def read_recipe(
    context: ClusterContext, actor: Actor, image: Image, username: str, account: Account
) -> Recipe:
    """Return the recipe of the actor's messages that run as `username`, under `account`.

    Raises:
        InvalidField: the site no longer allows what the actor asks for.
        ImageRefused: nor its image, or that is not made for how the actor would run it.
    """
    check_image(context.site.tenants[actor.tenant].images, image)
    check_fit(actor.batch, image)
    if actor.batch is not None:
        # The release that wrote the row may not have known them all.
        batch = {key: actor.batch.get(key) for key in KEYS}
        check_batch(batch, rules_of(context.site, actor.tenant, context.name))
    request = build_request(context.site, context.cluster, actor)
    array = Array(
        sif_path=image.sif_path,
        sif_bytes=image.sif_bytes,
        sif_sha256=image.sif_sha256,
        request=request,
        username=username,
        login=account.login,
    )
    mounts = user_mounts(context, actor, username, account)
    limits = context.site.limits
    shape = build_shape(array, actor, image, context.cluster, limits, mounts)
    waits_s = patience_s(context.cluster, actor.hints)
    return Recipe(request, build_fingerprint(shape, array, actor), waits_s)


def build_array(
    context: ClusterContext, array: Array, actor: Actor, image: Image, account: Account
) -> bytes:
    """Return the array.json of `array`, which runs under `account`.

    Raises:
        ImageRefused: the site no longer allows its image.
    """
    check_image(context.site.tenants[actor.tenant].images, image)
    mounts = user_mounts(context, actor, array.username, account)
    return build_array_json(array, actor, image, context.cluster, context.site.limits, mounts)


def user_mounts(
    context: ClusterContext, actor: Actor, username: str, account: Account
) -> Sequence[dict[str, str]]:
    """Return the actor's mounts as this user has them: an executor sees directories of its own.

    Raises:
        InvalidField: the executor has none that must be there.
        ConnectFailed: whether it is there is not known yet.
    """
    if username == actor.owner:
        return actor.mounts
    person = Person(context.name, actor.tenant, username)
    return mounts_of(context.site, person, account, account.paths)
