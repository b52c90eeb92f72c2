"""An actor's process that stays: asked a line at a time, and followed until it has answered."""

import fcntl
import os
import select
import socket
import struct
import termios
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Set, Tuple

from bridge.node import keeper
from bridge.node.capture import Capture
from bridge.node.container import Launch
from bridge.node.dialogue import MAX_REPLY_BYTES
from bridge.node.memory import MemoryWatch
from bridge.node.results import ResultsSocket
from bridge.node.signals import Signals
from bridge.node.starter import Ending
from bridge.node.usage import Usage, UsageOf

WATCH_EVERY_S = 1.0
END_OF_REQUESTS_S = 2.0  # from then to SIGTERM, for a process that is no longer needed
_READ_BYTES = 1 << 16
_LAST_READS = 64  # what a pipe can hold, and no more: somebody may go on writing into it
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; see unix(7)

Watch = Callable[[], Optional[Ending]]


class Answer(NamedTuple):
    """What came of a line."""

    line: Optional[bytes]  # what the process said, None when it ended without a word
    ending: Optional[Ending]  # why it had to end, if it had to


class Process:
    """A container whose program reads requests and writes answers.

    One socket serves both ways. It takes from the kernel who writes into it, so the process is
    known by its number on this node, whatever it is called in its container.
    """

    def __init__(self, launch: Launch, inbox: ResultsSocket, signals: Signals) -> None:
        self.inbox = inbox
        self.pid = 0
        self.is_over = False
        # Once it is closed: whether it read nothing of what was sent last.
        self.took_nothing = False
        self.used = Usage()  # of what messages have been told
        self._usage: Optional[UsageOf] = None
        self._signals = signals
        self._unsent = b""
        self._asked_bytes = 0
        self._said = b""
        self._extra_bytes = socket.CMSG_SPACE(_CREDENTIALS.size)
        self._output, output_write = os.pipe()
        self._marker, marker_write = os.pipe()
        self._line, self._theirs = socket.socketpair()
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        theirs = self._theirs.fileno()
        try:
            self.keeper, self._control = keeper.fork_keeper(
                launch, output_write, marker_write, (theirs, theirs)
            )
        except OSError:
            self._close_handles()
            raise
        finally:
            os.close(output_write)
            os.close(marker_write)
        for handle in (self._output, self._marker):
            os.set_blocking(handle, False)
        self._line.setblocking(False)
        self._poller = select.poll()
        for handle in (self._output, self._control.fileno(), self._line.fileno(), inbox.fileno()):
            self._poller.register(handle, select.POLLIN)
        self._poller.register(signals.fileno(), select.POLLIN)
        self._hears = True

    def look_up(self) -> Tuple[bool, int, bytes]:
        """Look what the process did while nobody asked.

        Returns:
            Whether its container has ended, the bytes that it wrote, and what it said.
        """
        ready = self._poll(0.0)
        nobody = Capture("", 0, 0)
        if self._output in ready:
            self._drain(nobody)
        if self._line.fileno() in ready:
            self._hear()
        return self._control.fileno() in ready, nobody.total_bytes, self._said

    def ask(self, line: bytes, log: Capture, memory: Optional[MemoryWatch], watch: Watch) -> Answer:
        """Send a line and follow the process until it has answered, or has ended.

        Args:
            line: what to send, with its newline; empty where the process speaks first.
            log: takes what it writes.
            memory: of its container.
            watch: called about once a second and after each signal; says when to end.
        """
        if self._said:  # before it was asked
            return Answer(self._said, None)
        self._unsent = line
        self._asked_bytes = len(line)
        self._send()
        watch_at = time.monotonic() + WATCH_EVERY_S
        while True:
            now = time.monotonic()
            ending = None
            if memory is not None and now >= memory.due_at and memory.is_over():
                ending = Ending("memory", 0.0, memory.sentence)
            elif now >= watch_at:
                watch_at = now + WATCH_EVERY_S
                ending = watch()
            if ending is not None:
                return Answer(self.end(ending.grace_s, log), ending)
            next_at = watch_at if memory is None else min(watch_at, memory.due_at)
            ready = self._poll(max(0.0, next_at - now))
            if self._signals.fileno() in ready:
                self._signals.clear()
                watch_at = 0.0
            said = self._take(ready, log)
            if said is not None or self.is_over:
                return Answer(said, None)

    def end(self, grace_s: float, log: Capture) -> Optional[bytes]:
        """Have the container ended and wait for it; return what the process still said."""
        self._end_requests()
        self._order(grace_s)
        return self._await_end(log, None)

    def dismiss(self, grace_s: float) -> None:
        """Tell the process that there is no more to do; end it if it does not go by itself."""
        nobody = Capture("", 0, 0)
        if not self.is_over:
            self._end_requests()
            self._await_end(nobody, time.monotonic() + END_OF_REQUESTS_S)
        if not self.is_over:
            self._order(grace_s)
            self._await_end(nobody, None)

    def settle(self, log: Capture) -> None:
        """Take what was written and sent before the answer that has come."""
        self._drain(log)
        self.inbox.drain()

    def read_usage(self) -> Usage:
        """Return what the process has used since the last call."""
        if self._usage is None:
            return Usage()
        now = self._usage.read()
        since = now.since(self.used)
        self.used = now
        return since

    def read_marker(self) -> bytes:
        """Return what came through the marker's descriptor."""
        try:
            return os.read(self._marker, 256).strip()
        except BlockingIOError:
            return b""

    def close(self) -> Dict[str, Any]:
        """Return the report on the container, which has ended; close what is open."""
        report = keeper.read_report(self._control, self.keeper)
        # A keeper that was killed cannot say that nobody is left to read.
        self.took_nothing = report["pid"] != self.keeper and not self._has_read()
        self._control.close()
        self._close_handles()
        self.inbox.close()
        if self._usage is not None:
            self._usage.close()
        os.waitpid(self.keeper, 0)
        return report

    def _close_handles(self) -> None:
        for handle in (self._output, self._marker):
            os.close(handle)
        self._line.close()
        self._theirs.close()

    def _has_read(self) -> bool:
        """Whether anything was read of the last line that was sent."""
        unread = bytearray(4)
        fcntl.ioctl(self._theirs.fileno(), termios.FIONREAD, unread)
        sent = self._asked_bytes - len(self._unsent)
        return int(struct.unpack("i", unread)[0]) < sent

    def _await_end(self, log: Capture, until: Optional[float]) -> Optional[bytes]:
        """Follow until the container has ended, or `until`; return what the process said first."""
        said: Optional[bytes] = None
        while not self.is_over:
            left_s = WATCH_EVERY_S if until is None else until - time.monotonic()
            if left_s <= 0:
                break
            ready = self._poll(left_s)
            if self._signals.fileno() in ready:
                self._signals.clear()
            heard = self._take(ready, log)
            said = heard if said is None else said
        return said

    def _poll(self, timeout_s: float) -> Set[int]:
        return {handle for handle, _ in self._poller.poll(timeout_s * 1000)}

    def _take(self, ready: Set[int], log: Capture) -> Optional[bytes]:
        """Take what has come; return the line that the process has said, if it has."""
        if self._output in ready and self._read_output(log) == 0:
            self._poller.unregister(self._output)
        if self.inbox.fileno() in ready:
            self.inbox.take()
        if self._line.fileno() in ready:
            self._send()
            self._hear()
        if self._control.fileno() in ready:
            self._hear()  # it may have answered and ended at once
            self.settle(log)
            self.is_over = True
        line, newline, rest = self._said.partition(b"\n")
        if newline:
            self._said = rest
            return line
        return line if len(line) > MAX_REPLY_BYTES else None

    def _hear(self) -> None:
        """Take what the process has said; from the first of it, who it is."""
        if not self._hears:
            return
        try:
            said, extra, _, _ = self._line.recvmsg(MAX_REPLY_BYTES, self._extra_bytes)
        except BlockingIOError:
            return
        if not said:
            # Not that it was closed, which cannot be seen as long as anybody has it: it was shut.
            self._hears = False
            self._poller.unregister(self._line)
            said = b"(end of file)\n"
        self._said = (self._said + said)[: 2 * MAX_REPLY_BYTES]  # more is too much in any case
        for _, kind, data in extra:
            if kind == socket.SCM_CREDENTIALS and self._usage is None:
                self.pid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
                self._usage = UsageOf(self.pid)
                self._extra_bytes = 0

    def _send(self) -> None:
        """Send what can be sent of the request now."""
        if self._unsent:
            try:
                self._unsent = self._unsent[self._line.send(self._unsent) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self._unsent = b""  # it reads no more; what it says, or how it ends, will tell
            self._listen()

    def _end_requests(self) -> None:
        self._line.shutdown(socket.SHUT_WR)
        self._unsent = b""
        self._listen()

    def _listen(self) -> None:
        if self._hears:
            events = select.POLLIN | select.POLLOUT if self._unsent else select.POLLIN
            self._poller.modify(self._line, events)

    def _order(self, grace_s: float) -> None:
        """Have the container ended; the keeper may have ended by itself meanwhile."""
        try:
            self._control.sendall(b"%f" % grace_s)
        except OSError:
            pass

    def _drain(self, log: Capture) -> None:
        for _ in range(_LAST_READS):
            if (self._read_output(log) or 0) < _READ_BYTES:
                return

    def _read_output(self, log: Capture) -> Optional[int]:
        """Take what there is of the log; return its length, 0 at its end, None for not now."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return None
        log.feed(data)
        return len(data)
