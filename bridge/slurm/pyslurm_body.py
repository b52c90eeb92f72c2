"""What pyslurm is told: the fields of a job's description from its batch script. Pure.

pyslurm takes the script and does not read its ``#SBATCH`` lines by itself, so each becomes a field
here; a line that has none is refused, never dropped. Source: pyslurm 25.11,
``JobSubmitDescription``, and sbatch(1).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any

from bridge.slurm.directives import (
    ENVIRONMENT,
    Fill,
    count_field,
    fill_fields,
    no_environment,
    read_exclusive,
    read_mebibytes,
    read_minutes,
    read_open_mode,
    read_warning,
    text_field,
)

_NODES = re.compile(r"([1-9][0-9]*)(?:-([1-9][0-9]*))?\Z")
_GRES = re.compile(r"([A-Za-z][\w.-]*(?::[A-Za-z][\w.-]*)?)(?::([1-9][0-9]*))?\Z")


def build_description(script: str) -> dict[str, Any]:
    """Return the attributes of a ``JobSubmitDescription``.

    ``user_id`` and ``group_id`` are never among them: the process is the owner.

    Raises:
        SubmitRejected: the script asks for something that cannot be said to pyslurm.
    """
    job = fill_fields(script, _FIELDS, "pyslurm")
    _complete(job)
    # An empty environment would stand for all of the process's own.
    return {**job, "environment": dict(ENVIRONMENT), "script": script}


def _complete(job: dict[str, Any]) -> None:
    """Say what sbatch leaves open and pyslurm would take for one node, or for one task."""
    if "nodes" in job:
        job.setdefault("ntasks", job["nodes"]["min"])
    elif job.get("ntasks", 1) > 1:
        job["nodes"] = {"min": 1, "max": job["ntasks"]}


def _nodes(value: str) -> dict[str, Any]:
    match = _NODES.match(value)
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        raise ValueError("expected a number of nodes, or LEAST-MOST.")
    return {"nodes": {"min": int(match[1]), "max": int(match[2] or match[1])}}


def _gres(value: str) -> dict[str, Any]:
    """Give counts; pyslurm cannot read a resource that has none."""
    found: dict[str, int] = {}
    for one in value.split(","):
        match = _GRES.match(one)
        if match is None or match[1] in found:
            raise ValueError("expected NAME[:TYPE][:COUNT], each once.")
        found[match[1]] = int(match[2] or 1)
    return {"gres_per_node": found}


def _signal(value: str) -> dict[str, Any]:
    """Give the name as Python has it, which is what pyslurm knows."""
    name, before_s = read_warning(value)
    if not name.isdecimal():
        name = f"SIG{name.removeprefix('SIG')}"
        if name not in signal.Signals.__members__:
            raise ValueError("expected a signal that there is.")
    return {"signal": f"B:{name}@{before_s}"}


_FIELDS: Mapping[str, Fill] = {
    "account": text_field("account"),
    "array": text_field("array"),
    "chdir": text_field("working_directory"),
    "comment": text_field("comment"),
    "constraint": text_field("constraints"),
    "cpus-per-task": count_field("cpus_per_task"),
    "error": text_field("standard_error"),
    "exclusive": lambda value: {"resource_sharing": read_exclusive(value) or "exclusive"},
    "export": no_environment,
    "gres": _gres,
    "hold": lambda _: {"priority": 0},
    "job-name": text_field("name"),
    "licenses": text_field("licenses"),
    # As numbers: it takes neither minutes in a text nor less than one MiB.
    "mem": lambda value: {"memory_per_node": read_mebibytes(value)},
    "no-requeue": lambda _: {"is_requeueable": False},
    "nodes": _nodes,
    "ntasks": count_field("ntasks"),
    "open-mode": lambda value: {"log_files_open_mode": read_open_mode(value)},
    "output": text_field("standard_output"),
    "partition": text_field("partitions"),
    "qos": text_field("qos"),
    "requeue": lambda _: {"is_requeueable": True},
    "reservation": text_field("reservations"),
    "signal": _signal,
    "time": lambda value: {"time_limit": read_minutes(value)},
    "wckey": text_field("wckey"),
}
