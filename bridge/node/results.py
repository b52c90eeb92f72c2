"""What a container sends to its results socket: taken as it comes, in order and bounded.

One datagram is one result (abaco_contract.md 5.3), of whatever length the kernel lets through. The
socket is the message's own: whatever should outlive its container cannot reach the next one's.
"""

import base64
import os
import socket
from typing import Any, Dict, List, Optional, Tuple

RESULTS_SOCKET = "/_abaco_results.sock"
LEAST_BYTES = 1024  # each result counts as so much at least, so that their number is bounded too
BATCH, BATCH_BYTES = 1000, 4 << 20  # of results in one record; one result alone may be longer
_BUFFER_BYTES = 1 << 20
_ROUND = 64  # datagrams at a time: there is more to look after
_LAST_ROUNDS = 1000  # far more than a socket's queue holds; a sender may be stuck, yet alive

Batch = Dict[str, Any]


class Results:
    """Keeps the results of one execution until a record of the journal tells of them.

    Up to `inline_bytes` travel in the journal; from the first on that would exceed this, they go to
    the file at `path`, one after another. What would exceed `limit_bytes` is not taken.
    """

    def __init__(self, path: str, inline_bytes: int, limit_bytes: int) -> None:
        self._path = path
        self._inline_left = inline_bytes
        self._left = limit_bytes
        self._inline: List[bytes] = []
        self._lengths: List[int] = []  # of those in the file that no record tells of yet
        self._buffer = bytearray()  # of the file's end
        self._offset = 0  # where the first of them begins
        self._is_in_file = self._is_file_made = False
        self._told = 0
        self._empty = 0
        self._refused = 0
        self._refused_bytes = 0
        self._problem = ""

    def room(self) -> int:
        """Return how long the next result may be."""
        return self._left if self._left >= LEAST_BYTES and not self._problem else 0

    def feed(self, data: bytes) -> None:
        """Take a result that is no longer than `room`."""
        if not data:
            # Whoever reads the queue would take it for the queue's end.
            self._empty += 1
            return
        self._left -= max(len(data), LEAST_BYTES)
        if not self._is_in_file and len(data) <= self._inline_left:
            self._inline_left -= len(data)
            self._inline.append(data)
            return
        self._is_in_file = True
        self._lengths.append(len(data))
        self._buffer += data
        if len(self._buffer) >= _BUFFER_BYTES:
            self._write()

    def refuse(self, length: int) -> None:
        """Count a result that was too long."""
        self._refused += 1
        self._refused_bytes += length

    def next_batch(self) -> Optional[Batch]:
        """Return what the next record says under `results`, None when all is told."""
        self._write()
        if self._inline:
            data = [base64.b64encode(one).decode() for one in self._inline[:BATCH]]
            return {"first": self._told, "data": data}
        lengths: List[int] = []
        left = BATCH_BYTES
        for length in self._lengths[:BATCH]:
            if lengths and length > left:
                break
            lengths.append(length)
            left -= length
        if not lengths:
            return None
        return {"first": self._told, "offset": self._offset, "lengths": lengths}

    def mark_told(self, batch: Batch) -> None:
        """Note that `batch` is in the journal."""
        if "data" in batch:
            count = len(batch["data"])
            del self._inline[:count]
        else:
            count = len(batch["lengths"])
            self._offset += sum(batch["lengths"])
            del self._lengths[:count]
        self._told += count

    @property
    def notes(self) -> Tuple[str, ...]:
        """What became of those that were not taken, for a person."""
        notes = []
        if self._empty:
            notes.append("Results that were empty and are left out: %d." % self._empty)
        if self._refused:
            notes.append(
                "Results that were not taken: %d (%d bytes); %s."
                % (
                    self._refused,
                    self._refused_bytes,
                    self._problem or "an execution's results may take so much and no more",
                )
            )
        return tuple(notes)

    def _write(self) -> None:
        """Bring the buffer to the file; what it cannot take is not told of."""
        if not self._buffer:
            return
        try:
            self._append()
        except OSError as error:  # the disk is full or the quota used up
            self._problem = "results/ cannot be written: %s" % error.strerror
            lost = len(self._buffer)
            while lost > 0:
                length = self._lengths.pop()
                self.refuse(length)
                lost -= length
        self._buffer.clear()

    def _append(self) -> None:
        """Write and close: a network filesystem shows it to others then."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        if not self._is_file_made:
            if os.path.lexists(self._path):  # of an earlier attempt
                os.unlink(self._path)
            flags |= os.O_CREAT | os.O_EXCL
        handle = os.open(self._path, flags, 0o600)
        self._is_file_made = True
        try:
            view = memoryview(bytes(self._buffer))
            while view:
                view = view[os.write(handle, view) :]
        finally:
            os.close(handle)


class ResultsSocket:
    """The socket of one message, in a directory that only its user can enter."""

    def __init__(self, directory: str, results: Results) -> None:
        self._results = results
        self.path = os.path.join(directory, "results.sock")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # The address of a socket has room for 108 bytes, a path may be longer.
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.bind("/proc/self/fd/%d/results.sock" % handle)
        finally:
            os.close(handle)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to take."""
        return self._socket.fileno()

    def take(self) -> bool:
        """Take some of what has come; return whether there may be more."""
        for _ in range(_ROUND):
            try:
                length = self._socket.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
                fits = length <= self._results.room()
                data = self._socket.recv(length if fits and length else 1)
            except BlockingIOError:
                return False
            if fits:
                self._results.feed(data)
            else:
                self._results.refuse(length)
        return True

    def hand_over(self, results: Results) -> int:
        """Let what comes from now on be another execution's; return how many are nobody's."""
        strays = 0
        while strays < _LAST_ROUNDS * _ROUND:
            try:
                self._socket.recv(1)
            except BlockingIOError:
                break
            strays += 1
        self._results = results
        return strays

    def drain(self) -> None:
        """Take the rest: whoever sent it has ended."""
        for _ in range(_LAST_ROUNDS):
            if not self.take():
                return

    def close(self) -> None:
        """Close the socket and remove its name."""
        self._socket.close()
        os.unlink(self.path)
