"""Sessions that are kept, and reopened when they broke."""

from __future__ import annotations

import array
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from bridge.errors import ConnectFailed
from bridge.sessions import SessionPool, pool
from bridge.sessions.pool import AgentProgram, local_opener, setuid_opener
from bridge.sessions.spawner import MAX_NAME_BYTES, serve


@pytest.fixture(scope="module")
def program() -> Iterator[AgentProgram]:
    program = AgentProgram()
    yield program
    program.remove()


class Counting:
    """An opener of real agents that counts."""

    def __init__(self, program: AgentProgram) -> None:
        self._open = local_opener(program.argv(sys.executable))
        self.streams: list[socket.socket] = []

    def __call__(self, username: str) -> socket.socket:
        stream = self._open(username)
        self.streams.append(stream)
        return stream


@pytest.fixture
def opener(program: AgentProgram) -> Counting:
    return Counting(program)


@pytest.fixture
def sessions(opener: Counting) -> Iterator[SessionPool]:
    sessions = SessionPool(opener)
    yield sessions
    sessions.close()


def test_one_session_a_user(sessions: SessionPool, opener: Counting) -> None:
    first = sessions.session("alice")
    assert sessions.session("alice") is first
    assert sessions.session("bob") is not first
    assert len(opener.streams) == 2


def test_a_broken_one_is_replaced(sessions: SessionPool, opener: Counting) -> None:
    first = sessions.session("alice")
    opener.streams[0].shutdown(socket.SHUT_RDWR)
    with pytest.raises(ConnectFailed):
        first.list("/")

    second = sessions.session("alice")
    assert second is not first
    assert second.list("/")


def test_an_agent_that_was_killed_is_replaced(sessions: SessionPool) -> None:
    session = sessions.session("alice")
    with pytest.raises(ConnectFailed):
        session.run(["/bin/sh", "-c", "kill -9 $PPID"])
    assert sessions.session("alice").run(["true"]).exit_status == 0


def test_idle_ones_are_closed(
    sessions: SessionPool, opener: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(pool, "monotonic_s", lambda: now[0])
    first = sessions.session("alice")
    now[0] += pool.IDLE_S - 1
    sessions.session("bob")
    sessions.close_idle()
    assert first.list("/")

    now[0] += 2
    sessions.close_idle()
    with pytest.raises(ConnectFailed):
        first.list("/")
    sessions.session("bob")
    assert len(opener.streams) == 2
    assert sessions.session("alice").list("/")


def test_closing_closes_all(sessions: SessionPool) -> None:
    session = sessions.session("alice")
    sessions.close()
    with pytest.raises(ConnectFailed):
        session.list("/")


@pytest.mark.parametrize(
    "greeting", [b"", b"hello\n", b'{"id": 1, "ok": false, "kind": "failed", "message": "no"}\n']
)
def test_an_agent_that_does_not_greet_is_no_session(greeting: bytes) -> None:
    opened: list[socket.socket] = []

    def open_mute(_username: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.sendall(greeting)
        theirs.shutdown(socket.SHUT_WR)
        opened.extend((ours, theirs))
        return ours

    sessions = SessionPool(open_mute)
    with pytest.raises(ConnectFailed, match="greeting"):
        sessions.session("alice")
    assert opened[0].fileno() == -1
    opened[1].close()


def test_a_program_that_is_missing() -> None:
    sessions = SessionPool(local_opener(["/nowhere/python3"]))
    with pytest.raises(ConnectFailed, match="No agent could be started as alice"):
        sessions.session("alice")


def test_the_program_is_there_for_all_and_writable_to_none_of_them(program: AgentProgram) -> None:
    for path, mode in ((program.path, 0o644), (program.path.parent, 0o755)):
        assert path.stat().st_mode & 0o777 == mode
        assert path.stat().st_uid == os.geteuid()
    assert program.digest[:16] in program.path.name


class TestAskingTheSpawner:
    @pytest.fixture
    def ends(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            yield ours, theirs

    def answer(self, theirs: socket.socket, data: bytes, *descriptors: int) -> None:
        rights = array.array("i", descriptors).tobytes()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        theirs.sendmsg([data], ancillary)

    def test_it_gives_a_stream(self, ends: tuple[socket.socket, socket.socket]) -> None:
        ours, theirs = ends
        near, far = socket.socketpair()
        with near, far:
            self.answer(theirs, b'{"ok": true}', far.fileno())
            with setuid_opener(ours)("alice") as stream:
                stream.sendall(b"x")
                assert near.recv(1) == b"x"
        assert theirs.recv(99) == b"alice"

    def test_it_says_why_not(self, ends: tuple[socket.socket, socket.socket]) -> None:
        ours, theirs = ends
        self.answer(theirs, json.dumps({"ok": False, "message": "unknown"}).encode())
        with pytest.raises(ConnectFailed, match="No session as alice: unknown"):
            setuid_opener(ours)("alice")

    def test_it_has_ended(self, ends: tuple[socket.socket, socket.socket]) -> None:
        ours, theirs = ends
        theirs.close()
        with pytest.raises(ConnectFailed, match="spawner"):
            setuid_opener(ours)("alice")

    def test_the_descriptor_was_dropped(self, ends: tuple[socket.socket, socket.socket]) -> None:
        ours, theirs = ends
        self.answer(theirs, b'{"ok": true}')
        with pytest.raises(ConnectFailed, match="too many open files"):
            setuid_opener(ours)("alice")

    @pytest.mark.parametrize("name", ["", "x" * (MAX_NAME_BYTES + 1)])
    def test_what_is_no_name_is_not_sent(
        self, ends: tuple[socket.socket, socket.socket], name: str
    ) -> None:
        ours, theirs = ends
        with pytest.raises(ConnectFailed, match="not a user name"):
            setuid_opener(ours)(name)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


class TestSpawner:
    @pytest.fixture
    def ask(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], str]]:
        """Sends a request to a spawner, which runs in a thread here and so must refuse it."""
        monkeypatch.setattr("bridge.sessions.spawner.signal.signal", lambda *_: None)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        thread = threading.Thread(target=serve, args=(theirs, 1000, ["/bin/false"]))
        thread.start()

        def send(name: bytes) -> str:
            ours.send(name)
            answer = json.loads(ours.recv(4096))
            assert answer["ok"] is False
            return str(answer["message"])

        yield send
        ours.close()
        thread.join(10)
        assert not thread.is_alive()
        theirs.close()

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            (b"nobody-of-that-name", "unknown"),
            (b"root", "uid 0"),
            (b"daemon", "below 1000"),
            (b"\xff\xfe", "utf-8"),
            (b"a\0b", "null"),
            (b"x" * 256, "unknown"),
            (b"/etc/passwd", "unknown"),
        ],
    )
    def test_it_refuses_and_goes_on(
        self, ask: Callable[[bytes], str], name: bytes, says: str
    ) -> None:
        assert says in ask(name)
        assert "unknown" in ask(b"nobody-of-that-name")
