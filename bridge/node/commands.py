"""The agent's verb `run`: a program with exactly the environment it is given."""

import os
import selectors
import signal
import subprocess
import time
from typing import Dict, List, NamedTuple, Optional

from bridge.node.refusals import TimedOut

_PIECE_BYTES = 1 << 16
_AFTER_END_S = 0.5  # for output still in the pipes; a daemon may hold them open for ever


class Completed(NamedTuple):
    """A command that ended; `exit_status` is 128 + n after signal n."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    cut: bool


class _Sink:
    """Keeps the first `limit` bytes of a stream and swallows the rest."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.cut = False
        self._limit = limit

    def feed(self, piece: bytes) -> None:
        room = self._limit - len(self.data)
        self.data += piece[:room]
        self.cut = self.cut or len(piece) > room


def run(
    argv: List[str], stdin: bytes, timeout_s: float, env: Dict[str, str], limit_bytes: int
) -> Completed:
    """Run a program in a session of its own and return what it printed.

    Raises:
        FileNotFoundError, PermissionError: the program cannot be run.
        TimedOut: it did not end in time; it and its process group were killed.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        start_new_session=True,
        bufsize=0,
    )
    with process:
        exchange = _Exchange(process, stdin, limit_bytes)
        try:
            in_time = exchange.until_end(time.monotonic() + timeout_s)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            exchange.close()
    if not in_time:
        raise TimedOut("%s did not end within %g s and was killed" % (argv[0], timeout_s))
    return exchange.completed()


class _Exchange:
    """Feeds a process and takes what it prints, without threads."""

    def __init__(self, process: "subprocess.Popen[bytes]", stdin: bytes, limit: int) -> None:
        self._process = process
        self._stdin = memoryview(stdin)
        self._selector = selectors.DefaultSelector()
        self._out, self._err = _Sink(limit), _Sink(limit)
        assert process.stdin
        assert process.stdout
        assert process.stderr
        os.set_blocking(process.stdin.fileno(), False)
        self._register(process.stdin.fileno(), selectors.EVENT_WRITE, None)
        self._register(process.stdout.fileno(), selectors.EVENT_READ, self._out)
        self._register(process.stderr.fileno(), selectors.EVENT_READ, self._err)

    def _register(self, handle: int, events: int, sink: Optional[_Sink]) -> None:
        self._selector.register(handle, events, sink)

    def until_end(self, deadline: float) -> bool:
        """Serve the process until it has ended; return whether that was in time."""
        ended_at: Optional[float] = None
        while self._selector.get_map():
            now = time.monotonic()
            if ended_at is None and self._process.poll() is not None:
                ended_at = now
            if ended_at is not None and now - ended_at > _AFTER_END_S:
                break
            if ended_at is None and now >= deadline:
                return False
            # A process may end and leave its pipes to others: that is looked for now and then.
            for key, _ in self._selector.select(min(0.1, max(0.0, deadline - now))):
                self._serve(key.fd, key.data)
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _serve(self, handle: int, sink: Optional[_Sink]) -> None:
        if sink is None:
            return self._feed(handle)
        piece = os.read(handle, _PIECE_BYTES)
        if piece:
            sink.feed(piece)
        else:
            self._selector.unregister(handle)
        return None

    def _feed(self, handle: int) -> None:
        try:
            self._stdin = self._stdin[os.write(handle, self._stdin[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._stdin = memoryview(b"")
        if not self._stdin:
            self._selector.unregister(handle)
            assert self._process.stdin
            self._process.stdin.close()

    def completed(self) -> Completed:
        """Return what became of it."""
        status = self._process.returncode
        return Completed(
            128 - status if status < 0 else status,
            bytes(self._out.data),
            bytes(self._err.data),
            self._out.cut or self._err.cut,
        )

    def close(self) -> None:
        self._selector.close()
