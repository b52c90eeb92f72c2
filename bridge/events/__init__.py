"""Events: telling an actor's link or webhook what happened to it (abaco_contract.md 4.8).

An event is written in the transaction in which it happens, so it exists exactly when what it tells
of does; the scheduler delivers it later (bridge.scheduler.deliver). Actors with neither a link nor
a webhook cost nothing here, not even a query.

    link      exactly once: the linked actor's message and the end of the event are one transaction
    webhook   at least once, in no order that is promised; the event's id tells a repetition

What bounds them:

* a webhook's outstanding events: beyond `MAX_OUTSTANDING` of one actor, new ones are not kept;
* links, and webhooks that lead back to the bridge: a chain of them, which an alias that was moved
  can make a circle, ends after `MAX_HOPS`;
* time: an event that is older than a day is given up (bridge.scheduler.housekeeping).

A webhook gets a POST of JSON with the headers ``X-Abaco-Event-Id`` and ``Idempotency-Key``, the
same when it is repeated, ``X-Abaco-Hops`` (how many links and webhooks led to it) and, where the
site file names a `webhook_key_file` for the tenant, ``X-Abaco-Signature: t=<seconds>,v1=<hex>``. A
receiver that has the secret too verifies it so, with `body` as it came:

    fields = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(key, f"{fields['t']}.".encode() + body, hashlib.sha256).hexdigest()
    is_genuine = hmac.compare_digest(expected, fields["v1"])
    is_fresh = abs(time.time() - int(fields["t"])) < 300

The secret says which tenant of which bridge the request came from, not whose actor it was: that
stands in the signed body. Whoever has it can sign for the whole tenant.
"""

from bridge.events.record import (
    MAX_HOPS,
    MAX_OUTSTANDING,
    Ended,
    EventType,
    record_actor,
    record_event,
    record_executions,
)
from bridge.events.webhook import HOPS_HEADER, WebhookSender, make_sender

__all__ = [
    "HOPS_HEADER",
    "MAX_HOPS",
    "MAX_OUTSTANDING",
    "Ended",
    "EventType",
    "WebhookSender",
    "make_sender",
    "record_actor",
    "record_event",
    "record_executions",
]
