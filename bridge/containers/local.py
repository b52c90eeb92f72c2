"""SIF files of the cluster, named by their path: opened without following a link.

What is below a `sif_directories` entry may belong to users. So each name on the way is opened by
itself, never through a link; nothing but a regular file is read, and only one that everybody on the
cluster may read anyway: the bridge's service user lends nobody its eyes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bridge.errors import ImageRefused, ImageUnknown


@contextmanager
def open_local(path: PurePosixPath, directories: Sequence[Path]) -> Iterator[BinaryIO]:
    """Give the file `path`, which is below one of `directories`, for reading.

    Raises:
        ImageRefused: it is not below one, or not a file that everybody may read.
        ImageUnknown: there is none, or the way there is through a link.
        OSError: the disk.
    """
    root = next((Path(one) for one in directories if path.is_relative_to(one)), None)
    if root is None or ".." in path.parts:
        raise ImageRefused(f"{path} is not below a directory whose SIF files may be run.")
    steps = path.relative_to(root).parts
    if not steps:
        raise ImageRefused(f"{path} is a directory of SIF files, not one of them.")
    with os.fdopen(_open(path, root, steps), "rb") as file:
        yield file


def _open(path: PurePosixPath, root: Path, steps: Sequence[str]) -> int:
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(step, flags, dir_fd=directory)
            os.close(directory)
            directory = deeper
            _check_open(path, directory, stat.S_IXOTH, "entered")
        # Not to hang on a FIFO that somebody has put there.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(steps[-1], flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENXIO):
            raise ImageUnknown(
                f"No such image: {path} ({error.strerror}). Links are not followed."
            ) from error
        raise
    finally:
        os.close(directory)
    try:
        _check_file(path, file)
    except ImageRefused:
        os.close(file)
        raise
    return file


def _check_file(path: PurePosixPath, handle: int) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise ImageRefused(f"{path} is not a regular file.")
    _check_open(path, handle, stat.S_IROTH, "read")


def _check_open(path: PurePosixPath, handle: int, mode: int, what: str) -> None:
    if not os.fstat(handle).st_mode & mode:
        raise ImageRefused(f"{path} cannot be {what} by everybody on the cluster.")
