"""Large binary messages: never whole in memory, and never under a lock while the client sends."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from bridge.api import message_body
from bridge.core.statuses import Level
from bridge.db import Execution, Message, MessagePart
from bridge.services.messages import PART_BYTES
from tests.factories.rows import add_actor, add_permission

BINARY = {"Content-Type": "application/octet-stream"}
SIZE = 64_000_000
MEMORY = Path(__file__).with_name("large_message.py")


@pytest.fixture
def actor(database):
    with database.begin() as session:
        actor = add_actor(session)
        add_permission(session, actor, "bob", Level.READ)
    return actor


class Sent(io.RawIOBase):
    """A body as a client sends it: `size` bytes, and `at_read` called whenever some are read.

    Attributes:
        read_bytes: how much was asked for so far.
    """

    def __init__(self, size: int, at_read: Any = lambda: None) -> None:
        self.read_bytes = 0
        self._left = size
        self._at_read = at_read

    def readable(self) -> bool:
        return True

    def read(self, limit: int = -1) -> bytes:
        self._at_read()
        size = self._left if limit < 0 else min(limit, self._left)
        data = b"x" * size
        self._left -= size
        self.read_bytes += size
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def send(caller, actor, stream, length, **environ):
    return caller.post(
        f"/{actor.id}/messages",
        headers=BINARY,
        environ_overrides={
            "CONTENT_LENGTH": str(length),
            "wsgi.input": stream,
            # What gunicorn says: with it, werkzeug alone would take a short body for whole.
            "wsgi.input_terminated": True,
            **environ,
        },
    )


def parts(database):
    with database.read() as session:
        return session.scalars(select(MessagePart).order_by(MessagePart.number)).all()


@pytest.mark.parametrize(
    ("size", "count"),
    [(PART_BYTES, 0), (PART_BYTES + 1, 2), (3 * PART_BYTES, 3), (3 * PART_BYTES + 5, 4)],
)
def test_a_large_message_is_kept_in_parts(alice, actor, database, size, count):
    data = bytes(range(256)) * (size // 256 + 1)
    response = send(alice, actor, io.BytesIO(data[:size]), size)
    assert response.status_code == 200, response.json
    assert response.json["result"]["msg"] == "binary - omitted"
    with database.read() as session:
        message = session.query(Message).one()
    found = parts(database)
    assert (message.size, len(found)) == (size, count)
    assert message.payload + b"".join(part.data for part in found) == data[:size]
    assert [part.number for part in found] == list(range(count))
    assert all(len(part.data) == PART_BYTES for part in found[:-1])


@pytest.mark.parametrize("sent", [0, 100, PART_BYTES, 2 * PART_BYTES])
@pytest.mark.parametrize("length", [2 * PART_BYTES + 1, 2 * PART_BYTES])
def test_a_body_that_ends_early_is_no_message(alice, actor, database, sent, length):
    if sent == length:
        sent -= 1
    response = send(alice, actor, Sent(sent), length)
    assert response.status_code == 400
    assert response.json["status"] == "error"
    with database.read() as session:
        assert session.query(Execution).count() == 0


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_text_that_ends_early_is_no_message_either(alice, actor, database, kind):
    response = alice.post(
        f"/{actor.id}/messages",
        headers={"Content-Type": kind},
        environ_overrides={
            "CONTENT_LENGTH": "20",
            "wsgi.input": io.BytesIO(b"message=half"),
            "wsgi.input_terminated": True,
        },
    )
    assert response.status_code == 400
    with database.read() as session:
        assert session.query(Execution).count() == 0


def test_a_body_without_its_length_is_refused(alice, actor, database):
    response = send(alice, actor, io.BytesIO(b"x"), "", HTTP_TRANSFER_ENCODING="chunked")
    assert response.status_code == 400
    both = send(alice, actor, io.BytesIO(b"x"), 1, HTTP_TRANSFER_ENCODING="chunked")
    assert both.json["message"] == "Content Length required for application/octet-stream."


def test_who_may_not_post_is_told_before_anything_is_read(bob, actor):
    body = Sent(SIZE)
    response = send(bob, actor, body, SIZE)
    assert response.json["message"].startswith("Not authorized --")
    assert body.read_bytes == 0


def test_nothing_is_locked_while_the_client_sends(alice, actor, database):
    seen = []

    def write() -> None:
        with database.begin() as session:
            session.execute(text("UPDATE actors SET description = 'changed meanwhile'"))
        seen.append(True)

    response = send(alice, actor, Sent(3 * PART_BYTES, at_read=write), 3 * PART_BYTES)
    assert response.status_code == 200
    assert len(seen) >= 3


def test_the_file_meanwhile_lies_where_the_system_says(
    alice, actor, database, tmp_path, monkeypatch
):
    made = []
    real = message_body.tempfile.TemporaryFile

    def note(**arguments: Any) -> Any:
        made.append(real(**arguments))
        assert arguments["dir"] == str(tmp_path)
        return made[-1]

    monkeypatch.setattr(message_body.tempfile, "TemporaryFile", note)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert send(alice, actor, Sent(2 * PART_BYTES), 2 * PART_BYTES).status_code == 200
    assert send(alice, actor, Sent(PART_BYTES), 2 * PART_BYTES).status_code == 400
    assert [file.closed for file in made] == [True, True]
    assert list(tmp_path.glob("**/tmp*")) == []


def test_a_full_disk_is_told_and_may_be_tried_again(alice, actor, database):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PART_BYTES, hard))
    try:
        response = send(alice, actor, Sent(2 * PART_BYTES), 2 * PART_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert response.status_code == 429
    assert "no room for this message" in response.json["message"]


def test_a_large_message_is_never_whole_in_memory(tmp_path):
    """From the socket to the owner's spool, in a process that has no memory for it."""
    done = subprocess.run(
        [sys.executable, str(MEMORY), str(tmp_path), str(SIZE)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["grown_kib"] < SIZE // 1024 // 3
    written = (tmp_path / "spooled").read_bytes()
    assert len(written) == SIZE
    assert hashlib.sha256(written).hexdigest() == report["sha256"]
