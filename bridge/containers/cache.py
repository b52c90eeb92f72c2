"""The SIF cache: whole files, written under a temporary name and renamed, never written again.

The directory belongs to the bridge's service user: no user can write a SIF that another user runs.
Files are readable to all, but kept in a folder for each tenant that cannot be listed, under names
that cannot be guessed: what one tenant may pull says nothing to another. Whoever learns a path can
read the file, as long as the site lets other users see its processes' arguments. Images that need a
user's own login are not kept here at all (bridge.scheduler.images).

No file is ever replaced: a digest that is pulled anew gets a new name. So whatever an array was
given is what its workers find, and removing an old file cannot meet a new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bridge.containers.convert import convert_layout, free_bytes
from bridge.containers.download import download_layout, download_sif
from bridge.containers.http import Access
from bridge.containers.resolve import Resolved
from bridge.core.ids import new_token
from bridge.errors import ImageRefused, PullFailed

PIECE_BYTES = 1 << 20
_WORK = ".pull-"


@dataclass(frozen=True)
class Stored:
    """A SIF in its place: where, how long, and its SHA-256 as 64 hexadecimal digits."""

    path: str
    size_bytes: int
    sha256: str


class SifCache:
    """The cache in `root`, a directory of the service user's on the shared filesystem."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def work(self, about: str) -> Iterator[Path]:
        """Give an empty folder that nobody else can enter; it is gone afterwards.

        Args:
            about: the image, for what is said.

        Raises:
            PullFailed: with the reason: the disk is full, or whatever it says.
        """
        try:
            _open_up(self._root, 0o055)
            with tempfile.TemporaryDirectory(dir=self._root, prefix=_WORK) as folder:
                yield Path(folder)
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
            raise PullFailed(f"{about}: the image cache {self._root}: {what}.") from error

    def fetch(self, image: Resolved, access: Access, work: Path) -> Path:
        """Return the SIF of an image of a registry, made in `work`.

        Raises:
            ImageRefused, ImageUnknown, PullFailed: says why.
            OSError: the disk.
        """
        target = work / "image.sif"
        _require_space(work, 2 * image.size_bytes)
        if image.is_sif:
            download_sif(image, access, target)
            return target
        layout = work / "layout"
        unpacked = download_layout(image, access, layout)
        _require_space(work, unpacked + image.size_bytes)
        convert_layout(layout, target)
        shutil.rmtree(layout)
        return target

    def copy(self, source: BinaryIO, limit: int, work: Path) -> Path:
        """Return a copy of `source` in `work`.

        Raises:
            ImageRefused: it is longer than `limit`, though it is longer only since it is read.
            OSError: the disk.
        """
        target = work / "image.sif"
        size = os.fstat(source.fileno()).st_size
        if size <= limit:
            _require_space(work, size)
        written = 0
        with target.open("xb") as file:
            while piece := source.read(PIECE_BYTES):
                written += len(piece)
                if written > limit or size > limit:
                    raise ImageRefused(f"The image has over {limit} bytes: more than is allowed.")
                file.write(piece)
        return target

    def keep(self, tenant: str, part: Path) -> Stored:
        """Return the SIF `part`, which is whole, in its place in the tenant's folder."""
        folder = self._root / tenant
        folder.mkdir(0o711, exist_ok=True)
        _open_up(folder, 0o011)
        sha256, size = hash_file(part)
        path = folder / f"{sha256[:16]}-{new_token()}.sif"
        part.chmod(0o444)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.rename(part, path)  # noqa: PTH104 - one atomic step, said as such
        return Stored(str(path), size, sha256)

    def holds(self, path: str, size_bytes: int | None) -> bool:
        """Whether the file is there, of this length."""
        try:
            found = Path(path).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes

    def is_missing(self, path: str) -> bool:
        """Whether there is certainly no such file, though the cache itself is there."""
        try:
            Path(path).lstat()
        except FileNotFoundError:
            return self._root.is_dir() and Path(path).is_relative_to(self._root)
        except OSError:
            return False
        return False

    def remove(self, path: str) -> None:
        """Remove a file of the cache; may be repeated."""
        if Path(path).is_relative_to(self._root):
            Path(path).unlink(missing_ok=True)

    def strays(self, known: Collection[str], before: float) -> list[str]:
        """Return files and folders that nobody knows, last written before `before`.

        What a crash has left: half pulls, and whole files that were not recorded any more.

        Args:
            known: paths of images.
            before: seconds since 1970; younger ones may be about to be recorded.
        """
        found = list(self._root.glob(f"{_WORK}*")) + list(self._root.glob("*/*.sif"))
        return [
            str(path) for path in found if str(path) not in known and _written_at(path) < before
        ]

    def remove_stray(self, path: str) -> None:
        """Remove what `strays` has found."""
        target = Path(path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target, ignore_errors=True)
        else:
            self.remove(path)


def hash_file(path: Path) -> tuple[str, int]:
    """Return the SHA-256 and the length of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def _written_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _require_space(folder: Path, size_bytes: int) -> None:
    if free_bytes(folder) < size_bytes:
        raise OSError(errno.ENOSPC, "the disk is full")


def _open_up(path: Path, mode: int) -> None:
    """Make a directory that everybody's workers can use so, whatever this process's umask."""
    path.mkdir(parents=True, exist_ok=True)
    found = path.stat().st_mode
    if found & mode != mode:
        path.chmod(found & 0o7777 | mode)
