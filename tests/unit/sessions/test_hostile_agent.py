"""What a user's agent may answer, and what the bridge makes of it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import CommandTimeout, ConnectFailed, FileRefused, SessionError
from bridge.sessions import agent
from bridge.sessions.agent import AgentSession

Answerer = Callable[[dict[str, Any]], bytes]
Play = Callable[..., AgentSession]


@pytest.fixture
def play() -> Iterator[Play]:
    """Makes sessions whose agent answers every request with the bytes that a function gives."""
    opened: list[tuple[AgentSession, threading.Thread]] = []

    def start(answer: Answerer | bytes, answer_s: float = 10) -> AgentSession:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            # The session may close with something unread, which is a reset at this end.
            with theirs, theirs.makefile("rb") as requests, contextlib.suppress(OSError):
                for line in requests:
                    data = answer(json.loads(line)) if callable(answer) else answer
                    theirs.sendall(data)
                    if not data:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        session = AgentSession("mallory", ours, answer_s)
        opened.append((session, thread))
        return session

    yield start
    for session, thread in opened:
        session.close()
        thread.join()


def reply(**fields: Any) -> Answerer:
    return lambda request: json.dumps({"id": request["id"], "ok": True, **fields}).encode() + b"\n"


def refuse(**fields: Any) -> Answerer:
    return reply(**{"ok": False, **fields})


def every_verb(session: AgentSession) -> list[Callable[[], object]]:
    return [
        lambda: session.run(["true"]),
        lambda: session.put("/x", b""),
        lambda: session.read("/x"),
        lambda: session.list("/x"),
        lambda: session.rename("/x", "/y"),
        lambda: session.mkdir("/x"),
        lambda: session.remove("/x"),
        session.hello,
        lambda: session.put_stream("/x", [b"x"]),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\xff\xfe\n",
        b"null\n",
        b"[]\n",
        b'{"ok": true}\n',
        b'{"id": 99, "ok": true}\n',
        b"[" * 200_000 + b"\n",
        b"9" * 5000 + b"\n",
        b"",
    ],
    ids=["text", "bytes", "null", "list", "no id", "wrong id", "deep", "long number", "the end"],
)
@pytest.mark.parametrize("verb", range(9))
def test_an_answer_of_another_form_breaks_the_session(play: Play, line: bytes, verb: int) -> None:
    session = play(line)

    with pytest.raises(ConnectFailed, match="mallory"):
        every_verb(session)[verb]()

    assert session.broken
    with pytest.raises(ConnectFailed, match="closed"):
        session.read("/x")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"exit_status": "x", "stdout": "", "stderr": ""},
        {"exit_status": 1e999, "stdout": "", "stderr": ""},
        {"exit_status": None, "stdout": "", "stderr": ""},
        {"exit_status": 0, "stdout": "!", "stderr": ""},
        {"exit_status": 0, "stdout": ""},
    ],
)
def test_a_command_s_answer_is_read_without_trust(play: Play, fields: dict[str, Any]) -> None:
    session = play(reply(**fields))

    with pytest.raises(ConnectFailed):
        session.run(["true"])

    assert session.broken


@pytest.mark.parametrize(
    "entries",
    [None, 7, [7], [None], [{}], [{"name": "x", "kind": "file"}], "xy",
     [{"name": "x", "kind": "file", "size": "big"}],
     [{"name": "x", "kind": "file", "size": 1e999}]],
)  # fmt: skip
def test_a_list_s_answer_is_read_without_trust(play: Play, entries: object) -> None:
    session = play(reply(entries=entries))

    with pytest.raises(ConnectFailed):
        session.list("/x")

    assert session.broken


def test_more_than_was_asked_for_is_not_taken(play: Play) -> None:
    session = play(reply(data="aGVsbG8="))

    assert session.read("/x", 0, 3) == b"hel"


@pytest.mark.parametrize("verb", range(9))
def test_a_timeout_is_one_whatever_was_asked(play: Play, verb: int) -> None:
    session = play(refuse(kind="timeout", message="slow"))

    with pytest.raises(CommandTimeout, match="slow"):
        every_verb(session)[verb]()

    assert not session.broken


@pytest.mark.parametrize("fields", [{}, {"kind": ["x"]}, {"message": {"a": 1}}, {"kind": "new"}])
def test_a_refusal_of_whatever_kind_is_a_refusal(play: Play, fields: dict[str, Any]) -> None:
    session = play(refuse(**fields))

    with pytest.raises(FileRefused) as caught:
        session.read("/x")

    assert caught.value.facts["kind"] == "refused"


def test_what_a_refusal_says_can_be_kept(play: Play) -> None:
    session = play(refuse(kind="refused", message="a\0b\ud800c\x1b[2J" + "x" * 10_000))

    with pytest.raises(FileRefused) as caught:
        session.read("/x")

    said = caught.value.message
    said.encode()
    assert "\0" not in said
    assert "\x1b" not in said
    assert len(said) <= 1000


def test_a_line_without_end_is_given_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "MAX_LINE_BYTES", 1 << 20)
    session = play(b"x" * (3 << 20))

    with pytest.raises(ConnectFailed, match="over 1048576 bytes"):
        session.read("/x")


@pytest.mark.parametrize("verb", range(9))
def test_an_agent_that_says_nothing_is_not_waited_for(play: Play, verb: int) -> None:
    session = play(lambda _request: b" ", answer_s=0.01)

    with pytest.raises(CommandTimeout, match="did not answer"):
        every_verb(session)[verb]() if verb else session.run(["true"], timeout_s=0)

    assert session.broken


def test_a_drip_does_not_lengthen_the_wait(play: Play) -> None:
    ours, theirs = socket.socketpair()
    session = AgentSession("mallory", ours, 0.05)
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.01):
            theirs.send(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(CommandTimeout):
            session.read("/x")
    finally:
        stop.set()
        thread.join()
        theirs.close()


def test_an_answer_given_before_it_was_asked_for_is_no_answer_to_something_else(
    play: Play,
) -> None:
    early = b'{"id": 7, "ok": true, "data": ""}\n'
    session = play(lambda request: reply(data="YQ==")(request) + early)

    assert session.read("/x") == b"a"
    with pytest.raises(ConnectFailed):
        session.read("/x")


def test_what_cannot_be_sent_in_one_line_is_refused_before_it_is_sent(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "MAX_PUT_BYTES", 10)
    session = play(reply())

    with pytest.raises(FileRefused, match="11 bytes"):
        session.put("/x", b"x" * 11)

    session.put("/x", b"x" * 10)


def test_the_largest_file_fits_into_a_line() -> None:
    path = "/" + "x" * 4095
    assert agent.MAX_PUT_BYTES * 4 / 3 + 2 * len(path) + 1000 < agent.MAX_LINE_BYTES


@pytest.mark.parametrize("draft", [None, "x", [], {}, 1e999])
def test_a_draft_s_number_is_read_without_trust(play: Play, draft: object) -> None:
    session = play(reply(draft=draft))

    with pytest.raises(ConnectFailed):
        session.put_stream("/x", [b"x"])

    assert session.broken


def test_a_refusal_amid_a_file_drops_it_and_is_told(play: Play) -> None:
    asked = []

    def answer(request: dict[str, Any]) -> bytes:
        asked.append(request["verb"])
        if request["verb"] == "append":
            return refuse(kind="refused", message="the disk is full")(request)
        return reply(draft=3)(request)

    session = play(answer)

    with pytest.raises(FileRefused, match="the disk is full"):
        session.put_stream("/x", [b"x", b"y"])

    assert asked == ["begin", "append", "drop"]
    assert not session.broken


def test_an_agent_that_refuses_even_to_drop_hides_nothing(play: Play) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        if request["verb"] == "begin":
            return reply(draft=3)(request)
        return refuse(kind="failed", message=request["verb"])(request)

    with pytest.raises(FileRefused, match="append"):
        play(answer).put_stream("/x", [b"x"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "ok", "kind", "entries", "name", "size", "data", "stdout", "draft"]
            ),
            children,
            max_size=5,
        )
    ),
    max_leaves=8,
)


@given(verb=st.integers(0, 8), answer=JSON, number=st.booleans())
def test_whatever_comes_is_an_error_of_ours_or_of_the_form(
    verb: int, answer: Any, number: bool
) -> None:
    if number and isinstance(answer, dict):
        answer = {"ok": True, **answer, "id": 1}
    ours, theirs = socket.socketpair()
    session = AgentSession("mallory", ours)
    with theirs:
        theirs.sendall(json.dumps(answer).encode() + b"\n")
        try:
            every_verb(session)[verb]()
        except SessionError as error:
            error.message.encode()
    session.close()
