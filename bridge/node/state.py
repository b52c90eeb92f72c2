"""The state of a stateful actor as a file: JSON that the actor reads, and may write anew.

It is a bind of a single file: an actor writes into it, and cannot rename another file onto it.
"""

import json
import os
import stat
from typing import NoReturn, Optional, Tuple

STATE_FILE = "/_abaco_state.json"
MAX_STATE_BYTES = 100_000  # of its Python repr, which travels in an environment variable
_READ_BYTES = 1 << 20


def write_state(path: str, text: str) -> None:
    """Write the file as the next container sees it."""
    with open(path, "wb") as file:
        file.write(text.encode())


def read_state(path: str, before: str) -> Tuple[Optional[str], str]:
    """Return the state that an actor left, None where it left none or changed nothing.

    Also returns why it is not taken, for a person; empty when there is nothing to say.
    """
    try:
        data = _read(path)
    except OSError as error:
        return None, "The state was not taken: %s." % error.strerror
    if data == before.encode():
        return None, ""
    try:
        return parse_state(data), ""
    except ValueError as error:
        return None, "The state was not taken: %s." % error


def parse_state(data: bytes) -> str:
    """Return a state as JSON text in its shortest form.

    Raises:
        ValueError: it is not JSON, or too large; says so.
    """
    if len(data) > _READ_BYTES:
        raise ValueError("it has more than %d bytes" % _READ_BYTES)
    try:
        value = json.loads(data.decode(), parse_constant=_refuse)
        size = len(repr(value).encode())
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON (%s)" % str(error)[:200]) from error
    if size > MAX_STATE_BYTES:
        raise ValueError("its Python form has %d bytes, more than %d" % (size, MAX_STATE_BYTES))
    return text


def _refuse(word: str) -> NoReturn:
    raise ValueError("%s is not JSON" % word)


def _read(path: str) -> bytes:
    """Read a regular file and follow nothing: it is where the actor's user can get at it."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return b""
        return file.read(_READ_BYTES + 1)
