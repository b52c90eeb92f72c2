"""The log of one execution: its head is kept, all of it is counted."""

import codecs
import os
from typing import Optional


class Capture:
    """Takes what the actor writes, as it comes.

    Up to `inline_bytes` stay in memory for the journal; a longer log goes to the file at `path`,
    from its beginning. Of what is beyond `limit_bytes` only the length is kept.
    """

    def __init__(self, path: str, inline_bytes: int, limit_bytes: int) -> None:
        self.total_bytes = 0
        self._path = path
        self._inline_bytes = inline_bytes
        self._limit_bytes = limit_bytes
        self._head = bytearray()
        self._kept_bytes = 0
        self._file: Optional[int] = None
        self._is_in_file = False
        self._shown_bytes = 0
        self._decoder: Optional[codecs.IncrementalDecoder] = None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self.total_bytes += len(data)
        room = self._limit_bytes - self._kept_bytes
        if room <= 0:
            return
        piece = data[:room]
        try:
            self._keep(piece)
        except OSError:
            # The disk is full or the quota used up: the actor need not suffer for its log.
            self._limit_bytes = self._kept_bytes
        else:
            self._kept_bytes += len(piece)

    def close(self) -> None:
        """Close the file; may be repeated."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def is_truncated(self) -> bool:
        """Whether something was left out."""
        return self.total_bytes > self._kept_bytes

    @property
    def text(self) -> Optional[str]:
        """The log, None when the file has it. A character that the limit cut in two is left out."""
        if self._is_in_file:
            return None
        if not self.is_truncated:
            return self._head.decode("utf-8", "replace")
        return codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._head))

    def read_news(self) -> str:
        """Return what was added to the head since the last call, in whole characters."""
        piece = bytes(self._head[self._shown_bytes :])
        self._shown_bytes += len(piece)
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return self._decoder.decode(piece)

    def _keep(self, piece: bytes) -> None:
        if not self._is_in_file and self._kept_bytes + len(piece) <= self._inline_bytes:
            self._head += piece
            return
        if self._file is None:
            self._file = self._open()
        self._write(piece if self._is_in_file else bytes(self._head) + piece)
        self._is_in_file = True
        self._head += piece[: max(0, self._inline_bytes - len(self._head))]

    def _open(self) -> int:
        if os.path.lexists(self._path):  # of an earlier attempt
            os.unlink(self._path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            assert self._file is not None
            view = view[os.write(self._file, view) :]
