"""Several images at a time, so that a slow registry holds up nobody but who chose it.

A registry is anybody's, and may send an image for half an hour. So of the images that are brought
at the same time one at most was asked for by the same user, and one at most is of the same
repository of a tenant: two tags of it may be one image, which is then brought once.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from sqlalchemy import select

from bridge.core.images import SifPath, parse_image
from bridge.db import Actor, Image
from bridge.errors import InvalidField
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.images import bring_image, find_wanted, tell_actors

log = logging.getLogger(__name__)

AT_ONCE = 4


@dataclass(frozen=True)
class _Claim:
    """What nobody else may bring meanwhile: this image, another for this user, of this place."""

    image: tuple[str, int]
    asker: tuple[str, str]
    place: tuple[str, str, str, str]


class Pulls:
    """The images that are being brought at this moment.

    In threads that end with the process: nobody waits for a registry in order to stop. What such a
    pull has left is a stray (bridge.scheduler.evict), and the image is asked for anew.
    """

    def __init__(self) -> None:
        self._claims: set[_Claim] = set()
        self._lock = threading.Lock()

    def tick(self, context: ClusterContext) -> int:
        """Begin to bring what may be begun now; return how many images."""
        begun = 0
        for image in find_wanted(context):
            claim = self._claim(context, image)
            if claim is None:
                continue
            thread = threading.Thread(
                target=self._bring, args=(context, image, claim), name="pull", daemon=True
            )
            thread.start()
            begun += 1
        if not begun:
            tell_actors(context)
        return begun

    @property
    def count(self) -> int:
        """How many are being brought."""
        with self._lock:
            return len(self._claims)

    def _claim(self, context: ClusterContext, image: Image) -> _Claim | None:
        with context.database.read() as session:
            query = select(Actor.owner).where(Actor.image_id == image.id)
            asker = session.scalars(query.order_by(Actor.last_update_time.desc()).limit(1)).first()
        claim = _Claim(
            (context.name, image.id),
            (image.tenant, asker or ""),
            (context.name, image.tenant, image.owner, _repository_of(image)),
        )
        with self._lock:
            if len(self._claims) >= AT_ONCE or any(
                claim.image == other.image
                or claim.asker == other.asker
                or claim.place == other.place
                for other in self._claims
            ):
                return None
            self._claims.add(claim)
        return claim

    def _bring(self, context: ClusterContext, image: Image, claim: _Claim) -> None:
        try:
            bring_image(context, image)
            tell_actors(context)
        except Exception:
            log.exception("image failed", extra={"facts": {"image": image.reference}})
        finally:
            with self._lock:
                self._claims.discard(claim)


def _repository_of(image: Image) -> str:
    try:
        reference = parse_image(image.reference)
    except InvalidField:  # it will be said soon
        return image.reference
    if isinstance(reference, SifPath):
        return str(reference)
    return f"{reference.registry}/{reference.repository}"
