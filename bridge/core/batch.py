"""What an actor asks of Slurm beyond Abaco's fields: the `batch` object.

Every key is optional and stands for itself, in both cases of the API: nested keys are never spelled
in camel. What is not asked for is null, and then the site decides. What a site allows is its
own policy's to say; here only the form is judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bridge.core.fields import read_object

# One plain word, as an #SBATCH line takes it (bridge.launcher.filters), and never an option.
_WORD_FORM = r"[A-Za-z0-9_][A-Za-z0-9_./:@+=-]{0,63}"
_WORD = re.compile(rf"{_WORD_FORM}\Z")
_MOST = 2**31 - 1


def _number(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST:
            return value
        raise ValueError(f"expected an integer from {least}")

    return read


def _word(value: object) -> str:
    if not isinstance(value, str) or not _WORD.match(value):
        raise ValueError("expected one word of letters, digits and _ . / : @ + = -, up to 64")
    return value


# Numbers, with the least that each may be.
_NUMBERS = {
    "time_limit": 60,  # of an array task, seconds; Slurm counts in minutes
    "cpus": 1,  # of a worker, or of each task where there are several
    "memory": 1,  # of a worker, MiB
    "gpus": 0,  # of a worker
    "nodes": 1,  # of one message (MPI)
    "ntasks": 1,  # Slurm tasks of one message (MPI)
    "retries": 0,  # how often a message that the cluster lost is run again
}
# The way in which the actor's own process stays: the image has to be made for it.
PROCESS = "process"
_WORDS = (
    "partition",
    "account",
    "qos",
    "constraint",  # a node feature
    "reuse",  # how containers are started (design section 5)
    "cluster",  # which of the tenant's
)
_READERS: dict[str, Callable[[object], Any]] = {
    **{key: _number(least) for key, least in _NUMBERS.items()},
    **dict.fromkeys(_WORDS, _word),
}
KEYS = tuple(_READERS)
# The same for those who describe it: JSON schema, null standing for a key that is left out.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{
            key: {"type": "integer", "minimum": least, "maximum": _MOST, "nullable": True}
            for key, least in _NUMBERS.items()
        },
        **{
            key: {"type": "string", "pattern": f"^{_WORD_FORM}$", "nullable": True}
            for key in _WORDS
        },
    },
    "additionalProperties": False,
}


def parse_batch(value: object) -> dict[str, Any] | None:
    """Return the object with every key, null where it was not given; None where nothing was.

    Raises:
        ValueError: names the key, says what it was and what is expected.
    """
    sent = read_object(value)
    for key in sent:
        if key not in _READERS:
            raise ValueError(f"{key[:64]!r} is no key of it; expected {', '.join(KEYS)}.")
    batch: dict[str, Any] = dict.fromkeys(KEYS)
    for key, item in sent.items():
        if item is None:
            continue
        try:
            batch[key] = _READERS[key](item)
        except ValueError as error:
            raise ValueError(f"{key}: got {str(item)[:64]!r}, {error}.") from error
    nodes, ntasks = batch["nodes"] or 1, batch["ntasks"] or 1
    if nodes > ntasks:
        raise ValueError(
            f"nodes: got {nodes} with {ntasks} ntasks, expected a task for each node at least."
        )
    if batch["reuse"] == PROCESS and ntasks > 1:
        raise ValueError(
            f"reuse: got {PROCESS!r} with {ntasks} ntasks, expected 'none' or 'image': a process "
            "that stays serves one message at a time, and is no MPI program."
        )
    return batch if any(item is not None for item in batch.values()) else None
