"""The spawner and who asks it, without root: what it refuses, and that answers keep their owner."""

from __future__ import annotations

import array
import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from bridge.core.accounts import AccountPolicy
from bridge.errors import ConnectFailed
from bridge.sessions import SessionPool
from bridge.sessions.setuid import SpawnerClient
from bridge.sessions.spawner import MAX_REQUEST_BYTES, ClusterAgents, serve

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def answer(theirs: socket.socket, data: bytes, *descriptors: int) -> None:
    rights = array.array("i", descriptors).tobytes()
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
    theirs.sendmsg([data], ancillary)


class TestAsking:
    def test_it_gives_a_stream(self, ends: Ends) -> None:
        ours, theirs = ends
        near, far = socket.socketpair()
        with near, far:
            answer(theirs, b'{"ok": true}', far.fileno())
            stream = SpawnerClient(ours).opener("alpha")("alice")
            stream.sendall(b"x")
            assert near.recv(1) == b"x"
            stream.close()
        assert json.loads(theirs.recv(999)) == {"cluster": "alpha", "login": "alice"}

    def test_it_says_why_not(self, ends: Ends) -> None:
        ours, theirs = ends
        answer(theirs, json.dumps({"ok": False, "message": "unknown"}).encode())
        with pytest.raises(ConnectFailed, match="No session as alice: unknown"):
            SpawnerClient(ours).opener("alpha")("alice")

    def test_it_has_ended(self, ends: Ends) -> None:
        ours, theirs = ends
        theirs.close()
        with pytest.raises(ConnectFailed, match="spawner"):
            SpawnerClient(ours).opener("alpha")("alice")

    def test_the_descriptor_was_dropped(self, ends: Ends) -> None:
        ours, theirs = ends
        answer(theirs, b'{"ok": true}')
        with pytest.raises(ConnectFailed, match="too many open files"):
            SpawnerClient(ours).opener("alpha")("alice")

    @pytest.mark.parametrize("name", ["", "x" * 256, "-u", "#0", "alice\n", "a b"])
    def test_what_is_no_name_is_not_sent(self, ends: Ends, name: str) -> None:
        ours, theirs = ends
        with pytest.raises(ConnectFailed, match="not a user name"):
            SpawnerClient(ours).opener("alpha")(name)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)

    def test_many_who_ask_at_once_each_get_their_own(self, ends: Ends) -> None:
        """Two pools ask one spawner: an answer that went to the other is another user's agent."""
        ours, theirs = ends
        client = SpawnerClient(ours)
        openers = [client.opener("alpha"), client.opener("alpha"), client.opener("beta")]
        names = [f"user{number}" for number in range(60)]
        wrong: list[str] = []

        def spawn() -> None:
            for _ in names:
                login = json.loads(theirs.recv(999))["login"]
                near, far = socket.socketpair()
                with near, far:
                    near.sendall(login.encode())
                    answer(theirs, b'{"ok": true}', far.fileno())

        def ask(number: int) -> None:
            stream = openers[number % 3](names[number])
            if stream.recv(99).decode() != names[number]:
                wrong.append(names[number])
            stream.close()

        threads = [threading.Thread(target=spawn)]
        threads += [threading.Thread(target=ask, args=(number,)) for number in range(len(names))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert wrong == []


class TestServing:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch, ends: Ends) -> Iterator[socket.socket]:
        """The scheduler's end of a spawner, which runs in a thread here and so must refuse all."""
        monkeypatch.setattr("bridge.sessions.spawner.signal.signal", lambda *_: None)
        ours, theirs = ends
        agents = {"alpha": ClusterAgents(AccountPolicy(), ["/bin/false"])}
        thread = threading.Thread(target=serve, args=(theirs, agents))
        thread.start()
        yield ours
        ours.close()
        thread.join(10)
        assert not thread.is_alive()

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"alice",
            b"\xff",
            b"[]",
            b"{}",
            b'{"cluster": "alpha"}',
            b'{"cluster": "beta", "login": "alice"}',
            b'{"cluster": ["alpha"], "login": "alice"}',
            b'{"cluster": "alpha", "login": 7}',
            b'{"cluster": "alpha", "login": "a\\u0000b"}',
            b"[" * MAX_REQUEST_BYTES,
            b"x" * (MAX_REQUEST_BYTES + 9),
        ],
    )
    def test_it_refuses_what_is_no_request_and_goes_on(
        self, asked: socket.socket, request_bytes: bytes
    ) -> None:
        for _ in range(2):
            asked.send(request_bytes)
            assert json.loads(asked.recv(4096))["ok"] is False

    def test_it_outlives_a_table_of_processes_that_is_full(
        self, asked: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full() -> int:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr("bridge.sessions.spawner.os.fork", full)
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(5):
            asked.send(b'{"cluster": "alpha", "login": "nobody"}')
            assert "temporarily unavailable" in json.loads(asked.recv(4096))["message"]
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    def test_who_asks_is_told_what_the_child_found(self, ends: Ends) -> None:
        ours, theirs = ends
        near, far = socket.socketpair()
        with near, far:
            answer(theirs, b'{"ok": true}', far.fileno())
            near.sendall(b'{"id": null, "ok": false, "kind": "refused", "message": "unknown"}\n')
            pool = SessionPool(SpawnerClient(ours).opener("alpha"))
            with pytest.raises(ConnectFailed, match="unknown"):
                pool.session("alice")
