"""``/actors/<id>/messages`` (abaco_contract.md 3.3)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Annotated, Any, TypedDict

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from bridge.api.audit import note
from bridge.api.batch_body import KEY, NDJSON, BatchItem, read_batch
from bridge.api.context import case, context, identity, links
from bridge.api.describe import FORM, describe
from bridge.api.envelope import success
from bridge.api.message_body import read_message
from bridge.api.schemas import With
from bridge.api.views import BatchView, MailboxView, PostedView, PurgedView
from bridge.core.case import spell, spell_object
from bridge.core.messages import BINARY, check_key
from bridge.core.statuses import Level
from bridge.errors import InvalidField, LimitReached, RequestError
from bridge.events import HOPS_HEADER, MAX_HOPS
from bridge.services.access import find_actor
from bridge.services.executions import read_log
from bridge.services.messages import (
    MAX_BEFORE_SYNCHRONOUS,
    NewMessage,
    Posted,
    check_environment,
    count_messages,
    executor_account,
    post_messages,
    purge_messages,
)
from bridge.services.queued import Gate, largest_message
from bridge.services.results import await_result

blueprint = Blueprint("messages", __name__, url_prefix="/actors/<actor_id>/messages")

# Abaco's own text for answers that have none better.
_DONE = "The request was successful"


# So many requests of one process wait for an execution at a time: each holds a thread, and there
# are few of those.
_PLACES = threading.BoundedSemaphore(4)


class _Form(TypedDict):
    message: Annotated[str, With(minLength=1), "The message."]


_Json = Annotated[Any, "The message; of an object with a key `message` only what stands there."]


class _Query(TypedDict, total=False):
    _abaco_synchronous: Annotated[
        str, "With `true`: wait, and answer with the first result or, at the end, with the log."
    ]


@blueprint.get("")
@describe("get_messages", result=MailboxView)
def count(actor_id: str) -> Response:
    """Show how many messages wait."""
    with context().database.read() as session:
        actor, waiting = count_messages(session, identity(), actor_id)
    to = links()
    result: MailboxView = {
        "messages": waiting,
        "_links": {"self": to.messages(actor.id), "owner": to.owner(actor.owner)},
    }
    return success(spell_object(result, case()), _DONE)


@blueprint.delete("")
@describe("delete_pending_messages", result=PurgedView)
def purge(actor_id: str) -> Response:
    """End every message that has not been started; their executions end with status ERROR."""
    here = context()
    actor = purge_messages(here.database, identity(), actor_id, here.now())
    to = links()
    result: PurgedView = {
        "msg": "Actor mailbox purged.",
        "_links": {"self": to.messages(actor.id), "owner": to.owner(actor.owner)},
    }
    return success(spell_object(result, case()), _DONE)


@blueprint.post("")
@describe(
    "send_message",
    body=_Json,
    body_media={FORM: _Form, BINARY: bytes},
    query=_Query,
    headers={"Idempotency-Key": Annotated[str, KEY, "Under one key one message is queued."]},
    result=PostedView,
    media={
        BINARY: "With `_abaco_synchronous=true`: the first result, as soon as there is one.",
        "text/html": "With `_abaco_synchronous=true`: the log, where there was no result.",
    },
    errors={
        408: "The execution did not end in time; it goes on.",
        429: "Too many requests wait for executions, or there is no room for a large message.",
    },
    gives={"execution_id": "execution_id"},
)
def post(actor_id: str) -> Response:
    """Queue a message as a new execution; with ``_abaco_synchronous=true`` wait for its outcome.

    Every other query parameter becomes a variable of the container's environment. A header
    `Idempotency-Key` makes it harmless to send the message again: under one key of the caller's an
    actor gets one message, and the answer to a repetition names the first one's execution and has a
    header `Idempotent-Replayed`.
    """
    here = context()
    with _refusing_strangers(actor_id):
        environment = check_environment(request.args.items())
        key = request.headers.get("Idempotency-Key")
        key = None if key is None else check_key(key)
        message = read_message(case(), here.site.limits, _largest())
    with closing(message):
        new = NewMessage(message, environment, key)
        if environment.get("_abaco_synchronous", "").lower() == "true":
            return _answer_at_end(actor_id, new)
        posted = _queue(actor_id, [new])
    to = links()
    [queued] = posted.queued
    result: PostedView = {
        "execution_id": queued.execution_id,
        "msg": message.shown,
        "_links": {
            "self": to.execution(posted.actor_id, queued.execution_id),
            "owner": to.owner(posted.owner),
            "messages": to.messages(posted.actor_id),
        },
    }
    response = success(spell_object(result, case()), _DONE)
    if not queued.is_new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@blueprint.post("/batch")
@describe(
    "send_message_batch",
    body=Annotated[list[str | BatchItem], With(minItems=1)],
    body_media={NDJSON: str},
    result=BatchView,
)
def post_batch(actor_id: str) -> Response:
    """Queue many messages in one request: all of them, or none when one cannot be read.

    Beyond Abaco. The body is a JSON array, or JSON values one a line; each is a text or an object.
    Query parameters become variables of every message.
    """
    limits = context().site.limits
    with _refusing_strangers(actor_id):
        environment = check_environment(request.args.items())
        if environment.get("_abaco_synchronous", "").lower() == "true":
            raise InvalidField("A batch cannot be waited for; ask for its executions later.")
        if "Idempotency-Key" in request.headers:
            raise InvalidField(
                "Messages of a batch have keys of their own, `idempotency_key`; the header "
                "Idempotency-Key is for a single message."
            )
        messages = read_batch(limits, environment)
    posted = _queue(actor_id, messages)
    name, mark = spell("execution_id", case()), spell("is_new", case())
    result = {
        "executions": [{name: one.execution_id, mark: one.is_new} for one in posted.queued],
        "_links": {
            "self": links().messages(posted.actor_id),
            "owner": links().owner(posted.owner),
            "executions": links().executions(posted.actor_id),
        },
    }
    return success(result, _DONE)


@contextmanager
def _refusing_strangers(actor_id: str) -> Iterator[None]:
    """Let those who may not post at all learn that first, and before a large body is read."""
    if (request.content_length or 0) > context().site.limits.max_text_message_bytes:
        _check_access(actor_id)
    try:
        yield
    except RequestError:
        _check_access(actor_id)
        raise


def _check_access(actor_id: str) -> None:
    with context().database.read() as session:
        find_actor(session, identity(), actor_id, Level.EXECUTE)


def _queue(actor_id: str, messages: Sequence[NewMessage], max_waiting: int | None = None) -> Posted:
    here, hops = context(), _read_hops()
    account = executor_account(
        here.database, identity(), here.site, actor_id, here.clock, here.waits
    )
    user, now, gate = identity(), here.now(), Gate(here.site, here.counts)

    def post(session: Session) -> Posted | LimitReached:
        try:
            return post_messages(
                session,
                user,
                actor_id,
                messages,
                now,
                gate,
                account=account,
                max_waiting=max_waiting,
                hops=hops,
            )
        except LimitReached as error:  # raised, it would break up what others do with it
            return error

    done = here.database.write(post)
    if isinstance(done, LimitReached):
        raise done
    note(object=f"actor {done.actor_id}", detail=f"{len(messages)} messages")
    return done


def _largest() -> int:
    return largest_message(context().site, identity().tenant)


def _read_hops() -> int:
    """Return how many links and webhooks led to this request, by what the bridge's own say.

    Raises:
        InvalidField: more than there may be; a webhook that gets this answer is given up.
    """
    text = request.headers.get(HOPS_HEADER, "")
    hops = int(text) if re.fullmatch("[0-9]{1,3}", text) else 0
    if hops > MAX_HOPS:
        raise InvalidField(
            f"{hops} links and webhooks led to this message: the chain, perhaps a circle, ends "
            f"after {MAX_HOPS}."
        )
    return hops


def _answer_at_end(actor_id: str, new: NewMessage) -> Response:
    """Return the first result of the message's execution, bare, or else its log at its end.

    Abaco's content types for them are kept; the other headers keep a browser from taking what an
    actor printed for a page of ours.
    """
    here = context()
    if not _PLACES.acquire(blocking=False):
        raise LimitReached(
            "Too many requests wait for executions; post the message without _abaco_synchronous, "
            "or try again later."
        )
    try:
        execution_id = _queue(actor_id, [new], MAX_BEFORE_SYNCHRONOUS).queued[0].execution_id
        payload = await_result(here.database, execution_id, here.clock, here.waits)
    finally:
        _PLACES.release()
    if payload is None:
        with here.database.read() as session:
            text = read_log(session, execution_id, here.now())
        response = Response(text, content_type="text/html; charset=utf-8")
    else:
        response = Response(payload, content_type=BINARY)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
