"""The SIF cache: one file a digest, written under a temporary name and renamed.

The directory belongs to the bridge's service user and is readable to all: no user can write a SIF
that another user runs. It is kept apart by tenant, so that what one tenant may pull says nothing to
another. Pulling happens in a child process (bridge.containers.pull), because spython ends the whole
process on a bad reference and changes the environment (facts.md).
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bridge.containers.registry import Resolved
from bridge.errors import PullFailed

PULL_TIMEOUT_S = 1800.0
_SIF_MAGIC = b"SIF_MAGIC"  # at offset 32 of the launch script's page, see the SIF specification


class SifCache:
    """The cache in `root`, a directory of the service user's on the shared filesystem."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, tenant: str, image: Resolved) -> Path:
        """Return where the SIF of this digest is, or will be."""
        digest = (image.reference.digest or "").removeprefix("sha256:")
        return self._root / tenant / f"{digest}.sif"

    def ensure(self, tenant: str, image: Resolved, *, plain_http: bool) -> Path:
        """Return the SIF, pulled if it is not there yet.

        Raises:
            PullFailed: with the reason: the disk is full, or what the pull said.
        """
        path = self.path(tenant, image)
        if path.is_file():
            return path
        try:
            _make_readable_folder(self._root)
            _make_readable_folder(path.parent)
            self._check_space(image)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pull-") as folder:
                part = Path(folder) / "image.sif"
                self._pull(image, part, plain_http=plain_http)
                part.chmod(0o444)
                os.rename(part, path)  # noqa: PTH104 - one atomic step, said as such
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
            raise PullFailed(f"{image.reference}: the image cache {self._root}: {what}.") from error
        return path

    def _check_space(self, image: Resolved) -> None:
        status = os.statvfs(self._root)
        free = status.f_bavail * status.f_frsize
        if free < 2 * image.size_bytes:
            raise OSError(errno.ENOSPC, "the disk is full")

    def _pull(self, image: Resolved, part: Path, *, plain_http: bool) -> None:
        with tempfile.TemporaryDirectory(dir=part.parent, prefix="work-") as work:
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "bridge.containers.pull", str(image.reference),
                     str(part)],
                    env=_pull_environment(work, plain_http=plain_http),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=PULL_TIMEOUT_S,
                    check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise PullFailed(
                    f"{image.reference}: the pull took over {PULL_TIMEOUT_S:.0f} s."
                ) from error
        said = (done.stdout + done.stderr).decode(errors="replace")
        if "no space left" in said.lower():
            raise OSError(errno.ENOSPC, "the disk is full")
        if done.returncode != 0 or not is_sif(part):
            last = [line for line in said.splitlines() if line.strip()][-3:]
            raise PullFailed(f"{image.reference}: the pull failed: {' / '.join(last)[-600:]}")


def _make_readable_folder(path: Path) -> None:
    """Make a directory that everybody's workers can read, whatever this process's umask."""
    path.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode
    if mode & 0o055 != 0o055:
        path.chmod(mode & 0o7777 | 0o055)


def is_sif(path: Path) -> bool:
    """Whether `path` is a file that begins like a SIF."""
    try:
        with path.open("rb") as file:
            return _SIF_MAGIC in file.read(64)
    except OSError:
        return False


def _pull_environment(work: str, *, plain_http: bool) -> dict[str, str]:
    """Return the child's whole environment: nothing of the bridge's but the way to Python."""
    kept = ("PATH", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": work,
        "TMPDIR": work,
        "APPTAINER_TMPDIR": work,
        "APPTAINER_CACHEDIR": str(Path(work) / "cache"),
        **({"APPTAINER_NOHTTPS": "1"} if plain_http else {}),
        "LANG": "C.UTF-8",
    }
