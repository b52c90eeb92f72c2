"""The agent's program on this host: made for each run, or installed once for sudo."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from bridge.errors import ConnectFailed, SettingsError
from bridge.node.build import build_zipapp


class AgentProgram:
    """The zipapp on this host, where agents of any user can read it but none can write."""

    def __init__(self) -> None:
        self.data, self.digest = build_zipapp()
        self._folder = Path(tempfile.mkdtemp(prefix="bridge-node-"))
        self._folder.chmod(0o755)
        self.path = self._folder / f"node-{self.digest[:16]}.pyz"
        self.path.write_bytes(self.data)
        self.path.chmod(0o644)

    def argv(self, python: str) -> list[str]:
        """Return how an agent is started."""
        return [python, "-I", str(self.path), "agent"]

    def give(self, username: str) -> None:
        """Make the file's directory `username`'s, who is then the one to remove it.

        Raises:
            LookupError: there is no such user.
        """
        shutil.chown(self._folder, username)

    def remove(self) -> None:
        """Take the file away again."""
        shutil.rmtree(self._folder, ignore_errors=True)


def install_program(path: Path) -> str:
    """Write the agent's program to `path`, for root and of root, whole or not at all.

    Returns:
        Its sha256 in hex.

    Raises:
        SettingsError: this process is not root, or somebody else could change the file.
    """
    if os.geteuid() != 0:
        raise SettingsError(f"Only root may write {path}: whoever can change it is every user.")
    if not path.is_absolute():
        raise SettingsError(f"{path} is not an absolute path, as sudoers needs.")
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    for folder in path.parents:
        if fault := _fault(folder):
            raise SettingsError(f"The agent cannot be installed as {path}: {fault}.")
    data, digest = build_zipapp()
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".agent-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), 0o644)
        os.fchown(file.fileno(), 0, 0)
        os.fsync(file.fileno())
    Path(draft).rename(path)
    return digest


def check_installed(path: Path) -> None:
    """Make sure that only root can have written what lies at `path`.

    Raises:
        ConnectFailed: it is missing, or somebody else could change it.
    """
    for place in (path, *path.parents):
        if fault := _fault(place):
            raise ConnectFailed(
                f"The agent's program {path} is not to be trusted: {fault}. "
                f"Run `bridge agent install {path}` as root."
            )


def _fault(path: Path) -> str | None:
    """Return why others than root could change `path`, or None."""
    try:
        found = path.lstat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a symbolic link"
    if found.st_uid != 0:
        return f"{path} belongs to uid {found.st_uid}, not to root"
    if found.st_mode & 0o022:
        return (
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o} and is writable to others than root"
        )
    return None
