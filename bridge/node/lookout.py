"""Which of the idle workers of an array task looks into the inbox: one for all of them.

Sixty idle slots of a node would ask a file server sixty times for the same directory. So each tries
to be the lookout, which costs a system call on the node, and only the one that is looks. It stops
when it has found something, and whoever tries next takes its place.
"""

import errno
import fcntl
import os
import tempfile
from typing import Optional


class Lookout:
    """The place, which one process at a time may have; it becomes free when that one ends.

    A lock of POSIX's kind is the process's own, though all have the file from the one that forked
    them.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        """Make it; where it is shared, before those who share it are forked.

        Raises:
            OSError: the node has no room for an empty file.
        """
        self._handle: Optional[int] = None
        if is_shared:
            self._handle, path = tempfile.mkstemp(prefix="bridge-lookout-")
            os.unlink(path)

    def take(self) -> bool:
        """Whether this process is the lookout now, or already was."""
        if self._handle is not None:
            try:
                fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:  # another is; or no locks can be had here, and all are
                return error.errno not in (errno.EACCES, errno.EAGAIN)
        return True

    def leave(self) -> None:
        """Let another be the lookout."""
        if self._handle is not None:
            try:
                fcntl.lockf(self._handle, fcntl.LOCK_UN)
            except OSError:
                pass
