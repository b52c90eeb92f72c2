"""`reuse=none`: one ``apptainer exec`` of the SIF for each message. The safest, and the slowest."""

import json
import os
import select
import shutil
import signal
import tempfile
import time
from typing import Any, Callable, Dict, Optional

from bridge.node import container, keeper, processes
from bridge.node.capture import Capture
from bridge.node.messages import Message
from bridge.node.signals import Signals
from bridge.node.spool import Array, Spool
from bridge.node.starter import RUNTIME_FAILED, Ending, Outcome, Starter, StarterError

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WATCH_EVERY_S = 1.0
_READ_BYTES = 1 << 16
_LAST_READS = 64  # what a pipe can hold, and no more: somebody may go on writing into it
_ERROR_CHARS = 2000


class StartNone(Starter):
    """Starts a fresh container of the image for each message."""

    def __init__(
        self, array: Array, spool: Spool, signals: Signals, own_env: Dict[str, str], path: str
    ) -> None:
        self._array = array
        self._spool = spool
        self._signals = signals
        self._own_env = own_env
        self._path = path or DEFAULT_PATH
        self._place = ""
        self._runtime_env: Dict[str, str] = {}

    def prepare(self) -> None:
        """Make the worker's own directory, local to the node, and find the runtime."""
        self._place = tempfile.mkdtemp(prefix="bridge-worker-")
        # The runtime sees nothing else of the host's environment. Its own settings come from the
        # site's configuration alone: nearly every option has a variable (field.md 2.4).
        self._runtime_env = {
            "PATH": self._path,
            "LANG": "C.UTF-8",
            "TMPDIR": self._place,
            "APPTAINER_CONFIGDIR": os.path.join(self._place, "config"),
            "APPTAINER_CACHEDIR": os.path.join(self._place, "cache"),
        }
        program = shutil.which(self._array.apptainer, path=self._path)
        if program is None:
            raise StarterError("%s is not on this node (%s)" % (self._array.apptainer, self._path))
        if not os.access(self._array.sif, os.R_OK):
            raise StarterError("The image %s cannot be read on this node" % self._array.sif)
        self._array = self._array._replace(apptainer=program)

    def run(self, message: Message, log: Capture, watch: Callable[[], Optional[Ending]]) -> Outcome:
        """Run one message in a container of its own."""
        problem = message.problem or (None if self._array.command else "The image has no command.")
        if problem:
            return Outcome(RUNTIME_FAILED, problem)
        data_file = self._write_data(message)
        launch = container.build_launch(
            self._array, message, self._own_env, self._runtime_env, data_file
        )
        run = _Run(launch, log)
        try:
            ended_by = run.follow(self._signals, watch)
            return run.conclude(self._array.command[0], ended_by)
        finally:
            run.close()

    def close(self) -> None:
        """Remove the worker's own directory."""
        if self._place:
            shutil.rmtree(self._place, ignore_errors=True)
            self._place = ""

    def _write_data(self, message: Message) -> str:
        """Return the file with a binary message, empty when there is none."""
        if message.in_file:
            return self._spool.path("payload", message.id)
        if message.data is None:
            return ""
        path = os.path.join(self._place, "data")
        with open(path, "wb") as file:
            file.write(message.data)
        return path


class _Run:
    """One container, from start to end."""

    def __init__(self, launch: container.Launch, log: Capture) -> None:
        self._log = log
        self._output, output_write = os.pipe()
        self._marker, marker_write = os.pipe()
        try:
            self._keeper, self._control = keeper.fork_keeper(launch, output_write, marker_write)
        finally:
            os.close(output_write)
            os.close(marker_write)
        os.set_blocking(self._output, False)
        os.set_blocking(self._marker, False)

    def follow(self, signals: Signals, watch: Callable[[], Optional[Ending]]) -> Optional[str]:
        """Take the log until the container has ended; return why it was ended, if it was.

        The end of the log is no end: the actor may have closed its output, and may have handed it
        to somebody else. What counts is the keeper's report.
        """
        poller = select.poll()
        for handle in (self._output, self._control.fileno(), signals.fileno()):
            poller.register(handle, select.POLLIN)
        ending: Optional[Ending] = None
        watch_at = time.monotonic() + WATCH_EVERY_S
        while True:
            if ending is None and time.monotonic() >= watch_at:
                ending = watch()
                watch_at = time.monotonic() + WATCH_EVERY_S
                if ending is not None:
                    self._order(ending.grace_s)
            ready = {handle for handle, _ in poller.poll(WATCH_EVERY_S * 1000)}
            if self._output in ready and self._take() == 0:
                poller.unregister(self._output)
            if signals.fileno() in ready:
                signals.clear()
                watch_at = 0.0
            if self._control.fileno() in ready:
                return ending.why if ending else None

    def conclude(self, command: str, ended_by: Optional[str]) -> Outcome:
        """Return what became of the container that has ended."""
        report = self._read_report()
        for _ in range(_LAST_READS):
            if not self._take():
                break
        status = int(report["status"])
        exit_code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        outcome = Outcome(
            exit_code=exit_code,
            ended_by=ended_by,
            pid=report["pid"],
            cpu_ns=report["cpu_ns"],
            max_rss_kib=report["max_rss_kib"],
            io_bytes=report["io_bytes"],
        )
        marker = self._read_marker()
        if marker == container.STARTED or ended_by:
            return outcome
        return outcome._replace(runtime_error=self._explain(marker, command, exit_code))

    def close(self) -> None:
        """Close what is open and wait for the keeper."""
        for handle in (self._output, self._marker):
            os.close(handle)
        self._control.close()
        os.waitpid(self._keeper, 0)

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

    def _read_report(self) -> Dict[str, Any]:
        """Return the keeper's report.

        A keeper that was killed makes none. What it kept has become the worker's (which is a
        subreaper for this) and is ended here.
        """
        pieces = []
        while True:
            try:
                piece = self._control.recv(4096)
            except ConnectionResetError:
                piece = b""
            if not piece:
                break
            pieces.append(piece)
        if pieces:
            return dict(json.loads(b"".join(pieces).decode()))
        processes.kill_all(os.getpid())
        unknown = {"cpu_ns": 0, "max_rss_kib": 0, "io_bytes": 0}
        return dict(unknown, pid=self._keeper, status=int(signal.SIGKILL))

    def _read_marker(self) -> bytes:
        try:
            return os.read(self._marker, 256).strip()
        except BlockingIOError:
            return b""

    def _explain(self, marker: bytes, command: str, exit_code: int) -> str:
        """Return why the actor never ran."""
        if marker == container.NOT_FOUND:
            return "command not found in the image: %s" % command
        if marker:
            return "The container runtime cannot be started: %s" % marker.decode("utf-8", "replace")
        said = (self._log.text or "").strip()
        fatal = [line[len("FATAL:") :].strip() for line in said.split("\n") if "FATAL:" in line]
        return (
            "\n".join(fatal)
            or said
            or "The container runtime ended with %d before the actor started." % exit_code
        )[:_ERROR_CHARS]
