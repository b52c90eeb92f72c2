"""Messages as they stand in a chunk, one a line."""

import base64
import binascii
import json
import re
from typing import Any, Dict, NamedTuple, Optional

# An id becomes a file name in payload/, logs/ and cancel/.
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


class Message(NamedTuple):
    """One message: an execution to run."""

    id: str
    env: Dict[str, str]
    data: Optional[bytes] = None  # a binary message that travels in its line
    in_file: bool = False  # a binary message that payload/<id> holds
    state: Optional[str] = None  # what /_abaco_state.json holds at the start
    problem: Optional[str] = None  # why this message cannot be run at all


def parse_shared(line: bytes) -> Optional[Dict[str, str]]:
    """Return the environment that a chunk's first line gives to all of its messages, if it does."""
    try:
        document = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    shared = document.get("shared") if isinstance(document, dict) else None
    if not isinstance(shared, dict) or not all(isinstance(v, str) for v in shared.values()):
        return None
    return shared


def parse_message(line: bytes, shared: Optional[Dict[str, str]] = None) -> Message:
    """Return the message of a line; its own environment wins over the `shared` one.

    A line that has an id and is otherwise malformed is a message with a `problem`, so that its
    execution ends with a reason.

    Raises:
        ValueError: the line has no id: it speaks of no execution.
    """
    try:
        document = json.loads(line.decode())
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(document, dict):
        raise ValueError("expected an object")  # noqa: TRY004  # callers catch one kind
    name = document.get("id")
    if not isinstance(name, str) or not _ID.match(name):
        raise ValueError("id is %r, expected letters, digits, _ and -" % (name,))
    try:
        return _parse_content(name, document, shared or {})
    except ValueError as error:
        return Message(name, {}, problem="The message is malformed: %s." % error)


def _parse_content(name: str, document: Dict[str, Any], shared: Dict[str, str]) -> Message:
    env = document.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise ValueError("env is not an object of texts")
    env = dict(shared, **env)
    if "msg" in document:
        if not isinstance(document["msg"], str):
            raise ValueError("msg is not a text")
        env["MSG"] = document["msg"]
    for variable, value in env.items():
        if not variable or "=" in variable or "\0" in variable + value:
            raise ValueError("environment variable %r cannot be given to a process" % variable)
    state = document.get("state")
    if state is not None and not isinstance(state, str):
        raise ValueError("state is not a text")
    data = document.get("data")
    if data is None:
        return Message(name, env, in_file=bool(document.get("file")), state=state)
    try:
        return Message(name, env, data=base64.b64decode(data, validate=True), state=state)
    except (TypeError, binascii.Error) as error:
        raise ValueError("data is not base64") from error
