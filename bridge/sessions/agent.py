"""A `UserSession` over a stream to an agent: one JSON object a line, each way.

What comes back was written by a process of the user's and is not trusted: lines are bounded, an
answer that is not of the right form breaks the session.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bridge.clock import monotonic_s
from bridge.errors import CommandTimeout, ConnectFailed, FileRefused, SessionError
from bridge.sessions.base import Completed, Entry, clean_text
from bridge.sessions.openers import Stream
from bridge.sessions.patience import Patience

T = TypeVar("T")

MAX_LINE_BYTES = 64 << 20
MAX_PUT_BYTES = 47 << 20  # as base64 in a line with the path
MAX_OUTPUT_BYTES = 16 << 20
PIECE_BYTES = 1 << 20  # of a file that is streamed, sent at a time
FILE_TIMEOUT_S = 30.0
PLAIN_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}

# What reading an answer may meet, whatever the other end sends.
_UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


class AgentSession:
    """Speaks to the agent at the other end of `stream`.

    Args:
        username: whose agent it is.
        stream: connected to it.
        answer_s: how long an answer may take, a command's own time not counted.
        patience: minds how long this user's agents take in all, if anybody does.
    """

    def __init__(
        self,
        username: str,
        stream: Stream,
        answer_s: float = FILE_TIMEOUT_S,
        patience: Patience | None = None,
    ) -> None:
        self.username = username
        self._patience = patience
        self._answer_s = answer_s
        self.broken = False
        self._stream = stream
        self._rest = b""
        self._number = 0
        self._lock = threading.Lock()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program as the user."""
        return self._ask(
            {
                "verb": "run",
                "argv": list(argv),
                "stdin": base64.b64encode(stdin).decode(),
                "timeout_s": timeout_s,
                "env": dict(PLAIN_ENVIRONMENT if env is None else env),
                "limit_bytes": MAX_OUTPUT_BYTES,
            },
            _read_completed,
            timeout_s,
        )

    def put(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Write a file whole."""
        if len(data) > MAX_PUT_BYTES:
            raise FileRefused(
                f"{path} would have {len(data)} bytes; {MAX_PUT_BYTES} can be sent at once.",
                kind="refused",
            )
        encoded = base64.b64encode(data).decode()
        self._ask({"verb": "put", "path": path, "data": encoded, "mode": mode}, _read_nothing)

    def put_stream(self, path: str, pieces: Iterable[bytes], mode: int = 0o600) -> None:
        """Write a file whole, piece by piece."""
        request = {"verb": "begin", "path": path, "mode": mode}
        draft = self._ask(request, lambda answer: int(answer["draft"]))
        try:
            for piece in _cut(pieces):
                data = base64.b64encode(piece).decode()
                self._ask({"verb": "append", "draft": draft, "data": data}, _read_nothing)
            self._ask({"verb": "finish", "draft": draft}, _read_nothing)
        except BaseException:
            with contextlib.suppress(SessionError):  # if it broke, the agent ends and drops it
                self._ask({"verb": "drop", "draft": draft}, _read_nothing)
            raise

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Return a piece of a file."""
        request = {"verb": "read", "path": path, "offset": offset, "limit": limit}
        return self._ask(request, lambda answer: _bytes(answer, "data"))[:limit]

    def read_each(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes | FileRefused]:
        """Return pieces of several files."""
        request = {"verb": "read_each", "files": [list(one) for one in wanted]}
        return self._ask(request, lambda answer: _read_pieces(answer, wanted))

    def list(self, path: str, limit: int = 10_000) -> list[Entry]:
        """Return the names in a directory."""
        try:
            return self._ask({"verb": "list", "path": path, "limit": limit}, _read_entries)
        except _Missing:
            return []

    def rename(self, source: str, target: str) -> None:
        """Rename a file."""
        self._ask({"verb": "rename", "source": source, "target": target}, _read_nothing)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        """Make a directory."""
        request = {"verb": "mkdir", "path": path, "mode": mode, "parents": True}
        self._ask(request, _read_nothing)

    def remove(self, path: str) -> None:
        """Remove a file or tree."""
        with contextlib.suppress(_Missing):
            self._ask({"verb": "remove", "path": path}, _read_nothing)

    def hello(self) -> dict[str, Any]:
        """Return who the agent is: version, uid, gid, groups, host."""
        return self._ask({"verb": "hello"}, dict)

    def close(self) -> None:
        """End the session; the agent ends when its stream does."""
        self.broken = True
        self._stream.close()

    def _ask(
        self,
        request: dict[str, Any],
        read: Callable[[dict[str, Any]], T],
        command_s: float = 0,
    ) -> T:
        # The agent keeps the time of the command; this is for an agent that does not answer.
        timeout_s = command_s + self._answer_s
        with self._lock:
            if self.broken:
                raise ConnectFailed(f"The session of {self.username} is closed.")
            if self._patience is not None:
                self._patience.check(self.username)
            begun = monotonic_s()
            self._number += 1
            request["id"] = self._number
            try:
                answer = self._exchange(request, timeout_s)
                if answer.get("ok") is True:
                    return read(answer)
            except _UNREADABLE as error:
                self.close()
                what = f"The agent of {self.username} did not answer {request['verb']}"
                if isinstance(error, TimeoutError):
                    raise CommandTimeout(f"{what} within {timeout_s:.0f} s.") from error
                said = clean_text(str(error))[:200]
                raise ConnectFailed(f"{what} in the form agreed: {said}.") from error
            finally:
                if self._patience is not None:
                    self._patience.note(self.username, monotonic_s() - begun)
        raise _refusal(answer)

    def _exchange(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        deadline = monotonic_s() + timeout_s
        self._stream.settimeout(timeout_s)
        self._stream.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._read_line(deadline))
        if not isinstance(answer, dict):
            raise TypeError("not an object")
        refused_unread = answer.get("id", 0) is None and answer.get("ok") is False
        if answer.get("id") != request["id"] and not refused_unread:
            raise ValueError("answer to another question")
        return answer

    def _read_line(self, deadline: float) -> bytes:
        pieces = [self._rest]
        size = len(self._rest)
        while b"\n" not in pieces[-1]:
            self._stream.settimeout(max(0.001, deadline - monotonic_s()))
            piece = self._stream.recv(1 << 20)
            if not piece:
                raise ConnectionResetError("the agent has ended")
            pieces.append(piece)
            size += len(piece)
            if size > MAX_LINE_BYTES:
                raise ValueError(f"a line of over {MAX_LINE_BYTES} bytes")
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line


def _cut(pieces: Iterable[bytes]) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        for begin in range(0, len(view), PIECE_BYTES):
            yield view[begin : begin + PIECE_BYTES]


class _Missing(FileRefused):
    """The file is not there."""


def _read_pieces(
    answer: dict[str, Any], wanted: Sequence[tuple[str, int, int]]
) -> list[bytes | FileRefused]:
    pieces: list[bytes | FileRefused] = []
    for piece, (_, _, limit) in zip(answer["pieces"], wanted, strict=True):
        if "data" in piece:
            pieces.append(_bytes(piece, "data")[:limit])
        else:
            refusal = _refusal(piece)
            if not isinstance(refusal, FileRefused):
                raise TypeError("a file that is neither read nor refused")
            pieces.append(refusal)
    return pieces


def _refusal(answer: dict[str, Any]) -> Exception:
    kind, message = str(answer.get("kind")), clean_text(str(answer.get("message"))[:1000])
    if kind == "timeout":
        return CommandTimeout(message)
    if kind == "missing":
        return _Missing(message, kind="missing")
    return FileRefused(message, kind="refused")


def _read_nothing(answer: dict[str, Any]) -> None:
    """An answer that says no more than that it was done."""


def _read_completed(answer: dict[str, Any]) -> Completed:
    status, cut = int(answer["exit_status"]), answer.get("cut", False) is not False
    return Completed(status, _bytes(answer, "stdout"), _bytes(answer, "stderr"), cut)


def _read_entries(answer: dict[str, Any]) -> list[Entry]:
    return [
        Entry(str(item["name"]), str(item["kind"]), int(item["size"])) for item in answer["entries"]
    ]


def _bytes(answer: dict[str, Any], key: str) -> bytes:
    return base64.b64decode(str(answer[key]), validate=True)
