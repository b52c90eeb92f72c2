"""A message as it was posted and as its container will see it (abaco_contract.md 3.3, 5.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, BinaryIO

from bridge.errors import InvalidField, PayloadTooLarge

TEXT = "str"
JSON = "application/json"
BINARY = "application/octet-stream"

# What stands for a binary message in answers (3.3).
_OMITTED = "binary - omitted"

# The executor of what a schedule posts, and of what another actor's event posts (4.2).
CRON_NAME = "cron"
EVENTS_NAME = "Abaco Event"

# A text reaches the container as the variable MSG, and Linux takes 128 KiB for one variable with
# its name at most. The rest is left to the container runtime's own prefix.
MAX_TEXT_BYTES = 100_000


_KEY = re.compile(r"[!-~]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class PostedMessage:
    """One message.

    Attributes:
        content_type: Abaco's word for it, ``_abaco_Content_Type``.
        payload: what the container gets; a text as UTF-8.
        shown: how the answer to the POST repeats it (`msg`).
        spooled: a payload that is too large for the memory lies here, and `payload` is empty.
        size: bytes of the whole payload.
    """

    content_type: str
    payload: bytes
    shown: Any
    size: int
    spooled: BinaryIO | None = None

    def close(self) -> None:
        """Give up the file of a payload that has one."""
        if self.spooled is not None:
            self.spooled.close()


def check_key(key: object) -> str:
    """Return an idempotency key, a caller's own name for a message.

    Raises:
        InvalidField: it is no such key; says what is expected.
    """
    if not isinstance(key, str) or not _KEY.match(key):
        raise InvalidField(
            f"Invalid idempotency key {str(key)[:64]!r}: expected 1 to 128 visible ASCII "
            "characters."
        )
    return key


def text_message(text: str, shown: Any = None) -> PostedMessage:
    """Return a message of type ``str``; `shown` is what was posted, where that was no text."""
    payload = _encode(text)
    return PostedMessage(TEXT, payload, text if shown is None else shown, len(payload))


def json_message(value: dict[str, Any]) -> PostedMessage:
    """Return a message that was posted as a JSON object: the container sees its Python repr.

    Clients parse it with ``ast.literal_eval`` (abaco_contract.md 0.5, clients.md 0.5).
    """
    payload = _encode(repr(value))
    return PostedMessage(JSON, payload, value, len(payload))


def binary_message(payload: bytes) -> PostedMessage:
    """Return a message of raw bytes."""
    return PostedMessage(BINARY, payload, _OMITTED, len(payload))


def spooled_message(file: BinaryIO, size: int) -> PostedMessage:
    """Return a message of the first `size` bytes of `file`, which lies nowhere else."""
    return PostedMessage(BINARY, b"", _OMITTED, size, file)


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
