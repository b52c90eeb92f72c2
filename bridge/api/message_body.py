"""What was posted: the decision order of abaco_contract.md 3.3, and its limits."""

from __future__ import annotations

from typing import Any

from flask import request

from bridge.api.parsing import Fields, parse_json, read_json_body
from bridge.core.actors import MISSING
from bridge.core.case import Case
from bridge.core.messages import (
    BINARY,
    PostedMessage,
    binary_message,
    json_message,
    text_message,
)
from bridge.errors import InvalidField, PayloadTooLarge, UnsupportedMedia
from bridge.sites.model import Limits


def read_message(case: Case, limits: Limits) -> PostedMessage:
    """Return the message that the request being served carries.

    1. a field `message` of JSON, query or form, as text; 2. raw bytes; 3. a JSON object; 4. any
    other body that parses as JSON, as text.

    Raises:
        InvalidField: malformed, or text that no process could be given.
        PayloadTooLarge: larger than the limit for its kind; judged before it is read.
        UnsupportedMedia: none of the four.
    """
    if request.headers.get("Content-Type") == BINARY:
        text = request.args.get("message")  # the only place that is left for the field
        return text_message(text) if text else _read_binary(limits.max_message_bytes)
    _check_length(request.content_length or 0, limits.max_text_message_bytes)
    body = read_json_body()
    field = Fields(case, body if isinstance(body, dict) else {}).get("message")
    if field is not MISSING and field is not None and str(field):
        return text_message(str(field))
    if body and isinstance(body, dict):
        return json_message(body)
    value = body if body is not None else _parse_other()
    return text_message(str(value), shown=value)


def _read_binary(max_bytes: int) -> PostedMessage:
    length = request.headers.get("Content-Length")
    if not length:
        raise InvalidField(f"Content Length required for {BINARY}.")
    if not (length.isascii() and length.isdigit()):
        raise InvalidField("Content Length must be an integer.")
    _check_length(int(length), max_bytes)
    request.max_content_length = max_bytes
    return binary_message(request.get_data())


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise PayloadTooLarge(f"Message exceeds max content length of: {max_bytes}")


def _parse_other() -> Any:
    try:
        return parse_json(request.get_data())
    except InvalidField as error:
        raise UnsupportedMedia(
            "message POST body could not be serialized. Pass JSON data or use the message "
            "attribute."
        ) from error
