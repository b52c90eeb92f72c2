"""A stand-in for the module pyslurm 25.11, for `bridge.slurm.pyslurm_program` to load in tests.

It stands for what that program uses of the documented interface (JobSubmitDescription, Job.cancel,
Jobs.load, db.JobFilter, db.Jobs.load, slurmctld.Config, slurm_init, RPCError), and for what the
sources of 25.11.2 were seen to do beyond it: task 0 has the array_task_id None as a job that is no
array; an empty environment means all of the process's own; Job.cancel ends one record and takes the
errno that was left behind for its own. No Slurm is behind it: ``cluster.json`` beside the module
has the jobs, what shall go wrong, and what was asked for. Whether Slurm 25.11 takes what is put
together here, only a cluster can tell.
"""

import json
import os
import pwd
import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

_FILE = Path(__file__).with_name("cluster.json")
_CLUSTER = json.loads(_FILE.read_text())
# Records in this state have ended, so that slurmctld says ESLURM_ALREADY_DONE.
_OVER = {"COMPLETED", "CANCELLED", "FAILED"}

__version__ = _CLUSTER.get("pyslurm", "25.11.2")

if "missing" in _CLUSTER:
    raise ImportError(_CLUSTER["missing"])


class PyslurmError(Exception):
    pass


class RPCError(PyslurmError):
    def __init__(self, errno=-1, msg=None):
        self.errno, self.msg = errno, msg
        super().__init__(msg)


def _save():
    _FILE.write_text(json.dumps(_CLUSTER))


def _go_wrong(call):
    """Do what the test wants to happen in the C library at this call."""
    wrong = _CLUSTER.get("wrong", {}).get(call)
    if wrong == "crash":
        os.abort()
    if wrong == "fatal":
        sys.stderr.write("fatal: Could not establish a configuration source\n")
        sys.stderr.flush()
        os._exit(1)
    if wrong == "chatter":
        os.write(1, b"slurm_load: {debug}\n")
    elif wrong:
        raise RPCError(*wrong)


def slurm_init():
    _go_wrong("init")


# Those that become a C string as they are, and what they are called there.
_TEXTS = {
    "name": "name", "account": "account", "wckey": "wckey", "array": "array_inx",
    "comment": "comment", "working_directory": "work_dir", "constraints": "features", "qos": "qos",
    "standard_output": "std_out", "standard_error": "std_err", "licenses": "licenses",
    "partitions": "partition", "reservations": "reservation",
}  # fmt: skip
# ... and the others that are looked at here; anything else would not be told to anybody.
_OTHERS = (
    "cpus_per_task", "environment", "gres_per_node", "group_id", "is_requeueable",
    "log_files_open_mode", "memory_per_node", "nodes", "ntasks", "priority", "resource_sharing",
    "script", "signal", "time_limit", "user_id",
)  # fmt: skip
_SHARED = {None: None, "exclusive": 0, "user": 2, "mcs": 3}
_OPEN_MODES = {"append": 1, "truncate": 2}
_JOB_BATCH = 1  # KILL_JOB_BATCH
_PERHAPS = {None: None, True: 1, False: 0}


class JobSubmitDescription:
    __slots__ = (*_TEXTS, *_OTHERS)

    def __init__(self, **kwargs):
        for name, value in kwargs.items():
            setattr(self, name, value)

    def submit(self):
        told = self._describe()
        _go_wrong("submit")
        _CLUSTER.setdefault("submitted", []).append(told)
        _save()
        return 4711

    def _get(self, name):
        return getattr(self, name, None)

    def _describe(self):
        """Return the fields of Slurm's job_desc_msg_t that are set."""
        script = self._get("script")
        if not script or not script.startswith("#!") or "\r\n" in script or "\0" in script:
            raise ValueError("Not a valid batch script.")
        told = {c_name: self._get(name) for name, c_name in _TEXTS.items()}
        for value in told.values():
            if not isinstance(value, str | None):
                raise TypeError(f"expected str, got {value!r}")
        told["min_nodes"], told["max_nodes"] = _node_range(self._get("nodes"))
        told |= {
            "script": script,
            "user_id": self._get("user_id"),
            "group_id": self._get("group_id"),
            "priority": _uint(self._get("priority"), zero=0),
            "num_tasks": _uint(self._get("ntasks") or 1),
            "cpus_per_task": _uint(self._get("cpus_per_task") or 1),
            "time_limit": _minutes(self._get("time_limit")),
            "pn_min_memory": _uint(_mebibytes(self._get("memory_per_node"))),
            "tres_per_node": _resources(self._get("gres_per_node")),
            "open_mode": _OPEN_MODES.get(self._get("log_files_open_mode")),
            "shared": _SHARED[self._get("resource_sharing")],
            "requeue": _PERHAPS[self._get("is_requeueable")],
            "environment": _environment(self._get("environment") or "ALL"),
            **_warning(self._get("signal")),
        }
        return {name: value for name, value in told.items() if value is not None}


def _uint(value, zero=None):
    if value is None or value == 0:
        return zero if value == 0 else None
    if isinstance(value, str) and not value.isdigit():
        raise TypeError("an integer is required")
    return int(value)


def _minutes(value):
    if isinstance(value, str) and value.isdigit():
        raise TypeError("an integer is required")  # it hands such a text on to C as it is
    return value


def _mebibytes(value):
    if isinstance(value, str) and not value.isdigit():
        number, unit = re.fullmatch(r"([0-9.]+)([KMGT])", value).groups()
        return round(float(number) * {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1 << 20}[unit])
    return value


def _node_range(value):
    if value is None:
        return 1, 1
    if isinstance(value, dict):
        return value.get("min", 1), value.get("max", 1)
    least, _, most = str(value).partition("-")
    return int(least) or 1, int(most or least)


def _resources(value):
    if not value:
        return None
    if isinstance(value, str):
        pairs = (one.rsplit(":", 1) for one in value.replace("gres:", "").split(","))
        value = {name: int(count) for name, count in pairs}  # a ValueError where there is no count
    return ",".join(f"gres:{name}:{int(count)}" for name, count in value.items())


def _warning(value):
    if not value:
        return {}
    flags, _, rest = value.rpartition(":")
    name, _, before_s = rest.partition("@")
    try:
        number = int(name) if name.isnumeric() else signal.Signals[name].value
    except KeyError:
        raise ValueError(f"Invalid Signal: {name}.") from None
    told = {"warn_signal": number, "warn_time": int(before_s or 60)}
    return {**told, "warn_flags": _JOB_BATCH} if "b" in flags.casefold() else told


def _environment(value):
    if not isinstance(value, dict):
        return dict(os.environ)
    slurm = {name: text for name, text in os.environ.items() if name.startswith("SLURM_")}
    return {**slurm, **value}


class _Record:
    """What both kinds of jobs have; `record` has the values of Slurm's C structure."""

    def __init__(self, record):
        self._record = record
        self.id = record["job_id"]
        self.name = record["name"]
        self.user_id = record["user_id"]
        self.state = record["state"]
        self.array_id = record.get("array_job_id") or None
        self.array_task_id = record.get("array_task_id") or None  # 0 as none
        self.array_tasks_waiting = record.get("array_task_str", "").partition("%")[0] or None
        self.exit_code, self.exit_code_signal = record.get("exit", [0, 0])
        self.state_reason = record.get("reason", "None")

    @property
    def user_name(self):
        try:
            return pwd.getpwuid(self.user_id).pw_name
        except KeyError:
            return str(self.user_id)


class Job(_Record):
    @property
    def allocated_nodes(self):
        return self._record.get("nodes") or None

    def cancel(self):
        _go_wrong("cancel")
        _CLUSTER.setdefault("cancelled", []).append(self.id)
        if self._record["state"] in _OVER:
            return
        if _CLUSTER.get("starting"):  # a task starts meanwhile, with an id that nobody has seen
            _CLUSTER["jobs"].append(_CLUSTER["starting"].pop())
        self._record["state"] = "COMPLETING" if self._record.get("nodes") else "CANCELLED"
        _save()
        if "stale_errno" in _CLUSTER:
            raise RPCError(*_CLUSTER["stale_errno"])


class _DbJob(_Record):
    @property
    def nodelist(self):
        return self._record.get("nodes", "None assigned")


class _Collection:
    """The part of MultiClusterMap that is used: one job for one id."""

    def __init__(self, jobs):
        self.data = {"cluster": {job.id: job for job in jobs}}

    def values(self):
        return [job for jobs in self.data.values() for job in jobs.values()]


class Jobs(_Collection):
    @staticmethod
    def load(preload_passwd_info=False, frozen=False):
        _go_wrong("load")
        return Jobs(Job(record) for record in _CLUSTER.get("jobs", []))


class _JobFilter:
    __slots__ = ("names", "start_time")

    def __init__(self, **kwargs):
        for name, value in kwargs.items():
            setattr(self, name, value)


class _DbJobs(_Collection):
    @staticmethod
    def load(db_filter=None, db_connection=None):
        _go_wrong("accounting")
        _CLUSTER["asked"] = [db_filter.names, db_filter.start_time]
        _save()
        records = _CLUSTER.get("accounted", [])
        return _DbJobs(_DbJob(record) for record in records if record["name"] in db_filter.names)


class _Config:
    @staticmethod
    def load():
        _go_wrong("config")
        return SimpleNamespace(version=_CLUSTER.get("slurm", "25.11.4"))


db = SimpleNamespace(JobFilter=_JobFilter, Jobs=_DbJobs, Job=_DbJob)
slurmctld = SimpleNamespace(Config=_Config)

if not os.environ.get("PYSLURM_DISABLE_AUTO_INIT"):
    slurm_init()
