"""A worker's own directory, local to the node, and those that killed workers left behind.

The directory of a worker that lives holds a locked file. The kernel drops the lock with the last
process that has it, keepers included, so a lock that can be had is a dead worker's.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time

_PREFIX = "bridge-worker-"
_LOCK = "lock"
_YOUNG_S = 3600.0  # a directory without a lock may be about to get it


class Place:
    """A directory for one worker, and for its containers' keepers."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix=_PREFIX)
        # It gets its name when it is locked: nobody ever sees it otherwise.
        draft = self.file("." + _LOCK)
        self._lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.rename(draft, self.file(_LOCK))

    def file(self, name: str) -> str:
        """Return the path of a name in it."""
        return os.path.join(self.path, name)

    def remove(self) -> None:
        """Remove it; may be repeated."""
        if self.path:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self.path = ""


def remove_stale_places() -> None:
    """Remove this user's directories whose worker is gone."""
    folder = tempfile.gettempdir()
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(_PREFIX) and _is_stale(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_stale(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    try:
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return False
        handle = os.open(os.path.join(path, _LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - found.st_mtime > _YOUNG_S
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
