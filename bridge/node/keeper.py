"""The keeper: one process for each container, which starts it, ends it and leaves nothing behind.

It is the subreaper of all that the runtime starts (SIGKILL to Apptainer leaves ``squashfuse_ll``
behind, field.md 5.2), so it can wait for every one, and what it has waited for is what this one
message used: rusage of its children, and their I/O, which the kernel adds to the parent that reaps
them. It ends its container when its worker is gone, and lives no longer than that, but for the one
that makes a worker's containers one after another (bridge.node.forge).

Between the two is a socket pair: the worker sends the seconds of grace to have the container ended;
the keeper sends one report and exits. The end of the stream tells either that the other is dead.
"""

import fcntl
import functools
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from bridge.node import processes
from bridge.node.container import MARKER_FD, Launch

END_GRACE_S = 3.0  # Slurm's own grace may be as short as 5 s (KillWait), and there is more to do
LEFTOVER_GRACE_S = 1.0  # for what a container leaves behind
STUCK_S = 30.0  # a process that sleeps in the kernel (a dead file server) does not even die of KILL
_KILL_AGAIN_S = 0.05
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU, signal.SIGCHLD)
_AT_START = {signal.SIGPIPE, signal.SIGXFSZ}  # Python ignores these, its children must not


# Starts a container from within its keeper and returns the process to wait for. It is given the
# descriptors for stdout and stderr, for the marker, and whatever others there are.
Start = Callable[[List[int]], int]


def fork_keeper(
    launch: Launch, output: int, marker: int, others: Sequence[int] = ()
) -> Tuple[int, socket.socket]:
    """Start a keeper for the container runtime; return its process id and our end of its socket.

    Args:
        launch: what is started.
        output: what it has as stdout and stderr.
        marker: what it has as descriptor 3.
        others: what it has as descriptors 4, 5 and so on; one may come twice.
    """
    return fork_keeper_of(functools.partial(spawn_runtime, launch), [output, marker, *others])


def fork_keeper_of(start: Start, handles: List[int]) -> Tuple[int, socket.socket]:
    """Start a keeper for what `start` starts; return its process id and our end of its socket.

    Signals are held back meanwhile: one that came between fork and the keeper's own handlers
    would be told to the worker's.
    """
    ours, theirs = socket.socketpair()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _be_keeper(start, handles, ours, theirs)
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()
    return pid, ours


def read_report(control: socket.socket, keeper: int) -> Dict[str, Any]:
    """Return the report of a keeper whose container has come to its end.

    A keeper that was killed makes none. What it kept has become the worker's (which is a subreaper
    for this) and is ended here.
    """
    pieces = []
    while True:
        try:
            piece = control.recv(4096)
        except ConnectionResetError:
            piece = b""
        if not piece:
            break
        pieces.append(piece)
    if pieces:
        return dict(json.loads(b"".join(pieces).decode()))
    processes.kill_all(os.getpid())
    unknown = {"cpu_ns": 0, "max_rss_kib": 0, "io_bytes": 0}
    return dict(unknown, pid=keeper, status=int(signal.SIGKILL))


def _be_keeper(
    start: Start, handles: List[int], ours: socket.socket, theirs: socket.socket
) -> None:
    """Keep one container and exit; never returns into the worker's code."""
    try:
        ours.close()
        os.setsid()
        processes.become_subreaper()
        theirs.sendall(Keeper().keep(start, handles, theirs))
        os._exit(0)
    except BaseException:  # noqa: BLE001  # an edge: the worker's frames are above this one
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(1)


class Keeper:
    """Keeps one container, or one after another; this process's signals and children are its own.

    Made while `SIGNALS` are held back, which it lets come.
    """

    def __init__(self) -> None:
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._forget()

    def _forget(self) -> None:
        """Know nothing of a container before."""
        self._asked = False
        self._pid = 0
        self._status: Optional[int] = None
        self._cpu_s, self._max_rss_kib = 0.0, 0
        self._kill_at: Optional[float] = None
        self._give_up_at: Optional[float] = None

    def _on_signal(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:
            self._asked = True

    def keep(self, start: Start, handles: List[int], control: socket.socket) -> bytes:
        """Start a container, wait until it and all it left behind have ended; return the report."""
        self._control = control
        self._forget()
        io_before = _read_io_bytes()
        self._pid = start(handles)
        for handle in set(handles):
            os.close(handle)
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._control.fileno(), select.POLLIN)
        while self._reap() and not self.is_stuck():
            self._press_on()
            for handle, _ in poller.poll(self._timeout_ms()):
                if handle == self._wake:
                    os.read(self._wake, 512)
                elif self._read_order():
                    poller.unregister(self._control.fileno())
        report = {
            "pid": self._pid,
            "status": signal.SIGKILL if self._status is None else self._status,
            "cpu_ns": int(self._cpu_s * 1e9),
            "max_rss_kib": self._max_rss_kib,
            "io_bytes": max(0, _read_io_bytes() - io_before),
        }
        return json.dumps(report).encode()

    def is_stuck(self) -> bool:
        """Whether something of the last container does not even die of SIGKILL."""
        return self._give_up_at is not None and time.monotonic() >= self._give_up_at

    def _reap(self) -> bool:
        """Wait for what has ended; return whether anything is left."""
        try:
            while True:
                # What a process used includes those that it has waited for itself.
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self._cpu_s += usage.ru_utime + usage.ru_stime
                self._max_rss_kib = max(self._max_rss_kib, usage.ru_maxrss)
                if pid == self._pid:
                    self._status = status
        except ChildProcessError:
            return False

    def _read_order(self) -> bool:
        """Read the worker's order to end; return whether it was the last: the worker is gone."""
        data = self._control.recv(64)
        self._end(float(data) if data else END_GRACE_S)
        return not data

    def _end(self, grace_s: float) -> None:
        """Ask the container to end, and see to it after `grace_s`.

        Only the runtime is asked: it passes the signal on to the actor and tidies up after it. It
        would pass SIGCONT on too, and then may name that one as the end of the actor (146 for 143);
        an actor that has stopped itself ends with SIGKILL after the grace.
        """
        if self._kill_at is None:
            processes.send(self._pid, signal.SIGTERM)
            self._kill_at = time.monotonic() + grace_s

    def _press_on(self) -> None:
        """Do what time has come for."""
        if self._asked and self._status is None:
            # Slurm signals every process of a job when its time is over.
            self._end(END_GRACE_S)
        if self._status is not None and self._kill_at is None:
            processes.terminate_all(os.getpid())
            self._kill_at = time.monotonic() + LEFTOVER_GRACE_S
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            processes.kill_all(os.getpid())
            self._kill_at = time.monotonic() + _KILL_AGAIN_S
            self._give_up_at = self._give_up_at or time.monotonic() + STUCK_S

    def _timeout_ms(self) -> Optional[float]:
        if self._kill_at is None:
            return None
        return max(0.0, self._kill_at - time.monotonic()) * 1000


def spawn_runtime(launch: Launch, handles: List[int]) -> int:
    """Start the runtime with an empty stdin.

    The first of `handles` becomes stdout and stderr, the second descriptor 3, and so on.
    """
    pid = os.fork()
    if pid != 0:
        return pid
    marker = handles[1]
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # Out of the way first: one of them may have the number that another is to get.
        above = MARKER_FD + len(handles)
        moved = [fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, above) for handle in handles]
        output, *numbered = moved
        marker = numbered[0]
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number, handle in enumerate(numbered, MARKER_FD):
            os.dup2(handle, number)
        for number in _AT_START:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(launch.argv[0], launch.argv, launch.env)  # noqa: S606  # no shell is wanted
    except OSError as error:
        os.write(marker, str(error.strerror).encode())
    finally:
        os._exit(255)


def _read_io_bytes() -> int:
    """Return what this process and the children it reaped have read and written, 0 if unknown.

    Source: proc_pid_io(5); a kernel without CONFIG_TASK_IO_ACCOUNTING has no such file.
    """
    try:
        with open("/proc/self/io", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return 0
    counts = dict(line.split(b": ") for line in lines if line)
    return int(counts[b"rchar"]) + int(counts[b"wchar"])
