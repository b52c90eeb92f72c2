"""Asks Slurm through pyslurm, in a process of its own. Stands alone: nothing of the bridge in here.

pyslurm is GPL-2.0-only and wraps Slurm's C library, so it is loaded into no process of the bridge's
but here: the agent starts this text with ``python -I -c`` on the submit host, as the owner to act
and as the bridge's own user to ask. What goes wrong in the library ends this process alone. One
question is read from standard input and one line answers it, both JSON:

==========  ==========================  ========================================
do          with                        answer
==========  ==========================  ========================================
version                                 pyslurm, slurm: two versions
submit      job: fields of the          job_id
            JobSubmitDescription
states      names                       rows
accounting  names, since (Unix time)    rows
cancel      job_id, name, ended:
            states not to be cancelled
==========  ==========================  ========================================

or, for each, ``refused``: kind (import, slurm, description, denied), errno, said. Source: pyslurm
25.11. Runs on Python >= 3.6, as pyslurm does.
"""

import json
import os
import sys
from typing import Any, Callable, Dict, List, Optional

Request = Dict[str, Any]
Answer = Dict[str, Any]

# What starts while an array is cancelled has an id that was not listed yet.
ROUNDS = 4


def ask_version(pyslurm: Any, _: Request) -> Answer:
    """Return the release that pyslurm is of and the one that the controller is of."""
    return {
        "pyslurm": pyslurm.__version__,
        "slurm": pyslurm.slurmctld.Config.load().version,
    }


def submit(pyslurm: Any, request: Request) -> Answer:
    """Submit a batch job as whoever this process is."""
    try:
        return {"job_id": pyslurm.JobSubmitDescription(**request["job"]).submit()}
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        # It reads its fields before it sends anything; all that comes later is an RPCError.
        return _refusal("description", 0, "%s: %s" % (type(error).__name__, error))


def list_states(pyslurm: Any, request: Request) -> Answer:
    """Return the jobs of these names that the controller knows, hidden partitions included."""
    names = set(request["names"])
    jobs = pyslurm.Jobs.load().values()
    return {"rows": [_row(job, job.allocated_nodes) for job in jobs if job.name in names]}


def list_accounting(pyslurm: Any, request: Request) -> Answer:
    """Return the jobs of these names that the database knows; of each the latest run alone."""
    names = set(request["names"])
    wanted = pyslurm.db.JobFilter(names=sorted(names), start_time=request["since"])
    jobs = pyslurm.db.Jobs.load(wanted).values()
    return {"rows": [_row(job, job.nodelist) for job in jobs if job.name in names]}


def cancel(pyslurm: Any, request: Request) -> Answer:
    """Cancel every record of the job that has not ended, if it bears the name and is one's own.

    pyslurm cancels one record for one id: of an array those of its tasks that have started, and one
    for all that wait. Whether it went well is read from the list, as `Job.cancel` takes whatever
    errno was left behind for its own.
    """
    said: Optional[Answer] = None
    for left in reversed(range(ROUNDS)):
        there = [job for job in pyslurm.Jobs.load().values() if _is_meant(job, request)]
        if any(job.user_id != os.getuid() for job in there):
            return _refusal("denied", 0, "the job is another user's: permission denied")
        if not there:
            return {}
        for job in there if left else []:
            try:
                job.cancel()
            except pyslurm.RPCError as error:
                said = _refusal("slurm", error.errno, str(error))
    return said or {}


def _is_meant(job: Any, request: Request) -> bool:
    return (
        (job.array_id or job.id) == request["job_id"]
        and job.name == request["name"]
        and job.state not in request["ended"]
    )


def _row(job: Any, nodes: Optional[str]) -> List[Any]:
    """Return what `bridge.slurm.port.JobRow` has, in its order."""
    return [
        job.name,
        job.user_name,
        job.array_id or job.id,
        _index(job),
        job.state,
        "%d:%d" % (job.exit_code, job.exit_code_signal),
        job.state_reason or "",
        nodes or "",
    ]


def _index(job: Any) -> Optional[int]:
    """Return which array task it is; None for several that wait in one record.

    pyslurm has None for task 0 as well; that one has no list of tasks that wait.
    """
    if job.array_id is None or job.array_task_id is not None:
        return job.array_task_id  # type: ignore[no-any-return]
    waiting = job.array_tasks_waiting or "0"
    return int(waiting) if waiting.isdigit() else None


def _refusal(kind: str, errno: int, said: str) -> Answer:
    return {"refused": {"kind": kind, "errno": errno, "said": said}}


def _answer(request: Request) -> Answer:
    # What slurm_init says of the cluster is no fault of the import's.
    os.environ["PYSLURM_DISABLE_AUTO_INIT"] = "1"
    try:
        import pyslurm  # noqa: PLC0415 - that it cannot be imported is an answer, too
    except ImportError as error:
        return _refusal("import", 0, str(error))
    try:
        pyslurm.slurm_init()
        return _VERBS[request["do"]](pyslurm, request)
    except pyslurm.RPCError as error:
        return _refusal("slurm", error.errno, str(error))


_VERBS: Dict[str, Callable[[Any, Request], Answer]] = {
    "version": ask_version,
    "submit": submit,
    "states": list_states,
    "accounting": list_accounting,
    "cancel": cancel,
}


def main() -> None:
    """Answer the question on standard input; the library's own words go to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    answer = _answer(json.loads(sys.stdin.buffer.read().decode("utf-8")))
    with os.fdopen(answers, "wb") as target:
        target.write(json.dumps(answer).encode("ascii") + b"\n")


if __name__ == "__main__":
    main()
