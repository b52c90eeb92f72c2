"""Feeding: further chunks for an array that runs (late binding, design.md section 5).

A chunk comes to the workers once, whatever is killed in between, by whoever goes on:

    bind     executions are bound to the array, with the next chunk numbers   (committed)
    stage    their files are written to staged/, under an ending of this attempt's own
    note     the ending is recorded; from now on nobody writes these chunks again   (committed)
    rename   into the inbox; a name that is gone was renamed before
    done     the chunks are the workers'                                      (committed)

An attempt that was cut off, or slept, before its ending was recorded leaves files that nobody ever
renames. An array that is closing or leaving records no ending: what is bound then goes back.
"""

from __future__ import annotations

import logging

from sqlalchemy import select

from bridge.core.ids import new_token
from bridge.core.statuses import ArrayStatus
from bridge.db import Array
from bridge.errors import BridgeError
from bridge.launcher.spool import staged_name
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.hot import note_given
from bridge.scheduler.idle import start_leaving
from bridge.scheduler.inbox import bound_chunks, put_staged
from bridge.scheduler.submit import write_chunk
from bridge.scheduler.turns import take_turns

log = logging.getLogger(__name__)

FEED_S = 0.2  # for all arrays, in one round


def feed_tick(context: ClusterContext) -> int:
    """Bring bound chunks to their workers while there is time; return how many arrays waited."""
    with context.database.read() as session:
        arrays = session.scalars(
            select(Array).where(
                Array.cluster == context.name,
                Array.status == ArrayStatus.SUBMITTED,
                Array.leaving_at.is_(None),
                Array.fed_chunks < Array.chunk_count,
            )
        ).all()
    for array in take_turns(arrays, step_s=FEED_S):
        try:
            _feed(context, array)
        except (BridgeError, ValueError) as error:
            log.warning("not fed: %s", error, extra={"facts": {"array": array.id}})
            if not (isinstance(error, BridgeError) and error.retryable):
                # What cannot be written here is tried in an array of its own, whose messages end
                # with the reason if that fails too.
                start_leaving(context, array.id, with_open=True)
    return len(arrays)


def _feed(context: ClusterContext, array: Array) -> None:
    context.at("bound")
    owner = context.session(array)
    ending = array.staged_as
    if ending is None:
        ending = new_token()
        for number in bound_chunks(array):
            path = f"{array.spool}/staged/{staged_name(number, ending)}"
            write_chunk(context, owner, array, number, path)
        context.at("written")
        if not _note_staged(context, array, ending):
            return
    context.at("staged")
    put_staged(owner, array, ending, "inbox")
    context.at("fed")
    with context.database.begin() as session:
        row = session.get_one(Array, array.id, with_for_update=True)
        if row.staged_as == ending:
            row.fed_chunks, row.staged_as = array.chunk_count, None
    note_given(context, array.id, len(bound_chunks(array)))


def _note_staged(context: ClusterContext, array: Array, ending: str) -> bool:
    """Record the ending; whether the array still takes it, and from nobody else."""
    with context.database.begin() as session:
        row = session.get_one(Array, array.id, with_for_update=True)
        is_ours = (
            row.status is ArrayStatus.SUBMITTED
            and row.leaving_at is None
            and row.staged_as is None
            and (row.fed_chunks, row.chunk_count) == (array.fed_chunks, array.chunk_count)
        )
        if is_ours:
            row.staged_as = ending
    return is_ours
