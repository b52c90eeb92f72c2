"""File verbs of the agent: done as the user, suspicious of what lies in the user's directories.

The bridge reads what these return, so a name in a spool must not lead it to another file, hold it
up, or feed it another user's data (field.md 2.5): nothing is followed, a file counts only when it
is regular, the user's own and has no second name.
"""

import base64
import contextlib
import errno
import itertools
import os
import shutil
import stat
from typing import Any, Dict, List

from bridge.node.refusals import Refused

MAX_READ_BYTES = 32 << 20
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# So much of a draft is flushed at a time: the end of a large one shall not take long.
_FLUSH_BYTES = 32 << 20
_drafts = itertools.count(1)


class Draft:
    """A file under a temporary name: nobody sees it under its own before it is whole."""

    def __init__(self, path: str, mode: int) -> None:
        self._path = path
        directory, name = os.path.split(path)
        self._directory = directory or "."
        self._draft = os.path.join(
            directory, ".%s.%d.%d" % (name[:200], os.getpid(), next(_drafts))
        )
        self._unflushed = 0
        self._handle = os.open(self._draft, _WRITE_FLAGS, 0o600)
        try:
            os.fchmod(self._handle, mode)
        except BaseException:
            self.drop()
            raise

    def append(self, data: bytes) -> None:
        """Write more of it."""
        _write_all(self._handle, data)
        self._unflushed += len(data)
        if self._unflushed >= _FLUSH_BYTES:
            os.fsync(self._handle)
            self._unflushed = 0

    def finish(self, new: bool = False) -> None:
        """Flush it and give it its name; with `new`, a file that exists is not replaced.

        Raises:
            Refused: `new`, and the file exists.
        """
        os.fsync(self._handle)
        if new:
            _link(self._draft, self._path)
        else:
            os.rename(self._draft, self._path)
        self._close()
        _sync_directory(self._directory)

    def drop(self) -> None:
        """Leave nothing behind of one that was not finished; its owner may have removed it."""
        if self._handle >= 0:
            self._close()
            with contextlib.suppress(OSError):
                os.unlink(self._draft)

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        os.close(handle)


def put(path: str, data: bytes, mode: int, new: bool) -> None:
    """Write a file whole: nobody ever sees a part of it.

    With `new`, a file that exists is not replaced.

    Raises:
        Refused: `new`, and the file exists.
    """
    draft = Draft(path, mode)
    try:
        draft.append(data)
        draft.finish(new)
    except BaseException:
        draft.drop()
        raise


def _link(draft: str, path: str) -> None:
    """Give the draft its name unless something has it. The draft's own name goes."""
    try:
        os.link(draft, path, follow_symlinks=False)
    except FileExistsError as error:
        raise Refused("%s exists" % path) from error
    os.unlink(draft)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: str, offset: int, limit: int) -> Dict[str, Any]:
    """Return up to `limit` bytes from `offset`, and the file's size.

    Raises:
        Refused: it is a link, not a regular file, not the user's own or has a second name.
    """
    try:
        handle = os.open(path, _READ_FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise Refused("%s is not a regular file" % path) from error
        raise
    try:
        found = os.fstat(handle)
        _check(path, found)
        data = _read_all(handle, offset, min(limit, MAX_READ_BYTES))
    finally:
        os.close(handle)
    return {"data": base64.b64encode(data).decode(), "size": found.st_size}


def _check(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Refused("%s is not a regular file" % path)
    if found.st_uid != os.getuid():
        raise Refused("%s belongs to uid %d" % (path, found.st_uid))
    if found.st_nlink != 1:
        raise Refused("%s has %d names" % (path, found.st_nlink))


def _read_all(handle: int, offset: int, limit: int) -> bytes:
    pieces: List[bytes] = []
    while limit > 0:
        piece = os.pread(handle, min(limit, 1 << 20), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        limit -= len(piece)
    return b"".join(pieces)


def list_names(path: str, limit: int) -> Dict[str, Any]:
    """Return up to `limit` names of a directory in order, each with its kind and size."""
    entries = []
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = sorted(os.listdir(handle))
        for name in names[:limit]:
            try:
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except FileNotFoundError:
                continue
            entries.append({"name": name, "kind": _kind(found.st_mode), "size": found.st_size})
    finally:
        os.close(handle)
    return {"entries": entries, "cut": len(names) > limit}


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else "other"


def mkdir(path: str, mode: int, parents: bool) -> None:
    """Make a directory, or find that it is there and the user's own.

    Raises:
        Refused: something else has the name.
    """
    if parents:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        os.mkdir(path, mode)
    except FileExistsError as error:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise Refused("%s exists and is not a directory" % path) from error
        if found.st_uid != os.getuid():
            raise Refused("%s belongs to uid %d" % (path, found.st_uid)) from error
    else:
        os.chmod(path, mode)


def remove(path: str) -> None:
    """Remove a file or a whole directory; a link is removed, not followed."""
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)
