"""What Apptainer does for the cache: making SIFs, and checking the signatures of others.

In child processes: spython ends the whole process on a bad reference and changes the environment
(facts.md), and what is unpacked here anybody may have made. A child gets an environment of its own,
in which there is no secret, and files; it has no need of the network.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bridge.clock import monotonic_s
from bridge.containers.sif import is_sif, read_sif
from bridge.errors import ImageRefused, PullFailed

CONVERT_S = 1800.0
VERIFY_S = 300.0
# Free space at which a conversion is ended: what a layer unpacks to cannot always be told before.
MIN_FREE_BYTES = 256 << 20
_LOOK_EVERY_S = 1.0
_SAID_BYTES = 64 << 10


def convert_layout(layout: Path, target: Path) -> None:
    """Make the SIF `target` of the OCI layout in `layout`; work beside it.

    Raises:
        PullFailed: with what was said.
        OSError: the disk is full, or whatever else it says.
    """
    argv = [sys.executable, "-m", "bridge.containers.build", str(layout), str(target)]
    status, said = _run(argv, target.parent, CONVERT_S)
    if "no space left" in said.lower():
        raise OSError(errno.ENOSPC, "the disk is full")
    if status != 0 or not is_sif(target):
        raise PullFailed(f"The image cannot be converted: {_end_of(said)}")


def verify_sif(path: Path, keyring: Path) -> None:
    """Return when everything of the SIF that a container sees is signed by a key of `keyring`.

    Apptainer's own program believes keys of the whole host as well (its global keyring): those do
    not count here. Nor does a signature on one file system of several: the others are mounted too.

    Args:
        path: the SIF.
        keyring: a directory with ``pgp-public``, as `apptainer key` keeps one.

    Raises:
        ImageRefused: it is not; says why.
        PullFailed: the program did not answer, or the keyring cannot be read.
        OSError: the disk.
    """
    sif = read_sif(path)
    if sif.partitions != 1:
        raise ImageRefused(f"Not a signed SIF: it has {sif.partitions} file systems, expected 1.")
    try:
        keys = (keyring / "pgp-public").read_bytes()
    except OSError as error:
        raise PullFailed(f"The keyring {keyring} cannot be read ({error.strerror}).") from error
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="verify-") as work:
        folder = Path(work, "keys")
        folder.mkdir(0o700)  # Apptainer mends the mode of what it is given, and adds files
        (folder / "pgp-public").write_bytes(keys)
        argv = ["apptainer", "--silent", "verify", "--local", "--json"]
        argv += ["--sif-id", str(sif.primary_id), str(path)]
        status, said = _run(argv, Path(work), VERIFY_S, {"APPTAINER_KEYSDIR": str(folder)})
    if status != 0 or not _is_believed(said):
        raise ImageRefused(
            "Not a SIF signed by a key of the tenant's keyring, and the site runs no others: "
            + _end_of(said)
        )


def _is_believed(said: str) -> bool:
    """Whether the answer names signers, and each is one of the keyring's own."""
    start, end = said.find("{"), said.rfind("}")
    try:
        signers = [one["Signer"] for one in json.loads(said[start : end + 1])["SignerKeys"]]
        return bool(signers) and all(
            one[key] is True for one in signers for key in ("KeyLocal", "KeyCheck", "DataCheck")
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _run(
    argv: Sequence[str], folder: Path, limit_s: float, more: dict[str, str] | None = None
) -> tuple[int, str]:
    """Return the exit status and what was said, of a child that works in `folder`."""
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="work-") as work,
        tempfile.TemporaryFile(dir=folder) as said,
    ):
        try:
            child = subprocess.Popen(
                argv,
                env={**_environment(work), **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise PullFailed(f"{argv[0]} is not on the scheduler's host.") from error
        try:
            status = _wait(child, folder, limit_s)
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has left nobody behind
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - _SAID_BYTES))
        return status, said.read().decode(errors="replace")


def _wait(child: subprocess.Popen[bytes], folder: Path, limit_s: float) -> int:
    end = monotonic_s() + limit_s
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(_LOOK_EVERY_S)
        if monotonic_s() > end:
            raise PullFailed(f"Apptainer took over {limit_s:.0f} s for the image.")
        if free_bytes(folder) < MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, "the disk is full")


def free_bytes(folder: Path) -> int:
    """Return how much may still be written where `folder` is."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _end_of(said: str) -> str:
    last = [line for line in said.splitlines() if line.strip()][-3:]
    return " / ".join(last)[-600:]


def _environment(work: str) -> dict[str, str]:
    """Return the child's whole environment: nothing of the bridge's but the way to Python."""
    kept = ("PATH", "PYTHONPATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": work,
        "TMPDIR": work,
        "APPTAINER_TMPDIR": work,
        "APPTAINER_CACHEDIR": str(Path(work) / "cache"),
        "APPTAINER_CONFIGDIR": str(Path(work) / "config"),
        "LANG": "C.UTF-8",
    }
