"""Hot arrays: those that were given a few messages just now, which may be over in a moment.

Their journals are looked at more often than the others', for as long as `HOT_S`: so a caller who
waits has the answer soon, and the next message of a stateful actor starts soon after the one
before is final. Nothing depends on it: what is missed here, the next round finds.
"""

from __future__ import annotations

from sqlalchemy import select

from bridge.clock import monotonic_s
from bridge.db import IS_OPEN, Execution
from bridge.scheduler.context import ClusterContext
from bridge.scheduler.journals import harvest_tick

HOT_S = 2.0
# What more chunks than these bring is over little by little: the rounds are often enough for it.
FEW = 4
# So many arrays are looked at; more at the same time are left to the rounds.
MOST = 16


def note_given(context: ClusterContext, array_id: str, chunks: int) -> None:
    """Note that the array's workers have been given so many chunks."""
    if chunks <= FEW and len(context.hot) < MOST:
        context.hot[array_id] = monotonic_s() + HOT_S


def look_at_hot(context: ClusterContext) -> bool:
    """Read what hot arrays report; whether one of them has nothing to do any more."""
    if not context.hot:
        return False
    hot = dict(context.hot)  # threads that submit add to it meanwhile
    harvest_tick(context, only=list(hot))
    with context.database.read() as session:
        query = select(Execution.array_id).where(IS_OPEN, Execution.array_id.in_(list(hot)))
        busy = set(session.scalars(query))
    now = monotonic_s()
    done = set(hot) - busy
    late = {one for one, until in hot.items() if until <= now}
    for one in done | late:
        context.hot.pop(one, None)
    return bool(done)
