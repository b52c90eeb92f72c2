"""A message as it was posted and as its container will see it (abaco_contract.md 3.3, 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bridge.errors import InvalidField, PayloadTooLarge

TEXT = "str"
JSON = "application/json"
BINARY = "application/octet-stream"

# The executor of what a schedule posts, and of what another actor's event posts (4.2).
CRON_NAME = "cron"
EVENTS_NAME = "Abaco Event"

# A text reaches the container as the variable MSG, and Linux takes 128 KiB for one variable with
# its name at most. The rest is left to the container runtime's own prefix.
MAX_TEXT_BYTES = 100_000


@dataclass(frozen=True)
class PostedMessage:
    """One message.

    Attributes:
        content_type: Abaco's word for it, ``_abaco_Content_Type``.
        payload: what the container gets; a text as UTF-8.
        shown: how the answer to the POST repeats it (`msg`).
    """

    content_type: str
    payload: bytes
    shown: Any


def text_message(text: str, shown: Any = None) -> PostedMessage:
    """Return a message of type ``str``; `shown` is what was posted, where that was no text."""
    return PostedMessage(TEXT, _encode(text), text if shown is None else shown)


def json_message(value: dict[str, Any]) -> PostedMessage:
    """Return a message that was posted as a JSON object: the container sees its Python repr.

    Clients parse it with ``ast.literal_eval`` (abaco_contract.md 0.5, clients.md 0.5).
    """
    return PostedMessage(JSON, _encode(repr(value)), value)


def binary_message(payload: bytes) -> PostedMessage:
    """Return a message of raw bytes."""
    return PostedMessage(BINARY, payload, "binary - omitted")


def _encode(text: str) -> bytes:
    if "\0" in text:
        raise InvalidField(
            "The message contains a NUL byte, which no environment variable can hold; send it as "
            f"a binary message (Content-Type: {BINARY})."
        )
    try:
        payload = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidField(
            "The message contains half of a surrogate pair, which is no text; send it as a binary "
            f"message (Content-Type: {BINARY})."
        ) from error
    if len(payload) > MAX_TEXT_BYTES:
        raise PayloadTooLarge(
            f"Message exceeds max content length of: {MAX_TEXT_BYTES} bytes as text (it has "
            f"{len(payload)}); send it as a binary message (Content-Type: {BINARY})."
        )
    return payload
