"""The journal of one worker: appended by it alone, renamed by the bridge to fence it off.

The file is opened anew for every write, by name and never created again: a worker that was fenced
off some time ago does not write down a start that will not come. Every write is flushed to the
disk, and so shown to others by a network filesystem; then the worker looks whether the file still
stands under its name.
"""

import json
import os
import time
from typing import Any, Dict

Record = Dict[str, Any]
# No record is longer: the bridge reads a journal in pieces of twice this, and passes over what it
# does not find the end of. The parts of a record are bounded for it: log, state, results.
MAX_LINE_BYTES = 1 << 20
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Fenced(Exception):
    """The bridge has taken this worker's journal away: it may start nothing any more."""


class Journal:
    """Appends records to ``journal/<worker>.jsonl``."""

    def __init__(self, directory: str, worker: str, *, is_torn: bool = False) -> None:
        """Name a worker's journal.

        Args:
            directory: of all journals.
            worker: the worker's name.
            is_torn: it may end within a line, as its writer was killed.
        """
        self._directory = directory
        self._name = worker + ".jsonl"
        self._torn = is_torn

    def create(self) -> None:
        """Create the empty journal.

        Raises:
            Fenced: it exists: another worker has this name, or the bridge has fenced this one off
                before it began.
        """
        path = os.path.join(self._directory, self._name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(path, flags, 0o600)
        except FileExistsError as error:
            raise Fenced("%s exists already" % path) from error
        os.close(handle)

    def write(self, *records: Record) -> None:
        """Append `records`, which are on the disk when this returns; one without `at` is of now.

        Raises:
            Fenced: the journal is gone from its name. What was written may or may not be read.
            OSError: the disk is full, the quota used up. The next write begins a line of its own.
        """
        now = time.time()
        lines = [_encode(dict(record, at=record.get("at", now))) for record in records]
        data = ("\n".join(lines) + "\n").encode()
        handle = self._open()
        try:
            self._append(handle, data)
            os.fsync(handle)
            self._check(handle)
        finally:
            os.close(handle)

    def check(self) -> None:
        """Raise `Fenced` when the journal is gone from its name."""
        handle = self._open()
        try:
            self._check(handle)
        finally:
            os.close(handle)

    def _check(self, handle: int) -> None:
        if not self._is_at_its_name(handle):
            raise Fenced("%s was renamed" % self._name)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(os.path.join(self._directory, self._name), flags)
        except FileNotFoundError as error:
            raise Fenced("%s was renamed" % self._name) from error

    def _append(self, handle: int, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        view = memoryview(data)
        self._torn = True
        while view:
            view = view[os.write(handle, view) :]
        self._torn = False

    def _is_at_its_name(self, handle: int) -> bool:
        """Whether the open file still stands under its name.

        The directory is opened for it: on NFS that asks the server whether the directory has
        changed, where a plain stat would be answered from the cache for seconds.

        Source: nfs(5), "Close-to-open cache consistency" and "Directory entry caching".
        """
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            there = os.stat(self._name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.close(directory)
        return os.path.samestat(there, os.fstat(handle))
