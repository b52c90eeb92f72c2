"""The words between a worker and an actor's process that stays: `reuse=process`.

What an image's program has to do. It finds two numbers in its environment, ``_abaco_request_fd``
and ``_abaco_reply_fd``: descriptors that it has inherited. Where they are missing, it was started
as ever, for the one message that its environment holds. Lines are UTF-8 and end with a newline::

    process                      worker
    ready json                                    once it can take messages: the model is loaded
                                 {"id": "Kwx...", "env": {"MSG": "...", ...}}
    done Kwx... 0                                 the exit code of this message, 0 to 255
                                 {"id": ...       the next one, and so on
                                 end of file      there are no more: it should end

* ``env`` holds what is the message's own (MSG, ``_abaco_execution_id``, ``_abaco_access_token``...)
  and is no part of the process's environment; what all messages share is, since its start. Values
  are free; a line may have hundreds of kilobytes.
* The descriptors may be one socket: they are read and written, and not opened by a name.
* A program that reads no JSON says ``ready sh``. A request then is the message's id alone, and
  ``/_abaco_message.sh`` has an ``export`` for each variable whose name a shell can have (no hyphen)
  and does not use itself; to be read in a subshell, so that nothing stays for the next message.
* ``/_abaco_binary_data`` is there for every message, and empty for one that is not binary.
  ``/_abaco_state.json`` is there for stateful actors, and written to as ever. These files are the
  same for all messages, with other contents: nothing of them is to be kept open or mapped.
* ``/_abaco_results.sock`` is there as ever. What was sent before ``done`` belongs to the message.
* The log of a message is what was written to stdout and stderr from its request until ``done``: a
  program flushes before it says so. The first log also has what came before ``ready``. What comes
  between two messages belongs to none, and is dropped; the next one's log says how much.
* The exit code is all that counts; the process goes on. One that ends without an answer ends that
  one message with the exit code of its own. What is not in the table above (another id, a second
  answer, an answer that nobody has waited for) has it killed, and the message says why.
* A message that has to end (time limit, memory, cancelled) ends the process: SIGTERM and the end of
  the requests, and after the grace SIGKILL. It may still answer in the meantime. The time until
  ``ready`` counts for the message for which the process was started.
* A process that is no longer needed reads the end of file, and gets SIGTERM two seconds later. It
  may end between two messages by itself, even when the next one was sent and nothing of that read.

Whatever ends, a new process takes the next message.
"""

import json
import re
from typing import Dict, Optional

LABEL = "org.abaco-bridge.reuse"  # of an image that is made for this; its value is "process"
REQUEST_FD, REPLY_FD = 4, 5  # of one digit: no other can be redirected in every shell
ENVIRONMENT = {"_abaco_request_fd": str(REQUEST_FD), "_abaco_reply_fd": str(REPLY_FD)}
MESSAGE_FILE = "/_abaco_message.sh"
JSON, SHELL = "json", "sh"
MAX_REPLY_BYTES = 512
_SHOWN = 80  # of what a process said

_DONE = re.compile(rb"done ([A-Za-z0-9_-]{1,128}) ([0-9]{1,3})\Z")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# A shell does not let these be set, or goes by them itself.
_SHELLS_OWN = frozenset(
    {"IFS", "OPTIND", "UID", "EUID", "GID", "EGID", "PPID", "ENV", "PS4", "SHELLOPTS", "BASHOPTS"}
)


def build_request(form: str, name: str, env: Dict[str, str]) -> bytes:
    """Return the line that asks for a message.

    Args:
        form: JSON or SHELL.
        name: the execution's id.
        env: the message's own variables.
    """
    line = name if form == SHELL else json.dumps({"id": name, "env": env}, separators=(",", ":"))
    return line.encode() + b"\n"


def build_script(env: Dict[str, str]) -> bytes:
    """Return the content of the file that a shell reads a message's variables from."""
    lines = [
        "export %s='%s'\n" % (name, value.replace("'", "'\\''"))
        for name, value in env.items()
        if _IDENTIFIER.match(name) and name not in _SHELLS_OWN and not name.startswith("BASH")
    ]
    return "".join(lines).encode("utf-8", "surrogatepass")


def parse_ready(line: bytes) -> Optional[str]:
    """Return the form that a process wants its requests in; None when that is not what it says."""
    return {b"ready json": JSON, b"ready sh": SHELL}.get(line)


def parse_done(line: bytes, name: str) -> Optional[int]:
    """Return the exit code of the message `name`; None when that is not what it says."""
    found = _DONE.match(line)
    if found is None or found.group(1) != name.encode() or int(found.group(2)) > 255:
        return None
    return int(found.group(2))


def explain(said: bytes, expected: str) -> str:
    """Return why a process was killed for what it said, for a person."""
    return "Killed: the actor's process said %s, expected %s." % (show(said), expected)


def show(said: bytes) -> str:
    """Return the beginning of what a process said, in quotes, for a person."""
    return repr(said[:_SHOWN].decode("utf-8", "replace"))
