"""What is asked of slurmrestd: a job's description from its batch script. Pure.

slurmrestd takes the script and does not read its ``#SBATCH`` lines, so each becomes a field here; a
line that has none is refused, never dropped. Source: the OpenAPI document of slurmrestd,
``job_desc_msg`` (the same fields in v0.0.41 to v0.0.45), and sbatch(1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from bridge.errors import SubmitRejected
from bridge.slurm.directives import read_directives

# What a task gets besides Slurm's own variables: slurmctld refuses an empty environment.
ENVIRONMENT = ("PATH=/usr/local/bin:/usr/bin:/bin",)
_TIME = re.compile(r"([0-9]+)-([0-9]{2}):([0-9]{2}):([0-9]{2})\Z")
_MEMORY = re.compile(r"([0-9]+)([KMGT]?)\Z")
_SIGNAL = re.compile(r"B:([A-Z0-9]+)@([0-9]+)\Z")
_MIB = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}


def build_submission(script: str) -> dict[str, Any]:
    """Return the body of ``POST /slurm/{version}/job/submit``.

    Raises:
        SubmitRejected: the script asks for something that cannot be said to slurmrestd.
    """
    job: dict[str, Any] = {"environment": list(ENVIRONMENT)}
    for name, value in read_directives(script).items():
        if name not in _FIELDS:
            raise SubmitRejected(
                f"The batch script has #SBATCH --{name}, which cannot be told to slurmrestd; "
                f"what can be: {', '.join(sorted(_FIELDS))}."
            )
        try:
            job |= _FIELDS[name](value)
        except ValueError as error:
            raise SubmitRejected(
                f"The batch script has #SBATCH --{name}={value[:80]}; {error}"
            ) from error
    return {"script": script, "job": job}


def build_cancel_body(
    array_job_id: int, name: str, tasks: Collection[int] | None = None
) -> dict[str, Any]:
    """Return the body of ``DELETE /slurm/{version}/jobs/``.

    slurmctld compares the name itself, and with `tasks` the state of those array tasks too, so
    nothing happens between looking and acting.
    """
    if tasks is None:
        return {"jobs": [str(array_job_id)], "job_name": name}
    listed = ",".join(str(index) for index in sorted(tasks))
    return {"jobs": [f"{array_job_id}_[{listed}]"], "job_name": name, "job_state": ["PENDING"]}


def _text(field: str) -> Callable[[str], dict[str, Any]]:
    def fill(value: str) -> dict[str, Any]:
        if not value:
            raise ValueError("expected a value.")
        return {field: value}

    return fill


def _count(field: str) -> Callable[[str], dict[str, Any]]:
    def fill(value: str) -> dict[str, Any]:
        if not value.isdecimal() or int(value) < 1:
            raise ValueError("expected a number from 1 on.")
        return {field: int(value)}

    return fill


def _number(number: int) -> dict[str, Any]:
    """Return a number as Slurm's JSON has those that may be unset or infinite."""
    return {"set": True, "infinite": False, "number": number}


def _time(value: str) -> dict[str, Any]:
    match = _TIME.match(value)
    if match is None:
        raise ValueError("expected D-HH:MM:SS.")
    days, hours, minutes, seconds = (int(part) for part in match.groups())
    # Slurm keeps whole minutes, and rounds up as sbatch does.
    return {"time_limit": _number((days * 24 + hours) * 60 + minutes + (seconds > 0))}


def _memory(value: str) -> dict[str, Any]:
    match = _MEMORY.match(value)
    if match is None:
        raise ValueError("expected a number with K, M, G or T.")
    return {"memory_per_node": _number(max(1, int(int(match[1]) * _MIB[match[2]])))}


def _signal(value: str) -> dict[str, Any]:
    match = _SIGNAL.match(value)
    if match is None:
        raise ValueError("expected B:SIGNAL@SECONDS.")
    return {
        "kill_warning_flags": ["BATCH_JOB"],
        "kill_warning_signal": match[1],
        "kill_warning_delay": _number(int(match[2])),
    }


def _export(value: str) -> dict[str, Any]:
    if value not in ("NIL", "NONE"):
        raise ValueError("expected NIL: through slurmrestd a job gets no variable of anybody's.")
    return {}


def _open_mode(value: str) -> dict[str, Any]:
    if value not in ("append", "truncate"):
        raise ValueError("expected append or truncate.")
    return {"open_mode": [value.upper()]}


_FIELDS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "account": _text("account"),
    "array": _text("array"),
    "chdir": _text("current_working_directory"),
    "comment": _text("comment"),
    "constraint": _text("constraints"),
    "cpus-per-task": _count("cpus_per_task"),
    "error": _text("standard_error"),
    "export": _export,
    "gres": lambda value: {"tres_per_node": ",".join(f"gres/{one}" for one in value.split(","))},
    "hold": lambda _: {"hold": True},
    "job-name": _text("name"),
    "licenses": _text("licenses"),
    "mem": _memory,
    "no-requeue": lambda _: {"requeue": False},
    "nodes": _text("nodes"),
    "ntasks": _count("tasks"),
    "open-mode": _open_mode,
    "output": _text("standard_output"),
    "partition": _text("partition"),
    "qos": _text("qos"),
    "requeue": lambda _: {"requeue": True},
    "reservation": _text("reservation"),
    "signal": _signal,
    "time": _time,
    "wckey": _text("wckey"),
}
