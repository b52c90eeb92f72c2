"""What is asked of slurmrestd: a job's description from its batch script. Pure.

slurmrestd takes the script and does not read its ``#SBATCH`` lines, so each becomes a field here; a
line that has none is refused, never dropped. Source: the OpenAPI document of slurmrestd,
``job_desc_msg`` (the same fields in v0.0.41 to v0.0.45), and sbatch(1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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


def build_submission(script: str) -> dict[str, Any]:
    """Return the body of ``POST /slurm/{version}/job/submit``.

    Raises:
        SubmitRejected: the script asks for something that cannot be said to slurmrestd.
    """
    # slurmctld refuses an empty environment.
    environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    job = {"environment": environment, **fill_fields(script, _FIELDS, "slurmrestd")}
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


def _number(number: int) -> dict[str, Any]:
    """Return a number as Slurm's JSON has those that may be unset or infinite."""
    return {"set": True, "infinite": False, "number": number}


def _signal(value: str) -> dict[str, Any]:
    signal, before_s = read_warning(value)
    return {
        "kill_warning_flags": ["BATCH_JOB"],
        "kill_warning_signal": signal,
        "kill_warning_delay": _number(before_s),
    }


_FIELDS: Mapping[str, Fill] = {
    "account": text_field("account"),
    "array": text_field("array"),
    "chdir": text_field("current_working_directory"),
    "comment": text_field("comment"),
    "constraint": text_field("constraints"),
    "cpus-per-task": count_field("cpus_per_task"),
    "error": text_field("standard_error"),
    "exclusive": lambda value: {"shared": [read_exclusive(value) or "none"]},
    "export": no_environment,
    "gres": lambda value: {"tres_per_node": ",".join(f"gres/{one}" for one in value.split(","))},
    "hold": lambda _: {"hold": True},
    "job-name": text_field("name"),
    "licenses": text_field("licenses"),
    "mem": lambda value: {"memory_per_node": _number(read_mebibytes(value))},
    "no-requeue": lambda _: {"requeue": False},
    "nodes": text_field("nodes"),
    "ntasks": count_field("tasks"),
    "open-mode": lambda value: {"open_mode": [read_open_mode(value).upper()]},
    "output": text_field("standard_output"),
    "partition": text_field("partition"),
    "qos": text_field("qos"),
    "requeue": lambda _: {"requeue": True},
    "reservation": text_field("reservation"),
    "signal": _signal,
    "time": lambda value: {"time_limit": _number(read_minutes(value))},
    "wckey": text_field("wckey"),
}
