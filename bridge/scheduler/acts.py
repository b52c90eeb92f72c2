"""What the scheduler does on a cluster as a user, for the audit trail."""

from __future__ import annotations

from bridge.audit import Entry, tell, write
from bridge.db import Array
from bridge.scheduler.context import ClusterContext


def act_on(
    context: ClusterContext, array: Array, action: str, detail: str = "", refused: str = ""
) -> Entry:
    """Return the entry of what is done with an array as its user.

    Args:
        context: the cluster.
        array: which.
        action: ``array.submit``, ``array.cancel``.
        detail: what else is worth knowing.
        refused: the name of the error, where it was not done.
    """
    return Entry(
        at=context.clock.now(),
        tenant=array.tenant,
        username=array.username,
        via="scheduler",
        action=action,
        object=f"array {array.id}",
        detail=detail[:255],
        result="refused" if refused else "ok",
        code=refused,
    )


def record(context: ClusterContext, entry: Entry) -> None:
    """Write the entry in a transaction of its own, and log it."""
    with context.database.begin() as session:
        write(session, entry)
    tell(entry)
