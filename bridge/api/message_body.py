"""What was posted: the decision order of abaco_contract.md 3.3, and its limits."""

from __future__ import annotations

import os
import tempfile
from typing import IO, Any

from flask import request

from bridge.api.parsing import Fields, parse_json, read_json_body
from bridge.core.actors import MISSING
from bridge.core.case import Case
from bridge.core.messages import (
    BINARY,
    PostedMessage,
    binary_message,
    json_message,
    spooled_message,
    text_message,
)
from bridge.errors import InvalidField, LimitReached, PayloadTooLarge, UnsupportedMedia
from bridge.sites.model import Limits

# Larger bodies are read in pieces of this size and never held whole.
_IN_MEMORY_BYTES = 1 << 20


def read_message(case: Case, limits: Limits, max_bytes: int) -> PostedMessage:
    """Return the message that the request being served carries.

    1. a field `message` of JSON, query or form, as text; 2. raw bytes; 3. a JSON object; 4. any
    other body that parses as JSON, as text.

    Whoever asks closes it.

    Args:
        case: of the keys.
        limits: of the site.
        max_bytes: the largest binary message that the tenant may send.

    Raises:
        InvalidField: malformed, or text that no process could be given.
        PayloadTooLarge: larger than the limit for its kind; judged before it is read.
        UnsupportedMedia: none of the four.
    """
    if request.headers.get("Content-Type") == BINARY:
        text = request.args.get("message")  # the only place that is left for the field
        return text_message(text) if text else _read_binary(max_bytes)
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
    if not length or "Transfer-Encoding" in request.headers:
        raise InvalidField(f"Content Length required for {BINARY}.")
    if not (length.isascii() and length.isdigit()):
        raise InvalidField("Content Length must be an integer.")
    _check_length(int(length), max_bytes)
    request.max_content_length = max_bytes
    if int(length) <= _IN_MEMORY_BYTES:
        return binary_message(request.get_data())
    return _spool(request.stream, int(length))


def _spool(body: IO[bytes], size: int) -> PostedMessage:
    """Bring a large body to a file that has no name, so that nothing of it outlives this process.

    In TMPDIR, else in /var/tmp: /tmp is memory on many systems. No transaction is open while the
    client sends as slowly as it likes.
    """
    folder = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108  # the file has no name there
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # the message has it
    try:
        while piece := body.read(_IN_MEMORY_BYTES):
            _write(file, piece)
    except BaseException:
        file.close()
        raise
    return spooled_message(file, size)


def _write(file: IO[bytes], piece: bytes) -> None:
    try:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise LimitReached(
            f"The bridge has no room for this message now ({error.strerror}); try again later."
        ) from error


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
