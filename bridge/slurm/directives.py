"""What a batch script asks for in its ``#SBATCH`` lines. Pure.

The rendered script is the one place that says what a job is; whatever does not read these lines
itself (slurmrestd, pyslurm, the fake) is told by way of this module. So a line that an
administrator adds to the template counts everywhere. Source: sbatch(1): lines count up to the first
that is no comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bridge.errors import SubmitRejected

# What a task gets besides Slurm's own variables where an empty environment is not taken.
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
Fill = Callable[[str], dict[str, Any]]
"""Gives the fields that a line's value stands for, or raises ValueError with what is expected."""

_TIME = re.compile(r"([0-9]+)-([0-9]{2}):([0-9]{2}):([0-9]{2})\Z")
_MEMORY = re.compile(r"([0-9]+)([KMGT]?)\Z")
_SIGNAL = re.compile(r"B:([A-Z0-9]+)@([0-9]+)\Z")
_MIB = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}
_DIRECTIVE = re.compile(r"#SBATCH\s+--([a-z][a-z-]*)(?:=(\S*))?\s*\Z")


def read_directives(script: str) -> dict[str, str]:
    """Return the options by their long names; the value of one that has none is empty.

    Raises:
        SubmitRejected: this is no script, or a line is not of the form ``--name`` or
            ``--name=value``.
    """
    first, *lines = script.splitlines() or [""]
    if not first.startswith("#!"):
        raise SubmitRejected("Slurm refused the submission: this is no batch script")
    found = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            break
        if not line.startswith("#SBATCH"):
            continue
        match = _DIRECTIVE.match(line)
        if match is None:
            raise SubmitRejected(
                f"The batch script has {line[:80]!r}; expected #SBATCH --name=value, unquoted."
            )
        found[match[1]] = match[2] or ""
    return found


def fill_fields(script: str, fields: Mapping[str, Fill], told_to: str) -> dict[str, Any]:
    """Return the fields that the script's lines stand for; `told_to` is who will read them.

    Raises:
        SubmitRejected: this is no script, or a line has no field: none is dropped.
    """
    job: dict[str, Any] = {}
    for name, value in read_directives(script).items():
        if name not in fields:
            raise SubmitRejected(
                f"The batch script has #SBATCH --{name}, which cannot be told to {told_to}; "
                f"what can be: {', '.join(sorted(fields))}."
            )
        try:
            job |= fields[name](value)
        except ValueError as error:
            raise SubmitRejected(
                f"The batch script has #SBATCH --{name}={value[:80]}; {error}"
            ) from error
    return job


def text_field(field: str) -> Fill:
    """Return what fills a field with the value as it is."""

    def fill(value: str) -> dict[str, Any]:
        if not value:
            raise ValueError("expected a value.")
        return {field: value}

    return fill


def count_field(field: str) -> Fill:
    """Return what fills a field with a number from 1 on."""

    def fill(value: str) -> dict[str, Any]:
        if not value.isdecimal() or int(value) < 1:
            raise ValueError("expected a number from 1 on.")
        return {field: int(value)}

    return fill


def no_environment(value: str) -> dict[str, Any]:
    """Fill nothing for ``--export=NIL``; nothing else can be had."""
    if value not in ("NIL", "NONE"):
        raise ValueError("expected NIL: in this way a job gets no variable of anybody's.")
    return {}


def read_minutes(value: str) -> int:
    """Return a time limit; Slurm keeps whole minutes, and rounds up as sbatch does."""
    match = _TIME.match(value)
    if match is None:
        raise ValueError("expected D-HH:MM:SS.")
    days, hours, minutes, seconds = (int(part) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes + (seconds > 0)


def read_mebibytes(value: str) -> int:
    """Return an amount of memory, MiB."""
    match = _MEMORY.match(value)
    if match is None or not int(match[1]):
        # 0 is sbatch's word for all of a node's: no amount, so it must not become the least one.
        raise ValueError("expected a number from 1 on with K, M, G or T.")
    return max(1, int(int(match[1]) * _MIB[match[2]]))


def read_warning(value: str) -> tuple[str, int]:
    """Return signal and seconds before the end, of a warning to the batch script alone."""
    match = _SIGNAL.match(value)
    if match is None:
        raise ValueError("expected B:SIGNAL@SECONDS.")
    return match[1], int(match[2])


def read_open_mode(value: str) -> str:
    """Return how a job's output is opened."""
    if value not in ("append", "truncate"):
        raise ValueError("expected append or truncate.")
    return value


def read_exclusive(value: str) -> str:
    """Return with whom a job may share its nodes, empty for nobody."""
    if value not in ("", "user", "mcs"):
        raise ValueError("expected no value, user or mcs.")
    return value
