"""What a message does, the same for all: one image for each, all of the same layers.

The images are the digits classifier with another entrypoint, because an actor runs its image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.node.container import build_launch
from bridge.node.messages import Message
from bridge.node.spool import Array

BASE = "digits-classifier"
WORKDIR = "/opt/digits/work"
APPTAINER = "/usr/bin/apptainer"  # not the sandbox's wrapper, which counts and so costs


@dataclass(frozen=True)
class Workload:
    """One kind of message: its name in bench.json and the image's entrypoint."""

    name: str
    command: tuple[str, ...]
    texts: tuple[str, ...] = ("0",)


TRUE = Workload("true", ("/bin/true",))
SLEEP = Workload("sleep", ("/bin/sleep", "0.1"))
PYTHON = Workload("python", ("/usr/bin/python3", "-c", "pass"))
DIGITS = Workload("digits", ("/opt/digits/entrypoint.sh",))
WORKLOADS = (TRUE, PYTHON, DIGITS, SLEEP)


def build_line(
    sif: str, command: Sequence[str], binds: Sequence[tuple[str, str, str]]
) -> list[str]:
    """Return the command line that the bridge uses for one message, less its shim."""
    # Of what an array has, this is what the line is made of.
    known = {
        "apptainer": APPTAINER,
        "sif": sif,
        "command": list(command),
        "workdir": WORKDIR,
        "binds": list(binds),
        "environment": {},
    }
    array = Array(**{name: known.get(name) for name in Array._fields})
    launch = build_launch(array, Message(id="", env={}), {}, {}, [])
    words = [word.decode() for word in launch.argv]
    return words[: words.index(sif) + 1] + list(command)
