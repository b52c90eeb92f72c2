"""One array task from its start to its end: join, work, leave."""

import functools
import os
import socket
import sys
from typing import Dict, Mapping, Type

from bridge.node import processes
from bridge.node.deadline import Deadline
from bridge.node.identity import Identity, read_identity
from bridge.node.journal import Fenced, Journal
from bridge.node.names import worker_id
from bridge.node.points import reached
from bridge.node.signals import Signals
from bridge.node.spool import Array, Spool, SpoolError
from bridge.node.start_image import StartImage
from bridge.node.start_mpi import StartMpi
from bridge.node.start_none import StartNone
from bridge.node.start_process import StartProcess
from bridge.node.starter import StarterError
from bridge.node.worker import Worker

LEFT, FAILED, FENCED = 0, 2, 3


_STARTERS: Dict[str, Type[StartNone]] = {"image": StartImage, "process": StartProcess}


def run_task(root: str, environ: Mapping[str, str]) -> int:
    """Be a worker of the spool at `root`; return the exit status.

    0: it left as it should. 2: it could not work or could not go on. 3: it was fenced off.
    """
    signals = Signals()
    signals.install()
    processes.become_subreaper()
    _keep_descriptors()
    try:
        return _join(Spool(root), read_identity(environ), signals, environ)
    except Fenced as error:
        _say("fenced off: %s" % error)
        return FENCED
    except (SpoolError, StarterError, OSError) as error:
        _say(str(error))
        return FAILED


def _join(spool: Spool, identity: Identity, signals: Signals, environ: Mapping[str, str]) -> int:
    array = spool.read_array()
    deadline = Deadline(environ, array.time_limit_s, array.max_run_time_s)
    if not spool.take_ownership(identity.array_job, identity.name):
        # Nothing is written: the worker of this name belongs to the array job that owns the array.
        _say("the array belongs to another array job than %d" % identity.array_job)
        return LEFT
    reached("owned")
    journal = Journal(spool.path("journal"), identity.name)
    journal.create()
    journal.write(
        {
            "t": "joined",
            "worker": identity.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job": identity.job,
            "array_job": identity.array_job,
        }
    )
    reached("joined")
    own = {"_abaco_worker_id": worker_id(array.array, identity.name)}
    starter = _find_start(array)(array, spool, signals, own, environ)
    starter.tell = functools.partial(_tell_fall_back, journal)
    try:
        starter.prepare()
        Worker(spool, array, identity, journal, starter, signals, deadline).work()
    except StarterError as error:
        journal.write({"t": "left", "why": "broken", "error": str(error), "remaining": []})
        raise
    finally:
        starter.close()
    return LEFT


def _find_start(array: Array) -> Type[StartNone]:
    if array.ntasks > 1:
        return StartMpi
    return _STARTERS.get(array.reuse, StartNone)


def _tell_fall_back(journal: Journal, why: str) -> None:
    _say("goes on with reuse=none: %s" % why)
    journal.write({"t": "fell_back", "to": "none", "why": why})


def _keep_descriptors() -> None:
    """Let no descriptor that the job came with reach a container: Apptainer passes them on."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:  # the one that listed the directory
                pass


def _say(text: str) -> None:
    sys.stderr.write("worker: %s\n" % text)
