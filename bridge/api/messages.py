"""``/actors/<id>/messages`` (abaco_contract.md 3.3)."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Literal, TypedDict

from flask import Blueprint, Response, request

from bridge.api.context import case, context, identity, links
from bridge.api.describe import describe
from bridge.api.envelope import success
from bridge.api.message_body import read_message
from bridge.api.views import MailboxView, PostedView
from bridge.core.case import spell_object
from bridge.core.messages import BINARY, PostedMessage
from bridge.core.statuses import Level
from bridge.errors import RequestError
from bridge.services.access import find_actor
from bridge.services.executions import await_final, read_log
from bridge.services.messages import (
    check_environment,
    count_messages,
    executor_account,
    post_message,
)

blueprint = Blueprint("messages", __name__, url_prefix="/actors/<actor_id>/messages")

# Abaco's own text for answers that have none better.
_DONE = "The request was successful"


class _Body(TypedDict, total=False):
    message: Annotated[str, "The message; without it the whole JSON body is."]


class _Query(TypedDict, total=False):
    _abaco_synchronous: Annotated[
        Literal["true", "false"], "Whether to wait for the end, and answer with the bare log."
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


@blueprint.post("")
@describe(
    "send_message",
    body=_Body,
    body_media={BINARY: bytes},
    query=_Query,
    result=PostedView,
    media={"text/html": "With `_abaco_synchronous=true`: the log."},
    errors={408: "The execution did not end in time; it goes on."},
)
def post(actor_id: str) -> Response:
    """Queue a message as a new execution; with ``_abaco_synchronous=true`` wait for its end.

    Every other query parameter becomes a variable of the container's environment.
    """
    here = context()
    message, environment = _read(actor_id)
    with closing(message):
        account = executor_account(
            here.database, identity(), here.site, actor_id, here.clock, here.waits
        )
        with here.database.begin() as session:
            posted = post_message(
                session, identity(), actor_id, message, environment, here.now(), account=account
            )
    if environment.get("_abaco_synchronous", "").lower() == "true":
        return _answer_at_end(posted.execution_id)
    to = links()
    result: PostedView = {
        "execution_id": posted.execution_id,
        "msg": message.shown,
        "_links": {
            "self": to.execution(posted.actor_id, posted.execution_id),
            "owner": to.owner(posted.owner),
            "messages": to.messages(posted.actor_id),
        },
    }
    return success(spell_object(result, case()), _DONE)


def _read(actor_id: str) -> tuple[PostedMessage, dict[str, str]]:
    """Return the message and the variables of the request.

    Who may not post at all learns that first, and before a large body is read.
    """
    limits = context().site.limits
    if (request.content_length or 0) > limits.max_text_message_bytes:
        _check_access(actor_id)
    try:
        return read_message(case(), limits), check_environment(request.args.items())
    except RequestError:
        _check_access(actor_id)
        raise


def _check_access(actor_id: str) -> None:
    with context().database.read() as session:
        find_actor(session, identity(), actor_id, Level.EXECUTE)


def _answer_at_end(execution_id: str) -> Response:
    """Return the bare log of a finished execution.

    Abaco's content type for it is kept; the other two headers keep a browser from taking what an
    actor printed for a page of ours.
    """
    here = context()
    await_final(here.database, execution_id, here.waits)
    with here.database.read() as session:
        text = read_log(session, execution_id, here.now())
    response = Response(text, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
