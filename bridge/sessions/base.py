"""The port: what can be done as a user on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.errors import FileRefused


@dataclass(frozen=True)
class Completed:
    """A command that ended: its exit status, what it printed, and whether that had to be cut."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    cut: bool = False

    @property
    def complaint(self) -> str:
        """The end of what it said, for a person: of its stderr, else of its stdout."""
        said = self.stderr.decode(errors="replace").strip()
        return clean_text(said or self.stdout.decode(errors="replace").strip())[-500:]


def clean_text(text: str) -> str:
    """Return `text` without what no text column, log or terminal should be given.

    What comes from a cluster becomes reasons in the database, and a user's agent may say anything.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


@dataclass(frozen=True)
class Entry:
    """A name in a directory. `kind` is file, directory or other; nothing is followed."""

    name: str
    kind: str
    size: int


class UserSession(Protocol):
    """A session as one user. Paths are absolute.

    Every method may raise `ConnectFailed` when the session is broken (open another) and
    `CommandTimeout` when no answer came; files that are not what they should be raise
    `FileRefused`, whose ``facts["kind"]`` is ``"missing"`` or ``"refused"``.
    """

    username: str

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program with exactly the environment `env` (a plain PATH when none is given)."""
        ...

    def put(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Write a file whole: under a temporary name, flushed, then renamed."""
        ...

    def put_stream(self, path: str, pieces: Iterable[bytes], mode: int = 0o600) -> None:
        """Write a file whole, as `put` does, of pieces that are never in memory together.

        Nothing is left under the file's name, or another, when `pieces` raises or the session
        breaks; a piece may be of any size.
        """
        ...

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Return up to `limit` bytes from `offset` of a regular file of the user's own."""
        ...

    def read_each(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes | FileRefused]:
        """Return pieces of several files as `read` does, in one exchange.

        Args:
            wanted: path, offset and limit of each; what is asked for has to fit into one answer.

        Returns:
            For each file its piece, or why it was not read.
        """
        ...

    def list(self, path: str, limit: int = 10_000) -> list[Entry]:
        """Return the names in a directory; empty when there is none."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename; `FileRefused` with kind missing when `source` is gone."""
        ...

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        """Make a directory and its parents; may be repeated."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or a tree, following no links; may be repeated."""
        ...

    def close(self) -> None:
        """End the session."""
        ...
