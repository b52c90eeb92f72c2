"""Events: telling an actor's link or webhook what happened to it (abaco_contract.md 4.8).

An event is written in the transaction in which it happens, so it exists exactly when what it tells
of does; the scheduler delivers it later (bridge.scheduler.deliver). Actors with neither a link nor
a webhook cost nothing here, not even a query.

    link      exactly once: the linked actor's message and the end of the event are one transaction
    webhook   at least once, in no order that is promised; the event's id tells a repetition

What bounds them:

* a webhook's outstanding events: beyond `MAX_OUTSTANDING` of one actor, new ones are not kept;
* links: a chain of them, which an alias that was moved can make a circle, ends after `MAX_HOPS`;
* time: an event that is older than a day is given up (bridge.scheduler.housekeeping).
"""

from bridge.events.record import (
    MAX_HOPS,
    MAX_OUTSTANDING,
    EventType,
    record_actor,
    record_event,
    record_executions,
)

__all__ = [
    "MAX_HOPS",
    "MAX_OUTSTANDING",
    "EventType",
    "record_actor",
    "record_event",
    "record_executions",
]
