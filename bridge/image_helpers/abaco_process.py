"""Take message after message in one process (Abaco Bridge, ``reuse=process``). Copy this file.

The label ``org.abaco-bridge.reuse=process`` says that an image can do this; its program is::

    import abaco_process

    model = load()  # once

    def classify():
        print(model(os.environ["MSG"]))

    abaco_process.serve(classify)

The function finds all as it would in a container of its own: the message's variables in
`os.environ`, ``/_abaco_binary_data``, ``/_abaco_state.json``, ``/_abaco_results.sock``. What it
returns is the exit code, None for 0; so is what it gives to `sys.exit`. An exception ends the
message with 1 and a traceback in its log; the process goes on. Whatever else it leaves behind (a
working directory, global variables, threads, files) is there for the next message.

Started for one message alone (``reuse=none`` or ``image``), the program serves that one and exits
with its code: one image for all.

Python 3.6 or later and the standard library alone.
"""

import json
import os
import sys
import traceback
from typing import Any, Callable, Dict, Iterator, NoReturn, Optional

REQUEST_FD, REPLY_FD = "_abaco_request_fd", "_abaco_reply_fd"


def serve(function: Callable[[], Any]) -> NoReturn:
    """Call `function` for each message and answer; ends the program when there are no more."""
    if REQUEST_FD not in os.environ:
        sys.exit(run(function))
    for message in messages():
        message.done(run(function))
    sys.exit(0)


def run(function: Callable[[], Any]) -> int:
    """Return the exit code of one call of `function`."""
    try:
        return exit_code(function())
    except SystemExit as ending:
        return exit_code(ending.code)
    except Exception:  # noqa: BLE001  # an edge: the next message is to be served
        traceback.print_exc()
        return 1


def exit_code(value: Any) -> int:
    """Return the exit code that a value stands for, as `sys.exit` has it."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 255
    sys.stderr.write("%s\n" % (value,))
    return 1


class Message:
    """One message: its id and its own variables. It ends with `done`."""

    def __init__(self, name: str, environment: Dict[str, str], reply: Optional[int]) -> None:
        self.id = name
        self.environment = environment
        self._reply = reply

    def done(self, code: int = 0) -> None:
        """Answer; what was printed until now is the message's log."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if self._reply is not None:
            os.write(self._reply, ("done %s %d\n" % (self.id, code)).encode())


def messages() -> Iterator[Message]:
    """Yield one message after another; each has to be `done` before the next is asked for.

    `os.environ` is that of the message. In a container of its own there is one, and nobody waits
    for its answer: the program's exit code counts.
    """
    if REQUEST_FD not in os.environ:
        yield Message(os.environ.get("_abaco_execution_id", ""), {}, None)
        return
    request, reply = int(os.environ.pop(REQUEST_FD)), int(os.environ.pop(REPLY_FD))
    for handle in (request, reply):
        os.set_inheritable(handle, False)  # a program that is started here has nothing to say
    before = dict(os.environb)
    os.write(reply, b"ready json\n")
    with os.fdopen(request, "rb") as lines:
        for line in lines:
            asked = json.loads(line.decode())
            set_environment(before, asked["env"])
            yield Message(asked["id"], asked["env"], reply)


def set_environment(before: Dict[bytes, bytes], own: Dict[str, str]) -> None:
    """Make `os.environ` that which was there `before`, with the message's own variables over it."""
    wanted = dict(before)
    for name, value in own.items():
        wanted[name.encode()] = value.encode("utf-8", "surrogatepass")
    for extra in set(os.environb) - set(wanted):
        del os.environb[extra]
    for key, content in wanted.items():
        if os.environb.get(key) != content:
            os.environb[key] = content
