"""`reuse=none`: one ``apptainer exec`` of the SIF for each message. The safest, and the slowest."""

import os
import select
import shutil
import socket
import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.node import container, keeper
from bridge.node.capture import Capture
from bridge.node.gpus import GPU_NAMES
from bridge.node.memory import MemoryWatch, OomCount
from bridge.node.messages import Message
from bridge.node.place import Place, remove_stale_places
from bridge.node.results import RESULTS_SOCKET, Results, ResultsSocket
from bridge.node.sif import SifFile
from bridge.node.signals import Signals
from bridge.node.spool import Array, Spool
from bridge.node.starter import KILLED, RUNTIME_FAILED, Ending, Outcome, Starter, StarterError
from bridge.node.state import STATE_FILE, read_state, write_state

WATCH_EVERY_S = 1.0
_READ_BYTES = 1 << 16
_LAST_READS = 64  # what a pipe can hold, and no more: somebody may go on writing into it
_ERROR_CHARS = 2000


class Kept(NamedTuple):
    """A container that runs."""

    keeper: int  # the process above it
    control: socket.socket  # the worker's end
    stays: bool = False  # whether the keeper outlives it


class StartNone(Starter):
    """Starts a fresh container of the image for each message."""

    def __init__(
        self,
        array: Array,
        spool: Spool,
        signals: Signals,
        own_env: Dict[str, str],
        environ: Mapping[str, str],
    ) -> None:
        self._array = array
        self._spool = spool
        self._signals = signals
        self._own_env = dict(own_env)
        self._environ = environ
        self._path = environ.get("PATH") or container.DEFAULT_PATH
        self._place: Optional[Place] = None
        self._runtime_env: Dict[str, str] = {}
        self._oom_count = OomCount()
        self._said = b""  # the last container's marker
        self._sif = SifFile(array.sif, array.sif_bytes, array.sif_sha256, array.sif_uid)

    def prepare(self) -> None:
        """Make the worker's own directory, local to the node, and find the runtime."""
        remove_stale_places()
        self._place = Place()
        # The runtime sees nothing else of the host's environment. Its own settings come from the
        # site's configuration alone: nearly every option has a variable (field.md 2.4).
        self._runtime_env = dict(
            container.runtime_places(self._place.path), PATH=self._path, LANG="C.UTF-8"
        )
        if self._array.gpus:
            names = (name for name in GPU_NAMES if name in self._environ)
            self._own_env.update((name, self._environ[name]) for name in names)
        self._array = self._array._replace(apptainer=self._find(self._array.apptainer))
        if not os.access(self._array.sif, os.R_OK):
            raise StarterError("The image %s cannot be read on this node" % self._array.sif)

    def run(
        self,
        message: Message,
        log: Capture,
        results: Results,
        watch: Callable[[], Optional[Ending]],
    ) -> Outcome:
        """Run one message in a container of its own."""
        problem = message.problem or (None if self._array.command else "The image has no command.")
        problem = problem or self._sif.find_problem() or find_missing(self._array.binds)
        if problem:
            return Outcome(RUNTIME_FAILED, problem)
        mounts = self._write_files(message)
        inbox = self._open_inbox(results)
        try:
            if inbox is not None:
                mounts.append((inbox.path, RESULTS_SOCKET, "ro"))
            outcome = self._run(message, mounts, log, inbox, watch)
        finally:
            if inbox is not None:
                inbox.close()
        if message.state is None or outcome.runtime_error is not None:
            return outcome
        state, note = read_state(self._file(message, "state"), message.state)
        return outcome._replace(state=state, notes=outcome.notes + ((note,) if note else ()))

    def close(self) -> None:
        """Remove the worker's own directory."""
        if self._place is not None:
            self._place.remove()

    def _find(self, program: str) -> str:
        """Return the path of a program.

        Raises:
            StarterError: it is not on this node.
        """
        path = shutil.which(program, path=self._path)
        if path is None:
            raise StarterError("%s is not on this node (%s)" % (program, self._path))
        return path

    def _file(self, message: Message, name: str) -> str:
        """Return where a file that is made for one message lies."""
        assert self._place is not None
        return self._place.file(name)

    def _open_inbox(self, results: Results) -> Optional[ResultsSocket]:
        assert self._place is not None
        return ResultsSocket(self._place.path, results)

    def _begin(
        self, message: Message, mounts: List[Tuple[str, str, str]], handles: List[int]
    ) -> Kept:
        launch = self._build_launch(message, mounts)
        output, marker = handles
        return Kept(*keeper.fork_keeper(launch, output, marker))

    def _build_launch(
        self, message: Message, mounts: List[Tuple[str, str, str]]
    ) -> container.Launch:
        return container.build_launch(
            self._array, message, self._own_env, self._runtime_env, mounts
        )

    def _watch_memory(self, keeper_pid: int) -> Optional[MemoryWatch]:
        limit_mib = self._array.memory_mib
        return MemoryWatch(limit_mib, keeper_pid) if limit_mib else None

    def _said_elsewhere(self, message: Message) -> bytes:
        """Return what came of the marker otherwise than through the descriptor."""
        return b""

    def _write_files(self, message: Message) -> List[Tuple[str, str, str]]:
        """Write what the container finds as files; return their mounts."""
        mounts = []
        if message.in_file:
            mounts.append((self._spool.path("payload", message.id), container.BINARY_DATA, "ro"))
        elif message.data is not None:
            path = self._file(message, "data")
            with open(path, "wb") as file:
                file.write(message.data)
            mounts.append((path, container.BINARY_DATA, "ro"))
        if message.state is not None:
            path = self._file(message, "state")
            write_state(path, message.state)
            mounts.append((path, STATE_FILE, "rw"))
        return mounts

    def _run(
        self,
        message: Message,
        mounts: List[Tuple[str, str, str]],
        log: Capture,
        inbox: Optional[ResultsSocket],
        watch: Callable[[], Optional[Ending]],
    ) -> Outcome:
        kills_before = self._oom_count.read()
        run = _Run(lambda handles: self._begin(message, mounts, handles), log, inbox)
        try:
            ending = run.follow(self._signals, watch, self._watch_memory(run.keeper))
            self._said = run.read_marker() or self._said_elsewhere(message)
            outcome = run.conclude(self._array.command[0], ending, self._said)
        finally:
            run.close()
        if self._oom_count.read() > kills_before and self._may_be_killed(outcome):
            note = "The kernel killed a process: the memory of the job was used up."
            return outcome._replace(oom_killed=True, notes=(*outcome.notes, note))
        return outcome

    def _may_be_killed(self, outcome: Outcome) -> bool:
        """Whether the kernel may have killed a process of this container.

        It counts for the job as a whole: where that has several workers, one whose container did
        not end that way has not lost any.
        """
        return self._array.slots == 1 or outcome.exit_code == KILLED


def find_missing(binds: List[Tuple[str, str, str]]) -> Optional[str]:
    """Return why one of the mounts cannot be made, as its owner should read it, None if all can.

    The runtime would say it in words of its own, and end as an actor may.
    """
    for source, target, _ in binds:
        try:
            os.stat(source)
        except OSError as error:
            return "%s of this node, which is to be mounted at %s, cannot be: %s." % (
                source,
                target,
                error.strerror,
            )
    return None


class _Run:
    """One container, from start to end."""

    def __init__(
        self,
        begin: Callable[[List[int]], Kept],
        log: Capture,
        inbox: Optional[ResultsSocket],
    ) -> None:
        self._log = log
        self._inbox = inbox
        self._watch_at = time.monotonic() + WATCH_EVERY_S
        self._output, output_write = os.pipe()
        self._marker, marker_write = os.pipe()
        try:
            self.keeper, self._control, self._stays = begin([output_write, marker_write])
        finally:
            os.close(output_write)
            os.close(marker_write)
        os.set_blocking(self._output, False)
        os.set_blocking(self._marker, False)

    def follow(
        self,
        signals: Signals,
        watch: Callable[[], Optional[Ending]],
        memory: Optional[MemoryWatch],
    ) -> Optional[Ending]:
        """Take log and results until the container has ended; return why it was ended, if it was.

        The end of the log is no end: the actor may have closed its output, and may have handed it
        to somebody else. What counts is the keeper's report.
        """
        poller = select.poll()
        for handle in (self._output, self._control.fileno(), signals.fileno()):
            poller.register(handle, select.POLLIN)
        inbox = -1 if self._inbox is None else self._inbox.fileno()
        if self._inbox is not None:
            poller.register(inbox, select.POLLIN)
        ending: Optional[Ending] = None
        while True:
            if ending is None:
                ending = self._reason_to_end(watch, memory)
                if ending is not None:
                    self._order(ending.grace_s)
            pause_s = WATCH_EVERY_S if ending else self._pause_s(memory)
            ready = {handle for handle, _ in poller.poll(pause_s * 1000)}
            if self._output in ready and self._take() == 0:
                poller.unregister(self._output)
            if self._inbox is not None and inbox in ready:
                self._inbox.take()
            if signals.fileno() in ready:
                signals.clear()
                self._watch_at = 0.0
            if self._control.fileno() in ready:
                return ending

    def _reason_to_end(
        self, watch: Callable[[], Optional[Ending]], memory: Optional[MemoryWatch]
    ) -> Optional[Ending]:
        now = time.monotonic()
        if memory is not None and now >= memory.due_at and memory.is_over():
            return Ending("memory", 0.0, memory.sentence)
        if now < self._watch_at:
            return None
        self._watch_at = now + WATCH_EVERY_S
        return watch()

    def _pause_s(self, memory: Optional[MemoryWatch]) -> float:
        next_at = self._watch_at if memory is None else min(self._watch_at, memory.due_at)
        return max(0.0, next_at - time.monotonic())

    def conclude(self, command: str, ending: Optional[Ending], marker: bytes) -> Outcome:
        """Return what became of the container that has ended.

        Args:
            command: the actor's program.
            ending: why it was ended, if it was.
            marker: what was said of the actor's start.
        """
        report = keeper.read_report(self._control, self.keeper)
        for _ in range(_LAST_READS):
            if not self._take():
                break
        if self._inbox is not None:
            self._inbox.drain()
        status = int(report["status"])
        exit_code = exit_code_of(status)
        outcome = Outcome(
            exit_code=exit_code,
            ended_by=ending.why if ending else None,
            pid=report["pid"],
            cpu_ns=report["cpu_ns"],
            max_rss_kib=report["max_rss_kib"],
            io_bytes=report["io_bytes"],
        )
        if ending is not None and ending.why == "memory":
            return outcome._replace(exit_code=KILLED, oom_killed=True, notes=(ending.note,))
        if marker == container.STARTED or ending is not None:
            return outcome
        return outcome._replace(runtime_error=explain(marker, command, exit_code, self._log))

    def close(self) -> None:
        """Close what is open and wait for the keeper, unless it stays."""
        for handle in (self._output, self._marker):
            os.close(handle)
        self._control.close()
        if not self._stays:
            os.waitpid(self.keeper, 0)

    def _order(self, grace_s: float) -> None:
        """Have the container ended; the keeper may have ended by itself meanwhile."""
        try:
            self._control.sendall(b"%f" % grace_s)
        except OSError:
            pass

    def _take(self) -> Optional[int]:
        """Take what there is of the log; return its length, 0 at its end, None for not now."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return None
        self._log.feed(data)
        return len(data)

    def read_marker(self) -> bytes:
        """Return what came through the marker's descriptor."""
        try:
            return os.read(self._marker, 256).strip()
        except BlockingIOError:
            return b""


def exit_code_of(status: int) -> int:
    """Return the exit code of a wait status: 128 and the number of the signal that killed it."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def explain(marker: bytes, command: str, exit_code: int, log: Capture) -> str:
    """Return why the actor never ran.

    Args:
        marker: what was said of its start.
        command: its program.
        exit_code: with which the runtime ended.
        log: what the runtime said.
    """
    if marker == container.NOT_FOUND:
        return "command not found in the image: %s" % command
    if marker.startswith(container.UNMADE):
        why = marker[len(container.UNMADE) :].decode("utf-8", "replace")
        return "The container cannot be made: %s" % why
    if marker:
        return "The container runtime cannot be started: %s" % marker.decode("utf-8", "replace")
    said = (log.text or "").strip()
    fatal = [line[len("FATAL:") :].strip() for line in said.split("\n") if "FATAL:" in line]
    return (
        "\n".join(fatal)
        or said
        or "The container runtime ended with %d before the actor started." % exit_code
    )[:_ERROR_CHARS]
