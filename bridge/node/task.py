"""One array task from its start to its end: join, work, leave."""

import functools
import os
import socket
import sys
from typing import Dict, List, Mapping, NamedTuple, Optional, Type

from bridge.node import processes
from bridge.node.deadline import Deadline
from bridge.node.identity import Identity, read_identity
from bridge.node.journal import Fenced, Journal
from bridge.node.lookout import Lookout
from bridge.node.names import worker_id
from bridge.node.points import reached
from bridge.node.sif import SifFile
from bridge.node.signals import Signals
from bridge.node.slots import FAILED, FENCED, LEFT, Slots
from bridge.node.spool import Array, Spool, SpoolError
from bridge.node.start_image import Loan, StartImage
from bridge.node.start_mpi import StartMpi
from bridge.node.start_none import StartNone
from bridge.node.start_process import StartProcess
from bridge.node.starter import StarterError
from bridge.node.worker import Worker

_STARTERS: Dict[str, Type[StartNone]] = {"image": StartImage, "process": StartProcess}


def run_task(root: str, environ: Mapping[str, str]) -> int:
    """Be the worker of the spool at `root`, or several; return the exit status.

    0: it left as it should. 2: it could not work or could not go on. 3: it was fenced off. Of
    several workers the worst counts.
    """
    signals = Signals()
    signals.install()
    processes.become_subreaper()
    _keep_descriptors()
    spool = Spool(root)
    try:
        array = spool.read_array()
        task = read_identity(environ)
        workers = [task.worker(index) for index in array.workers_of(task.task)]
        if not spool.take_ownership(task.array_job, workers[0].name):
            # Nothing is written: workers of these names belong to the array job that owns it.
            _say("the array belongs to another array job than %d" % task.array_job)
            return LEFT
        reached("owned")
        shared = _Shared(spool, array, Lookout(is_shared=len(workers) > 1))
    except (SpoolError, OSError) as error:
        _say(str(error))
        return FAILED
    if len(workers) == 1:
        return shared.work(workers[0], signals, environ)
    return _run_slots(shared, workers, signals, environ)


class _Shared(NamedTuple):
    """What the workers of an array task have in common."""

    spool: Spool
    array: Array
    lookout: Lookout
    loan: Optional[Loan] = None

    def work(self, worker: Identity, signals: Signals, environ: Mapping[str, str]) -> int:
        """Be one of them; return the exit status."""
        try:
            self._join(worker, signals, environ)
        except Fenced as error:
            _say("fenced off: %s" % error)
            return FENCED
        except (SpoolError, StarterError, OSError) as error:
            _say(str(error))
            return FAILED
        return LEFT

    def _join(self, identity: Identity, signals: Signals, environ: Mapping[str, str]) -> None:
        spool, array, lookout, loan = self
        deadline = Deadline(environ, array.time_limit_s, array.max_run_time_s)
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
        if loan is not None and isinstance(starter, StartImage):
            starter.borrow(loan, identity.number)
        starter.tell = functools.partial(_tell_fall_back, journal)
        try:
            starter.prepare()
            Worker(spool, array, identity, journal, starter, signals, deadline, lookout).work()
        except StarterError as error:
            journal.write({"t": "left", "why": "broken", "error": str(error), "remaining": []})
            raise
        finally:
            starter.close()


def _run_slots(
    shared: _Shared, workers: List[Identity], signals: Signals, environ: Mapping[str, str]
) -> int:
    """Run several workers, with all that may be done once for them; return the worst status."""
    spool, array = shared.spool, shared.array
    sif = SifFile(array.sif, array.sif_bytes, array.sif_sha256, array.sif_uid)
    # The digest takes a while, and workers know what was found before they are forked. Where there
    # is something wrong, they say so.
    may_lend = sif.find_problem() is None and _find_start(array) is StartImage
    lender = StartImage(array, spool, signals, {}, environ)
    try:
        if may_lend:
            shared = shared._replace(loan=lender.lend())
    except (StarterError, OSError) as error:  # each of them finds it out, and says so
        _say(str(error))
    try:
        return Slots(signals, spool.path("journal"), shared.work).run(workers, environ)
    finally:
        lender.close()


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
