"""Notes each actor that a worker executes by itself, beside the wrapper that notes Apptainer's.

Python on the compute nodes imports this when it starts. The interpreter tells of each program that
is about to be executed, so the count needs nothing of the bridge: a worker that makes a container
itself gives the actor its execution's id by that name, one that starts Apptainer by another.
"""

import os
import sys
import time
from pathlib import Path

LOG = "/var/log/apptainer-starts.log"
NAME = b"_abaco_execution_id"
EVENTS = ("os.exec", "os.posix_spawn")


def install() -> None:
    """Note from now on, if this is a worker."""
    if b"worker" not in Path("/proc/self/cmdline").read_bytes().split(b"\0"):
        return
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    noted: list[bytes] = []  # by this process: what is executed if the first way fails is the same

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event not in EVENTS or noted or not isinstance(arguments[2], dict):
            return
        execution = arguments[2].get(NAME)
        if execution is not None:
            noted.append(execution)
            os.write(log, b"%.9f %s\n" % (time.time(), execution))

    sys.addaudithook(note)


install()
