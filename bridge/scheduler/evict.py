"""Keeping the image cache small: what nobody has used for long goes, and what no row knows.

A file goes only when nothing needs it: no array that has not ended, no message that waits, no actor
that waits for its image. That is asked in the transaction that takes the file from its rows, with
the rows locked; a plan that wants the image locks them too (bridge.scheduler.binding), and finds it
either there or gone, then has it brought anew. Names are never used again, so a file that is gone
from the rows can be removed at any later moment: by a crash it becomes a stray.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.orm import Session

from bridge.containers import SifCache
from bridge.core.statuses import ActorStatus, ArrayStatus, ImageStatus
from bridge.db import Actor, Array, Execution, Image, is_queued
from bridge.errors import SessionError
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.images import USED_WITHIN
from bridge.scheduler.sources import login_of

log = logging.getLogger(__name__)

# A pull and a conversion take an hour together at most; what they make is recorded right after.
STRAY_AFTER = timedelta(hours=2)


@dataclass(frozen=True)
class _File:
    """A file of the cache: where, of whom alone, how long, when it was last wanted."""

    path: str
    owner: str
    size_bytes: int
    used_at: datetime


def evict_tick(context: ClusterContext) -> list[str]:
    """Remove what is due of this cluster's images; return the paths."""
    now = context.clock.now()
    cluster = context.cluster
    cache = SifCache(cluster.image_cache)
    _note_use(context, now)
    with context.database.read() as session:
        files = _read_files(session, context.name)
    due = [file for file in files if not file.owner and cache.is_missing(file.path)]
    if cluster.image_cache_max_age_s is not None:
        oldest = now - timedelta(seconds=cluster.image_cache_max_age_s)
        due += [file for file in files if file.used_at < oldest and file not in due]
    evicted = {file.path for file in due if _evict(context, cache, file)}
    if cluster.image_cache_max_bytes is not None:
        # Images of one user's alone lie in that user's own space.
        shared = [file for file in files if not file.owner and file.path not in evicted]
        surplus = sum(file.size_bytes for file in shared) - cluster.image_cache_max_bytes
        for file in sorted(shared, key=lambda file: file.used_at):
            if surplus > 0 and _evict(context, cache, file):
                surplus -= file.size_bytes
                evicted.add(file.path)
    _remove_strays(context, cache, now)
    return sorted(evicted)


def _note_use(context: ClusterContext, now: datetime) -> None:
    """Note that what live arrays have is in use: one may run for days."""
    live = select(Array.sif_path).where(
        Array.cluster == context.name, Array.status != ArrayStatus.ENDED
    )
    stale = or_(Image.used_at.is_(None), Image.used_at < now - USED_WITHIN)
    with context.database.begin() as session:
        session.execute(
            update(Image)
            .where(Image.cluster == context.name, Image.sif_path.in_(live), stale)
            .values(used_at=now)
            .execution_options(synchronize_session=False)
        )


def _read_files(session: Session, cluster: str) -> list[_File]:
    """Return the files, each once, with the latest use that any of its rows knows."""
    rows = session.scalars(
        select(Image).where(Image.cluster == cluster, Image.sif_path.is_not(None))
    ).all()
    files: dict[str, _File] = {}
    for row in rows:
        used_at = row.used_at or row.create_time
        path = str(row.sif_path)
        if path in files:
            used_at = max(used_at, files[path].used_at)
        files[path] = _File(path, row.owner, row.sif_bytes or 0, used_at)
    return list(files.values())


def _evict(context: ClusterContext, cache: SifCache, file: _File) -> bool:
    """Take the file from its rows and remove it, unless something needs it."""
    with context.database.begin() as session:
        mine = (Image.cluster == context.name) & (Image.sif_path == file.path)
        query = select(Image).where(mine).order_by(Image.id).with_for_update()
        rows = session.scalars(query).all()
        if not rows or any(row.status is ImageStatus.REQUESTED for row in rows):
            return False
        ids = [row.id for row in rows]
        if session.execute(select(_is_needed(file.path, ids))).scalar_one():
            return False
        for row in rows:
            row.sif_path = row.sif_bytes = row.sif_sha256 = None
            row.status, row.next_attempt_at = ImageStatus.EVICTED, None
    log.info("image evicted", extra={"facts": {"image": rows[0].reference, "sif": file.path}})
    context.at("evicted")
    _remove(context, cache, rows[0], file.path)
    return True


def _is_needed(path: str, image_ids: Sequence[int]) -> ColumnElement[bool]:
    of_it = Actor.image_id.in_(image_ids) & Actor.deleted_at.is_(None)
    queued = exists().where(of_it, Execution.actor_id == Actor.id).where(is_queued())
    return or_(
        exists().where(Array.sif_path == path, Array.status != ArrayStatus.ENDED),
        exists().where(of_it, Actor.status == ActorStatus.SUBMITTED),
        exists().where(of_it, Actor.workers_asked > 0),
        queued,
    )


def _remove(context: ClusterContext, cache: SifCache, image: Image, path: str) -> None:
    if not image.owner:
        cache.remove(path)
        return
    try:
        context.sessions.session(login_of(context, image)).remove(path)
    except SessionError as error:  # it stays in the owner's own space
        facts = {"sif": path}
        log.warning("an image could not be removed: %s", error.message, extra={"facts": facts})


def _remove_strays(context: ClusterContext, cache: SifCache, now: datetime) -> None:
    with context.database.read() as session:
        known = set(session.scalars(select(Image.sif_path).where(Image.sif_path.is_not(None))))
        live = select(Array.sif_path).where(Array.status != ArrayStatus.ENDED)
        known.update(session.scalars(live))
    for path in cache.strays({path for path in known if path}, (now - STRAY_AFTER).timestamp()):
        log.info("removed what nobody knows", extra={"facts": {"path": path}})
        cache.remove_stray(path)
