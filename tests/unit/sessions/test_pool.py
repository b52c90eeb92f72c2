"""Sessions that are kept, and reopened when they broke."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from bridge.errors import ConnectFailed
from bridge.sessions import SessionPool, pool
from bridge.sessions.greeting import Greeting
from bridge.sessions.openers import Stream, local_opener
from bridge.sessions.program import AgentProgram


@pytest.fixture(scope="module")
def program() -> Iterator[AgentProgram]:
    program = AgentProgram()
    yield program
    program.remove()


class Counting:
    """An opener of real agents that counts."""

    def __init__(self, program: AgentProgram) -> None:
        self._open = local_opener(program.argv(sys.executable))
        self.streams: list[Stream] = []

    def __call__(self, username: str, /) -> Stream:
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
    opener.streams[0].close()
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


def test_whoever_is_not_who_was_asked_for_is_no_session(opener: Counting) -> None:
    asked: list[Greeting] = []

    def check(login: str, greeting: Greeting) -> None:
        asked.append(greeting)
        raise ConnectFailed(f"not {login}")

    sessions = SessionPool(opener, check)
    with pytest.raises(ConnectFailed, match="not alice"):
        sessions.session("alice")
    assert asked[0].uid == os.geteuid()
    with pytest.raises(OSError, match="descriptor"):
        opener.streams[0].sendall(b"x")


def test_a_user_whose_session_does_not_open_holds_up_nobody(opener: Counting) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def slow_for_bob(username: str, /) -> Stream:
        if username == "bob":
            reached.set()
            go_on.wait(10)
            raise ConnectFailed("no bob")
        return opener(username)

    sessions = SessionPool(slow_for_bob)
    failed: list[ConnectFailed] = []

    def ask_for_bob() -> None:
        try:
            sessions.session("bob")
        except ConnectFailed as error:
            failed.append(error)

    thread = threading.Thread(target=ask_for_bob)
    thread.start()
    assert reached.wait(10)
    assert sessions.session("alice").list("/")
    sessions.close_idle()
    go_on.set()
    thread.join(10)
    assert failed
    sessions.close()


def test_what_a_process_said_that_is_no_agent() -> None:
    """As sudo does when it refuses."""
    script = "echo 'sudo: a password is required' >&2; exit 1"
    sessions = SessionPool(local_opener(["/bin/sh", "-c", script]))
    with pytest.raises(ConnectFailed, match="gave no greeting: sudo: a password is required"):
        sessions.session("alice")
