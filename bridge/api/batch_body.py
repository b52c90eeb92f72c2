"""The body of a batch: many messages in one request, read whole or not at all.

Beyond Abaco. A JSON array, or JSON values one a line (NDJSON); each is a text, or an object with
`message` and, where wanted, `environment` and `idempotency_key`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from flask import request

from bridge.api.parsing import parse_json
from bridge.api.schemas import With
from bridge.core.messages import PostedMessage, check_key, json_message, text_message
from bridge.errors import InvalidField, PayloadTooLarge, RequestError, UnsupportedMedia
from bridge.services.messages import NewMessage, check_environment
from bridge.sites.model import Limits

JSON = "application/json"
NDJSON = "application/x-ndjson"
_NAMES = frozenset({"message", "environment", "idempotency_key", "idempotencyKey"})
KEY = With(pattern="^[!-~]{1,128}$")  # bridge.core.messages.check_key
_NOT_NULL = With(**{"not": {"enum": [None]}})


class BatchItem(TypedDict):
    """One message of a batch, where it is more than a text."""

    message: Annotated[Any, _NOT_NULL, "A text; or a JSON object, as which the container gets it."]
    environment: NotRequired[
        Annotated[dict[str, str | float | bool] | None, "Variables of this message; they win."]
    ]
    idempotency_key: NotRequired[
        Annotated[
            str | None, KEY, "Messages to an actor under the same key of yours are queued once."
        ]
    ]


def read_batch(limits: Limits, environment: Mapping[str, str]) -> list[NewMessage]:
    """Return the messages of the request being served.

    Args:
        limits: bounds of the whole.
        environment: variables of every message, from the query.

    Raises:
        InvalidField: malformed; names the message, by its place counted from 1.
        PayloadTooLarge: too many, or too long.
        UnsupportedMedia: neither JSON nor NDJSON.
    """
    values = _read_values(limits)
    if not values:
        raise InvalidField("The batch is empty: expected at least one message.")
    if len(values) > limits.max_batch_messages:
        raise _too_many(limits, len(values))
    messages = []
    for number, value in enumerate(values, start=1):
        try:
            messages.append(_read_message(value, environment))
        except RequestError as error:
            where = f"Message {number} of {len(values)} of the batch: "
            raise type(error)(where + error.message) from error
    return messages


def _read_values(limits: Limits) -> list[Any]:
    if request.mimetype not in (JSON, NDJSON):
        raise UnsupportedMedia(
            f"A batch comes as a JSON array ({JSON}) or as JSON values one a line ({NDJSON}); got "
            f"the content type {request.mimetype[:64]!r}."
        )
    if (request.content_length or 0) > limits.max_batch_bytes:
        raise PayloadTooLarge(
            f"The batch exceeds {limits.max_batch_bytes} bytes; send parts of it."
        )
    request.max_content_length = limits.max_batch_bytes
    body = request.get_data()
    if request.mimetype == NDJSON:
        return _parse_lines(body, limits)
    values = parse_json(body)
    if not isinstance(values, list):
        raise InvalidField("The JSON body must be an array of messages.")
    return values


def _parse_lines(body: bytes, limits: Limits) -> list[Any]:
    count = body.count(b"\n") + 1
    if count > 2 * limits.max_batch_messages:  # half of them may be empty
        raise _too_many(limits, count)
    values = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if line.strip():
            try:
                values.append(parse_json(line))
            except InvalidField as error:
                raise InvalidField(f"Line {number} of the batch: {error.message}") from error
    return values


def _too_many(limits: Limits, count: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The batch has {count} messages; {limits.max_batch_messages} can be sent at once."
    )


def _read_message(value: object, environment: Mapping[str, str]) -> NewMessage:
    if isinstance(value, str):
        return NewMessage(text_message(value), environment)
    if not isinstance(value, dict):
        raise InvalidField("expected a text, or an object with `message`.")
    unknown = value.keys() - _NAMES
    if unknown or "message" not in value:
        raise InvalidField(
            "expected a text, or an object with `message` and, where wanted, `environment` and "
            f"`idempotency_key`; got the keys {sorted(value)[:8]}. A JSON message stands under "
            "`message`."
        )
    own = value.get("environment")
    if own is not None:
        environment = {**environment, **_read_environment(own)}
    key = value.get("idempotency_key", value.get("idempotencyKey"))
    return NewMessage(
        _read_content(value["message"]), environment, None if key is None else check_key(key)
    )


def _read_content(value: object) -> PostedMessage:
    """Return a message of what stands under `message`: an object keeps its kind here."""
    if value is None:
        raise InvalidField("`message` is null.")
    if isinstance(value, dict) and value:
        return json_message(value)
    return text_message(str(value), shown=value)


def _read_environment(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidField("`environment` is no object of names and values.")
    for name, one in value.items():
        if not isinstance(one, (str, int, float)):  # a boolean is an int
            raise InvalidField(
                f"`environment` gives {name[:64]!r} a value that is neither text, number nor "
                "boolean."
            )
    return check_environment(((name, str(one)) for name, one in value.items()), "its `environment`")
