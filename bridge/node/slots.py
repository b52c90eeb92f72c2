"""An array task with several workers: one process for each slot, and one that waits for them.

Each worker is the same as one that has its array task to itself, with its own name, journal and
claims, so that fencing, orders and harvesting know nothing of slots. It is a process of its own
since all that starts containers is written for one at a time. What they share is done once, before
they are forked: who owns the array, the digest of the image, its template (`reuse=image`).

A slot that is killed does not end the others; the bridge would learn of it only when the whole task
ends, so its last record is written here, once it is certain that it writes no more, and that its
container has ended: a message with `retries` may start again as soon as this is read.
"""

import os
import signal
import sys
import time
import traceback
from typing import Callable, Dict, List, Mapping, Sequence, Set, Tuple

from bridge.node import processes
from bridge.node.cpus import divide_cpus, read_topology
from bridge.node.gpus import divide_gpus
from bridge.node.identity import Identity
from bridge.node.journal import Fenced, Journal
from bridge.node.keeper import STUCK_S
from bridge.node.signals import Signals

LEFT, FAILED, FENCED = 0, 2, 3  # exit statuses of a worker
# What a killed worker leaves is ended by its keeper (bridge.node.keeper), within this time.
ORPHANS_S = 5.0
LOOK_S = 0.05
Work = Callable[[Identity, Signals, Mapping[str, str]], int]
_HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU, signal.SIGCHLD)


class Slots:
    """The slots of one array task."""

    def __init__(self, signals: Signals, journals: str, work: Work) -> None:
        """Take what the workers have in common.

        Args:
            signals: of the whole task.
            journals: the directory where their journals are.
            work: what a worker does; it returns an exit status.
        """
        self._signals = signals
        self._journals = journals
        self._work = work
        self._running: Dict[int, str] = {}  # the workers' names, by process id
        self._dead: Dict[str, Tuple[str, str]] = {}  # by name: why, and what to say
        self._kill_at = 0.0
        self._others: Set[int] = set()  # children that are no workers
        self._worst = LEFT

    def run(self, workers: Sequence[Identity], environ: Mapping[str, str]) -> int:
        """Run the workers to their end; return the worst status.

        Args:
            workers: of this task, a slot for each.
            environ: of the task; each worker gets one with its own part of the GPUs.
        """
        allowed = os.sched_getaffinity(0)
        cpus = divide_cpus(allowed, len(workers), read_topology(allowed))
        gpus = divide_gpus(environ, len(workers))
        self._others = set(processes.list_children(os.getpid()))
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # so that it wakes up
        for number, worker in enumerate(workers):
            self._fork(worker, cpus[number], dict(environ, **gpus[number]))
        is_told = False
        while self._running or self._dead:
            self._signals.wait(LOOK_S if self._dead else None)
            if self._signals.has_come and not is_told:
                is_told = True
                for pid in self._running:
                    processes.send(pid, signal.SIGTERM)
            self._reap()
            is_stuck = time.monotonic() >= self._kill_at + STUCK_S
            if self._dead and (is_stuck or not self._find_orphans()):
                self._bury()
        return self._worst

    def _fork(self, worker: Identity, cpus: Set[int], environ: Mapping[str, str]) -> None:
        """Start a worker; signals are held back until it has handlers of its own."""
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(parent, worker, cpus, environ)
        except OSError as error:  # no process, no memory: the others do without it
            _say("no worker %s: %s" % (worker.name, error))
            self._worst = max(self._worst, FAILED)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        self._running[pid] = worker.name

    def _be_worker(
        self, parent: int, worker: Identity, cpus: Set[int], environ: Mapping[str, str]
    ) -> None:
        """Be one worker and exit; never returns into the code of the one that waits."""
        status = FAILED
        try:
            processes.end_with_parent()
            processes.become_subreaper()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signals = Signals()
            signals.install()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
            _pin(worker, cpus)
            if os.getppid() == parent:
                status = self._work(worker, signals, environ)
        except BaseException:  # noqa: BLE001  # an edge: the other's frames are above this one
            traceback.print_exc(file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        """Wait for the workers that have ended; other processes are not touched."""
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._conclude(self._running.pop(pid), status)

    def _conclude(self, name: str, status: int) -> None:
        """Note how a worker has ended, and whether it has said so itself."""
        if os.WIFSIGNALED(status):
            dead = "killed", "the worker was killed by signal %d" % os.WTERMSIG(status)
        elif os.WEXITSTATUS(status) in (LEFT, FENCED):
            self._worst = max(self._worst, os.WEXITSTATUS(status))
            return
        else:
            dead = "broken", "the worker ended with %d" % os.WEXITSTATUS(status)
        _say("%s: %s" % (name, dead[1]))
        self._worst = max(self._worst, FAILED)
        self._dead[name] = dead
        self._kill_at = time.monotonic() + ORPHANS_S

    def _find_orphans(self) -> List[int]:
        """Return what dead workers have left to this process; end it when time is up."""
        found = []
        for pid in processes.list_children(os.getpid()):
            is_known = pid in self._running or pid in self._others
            if not is_known and os.waitpid(pid, os.WNOHANG)[0] == 0:
                found.append(pid)
                if time.monotonic() >= self._kill_at:
                    processes.send(pid, signal.SIGKILL)
        return found

    def _bury(self) -> None:
        """Write the last records of the workers that are dead."""
        while self._dead:
            name, (why, error) = self._dead.popitem()
            journal = Journal(self._journals, name, is_torn=True)
            try:
                journal.write({"t": "left", "why": why, "error": error, "remaining": []})
            except (Fenced, OSError) as failure:  # never joined, fenced off, or no disk
                _say("%s: nothing written: %s" % (name, failure))


def _pin(worker: Identity, cpus: Set[int]) -> None:
    """Keep a worker, and all that it starts, on its CPUs; where they were taken away, go on."""
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        _say("%s is not pinned: %s" % (worker.name, error))


def _say(text: str) -> None:
    sys.stderr.write("slots: %s\n" % text)
