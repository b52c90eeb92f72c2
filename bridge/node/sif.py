"""Whether the image's file is what the bridge put there: asked before every start.

The file belongs to the bridge's service user, or to the owner whose alone it is, and nobody else
may write it. Its digest is read once an array task, and again when anything about the file has
changed; in between a stat tells. What it costs was measured: 1.0 s for 500 MB, whose pages the
containers read afterwards anyway; a site whose images are too large for that leaves the digest out
(`image_check` of the cluster).
"""

import hashlib
import os
import stat
from typing import Dict, Optional, Tuple

_PIECE = 1 << 20
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_State = Tuple[int, ...]
_About = Tuple[str, Optional[int], Optional[str], int]
# What was found to be right, and in which state: of the process, so that slots inherit it.
_SEEN: Dict[_About, _State] = {}


class SifFile:
    """The file at `path`, as the bridge knows it.

    Args:
        path: where it is.
        size: bytes; None where the bridge does not know it.
        sha256: 64 hexadecimal digits; None for a digest that is not looked at.
        uid: the bridge's service user.
    """

    def __init__(self, path: str, size: Optional[int], sha256: Optional[str], uid: int) -> None:
        self._path = path
        self._size = size
        self._sha256 = sha256
        self._uid = uid
        self._about = (path, size, sha256, uid)

    def find_problem(self) -> Optional[str]:
        """Return why no container may be started of it, or None."""
        try:
            with open(self._path, "rb") as file:
                state = _state(file.fileno())
                if state == _SEEN.get(self._about):
                    return None
                problem = self._compare(os.fstat(file.fileno()))
                if problem is None and self._size is not None and self._sha256 is not None:
                    problem = self._hash(file.fileno())
                    if _state(file.fileno()) != state:
                        problem = "it is being written"
        except OSError as error:
            return "The image %s cannot be read on this node: %s." % (self._path, error.strerror)
        if problem is not None:
            return "The image %s is not what the bridge put there: %s." % (self._path, problem)
        _SEEN[self._about] = state
        return None

    def _compare(self, found: os.stat_result) -> Optional[str]:
        if not stat.S_ISREG(found.st_mode):
            return "it is not a regular file"
        if self._size is not None and found.st_size != self._size:
            return "it has %d bytes, expected %d" % (found.st_size, self._size)
        if found.st_uid not in (self._uid, os.geteuid()):
            return "it belongs to uid %d, expected %d" % (found.st_uid, self._uid)
        if found.st_mode & _WRITABLE_BY_OTHERS:
            return "others may write it (mode %04o)" % stat.S_IMODE(found.st_mode)
        return None

    def _hash(self, handle: int) -> Optional[str]:
        digest = hashlib.sha256()
        while True:
            piece = os.read(handle, _PIECE)
            if not piece:
                break
            digest.update(piece)
        if digest.hexdigest() != self._sha256:
            return "its SHA-256 is %s, expected %s" % (digest.hexdigest(), self._sha256)
        return None


def _state(handle: int) -> _State:
    found = os.fstat(handle)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
            found.st_mode, found.st_uid)  # fmt: skip
