"""Run by test_large_messages: a message comes in and goes on, in little memory.

Prints how much the process grew, in KiB, and the digest of what was sent.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import resource
import sys
from pathlib import Path
from typing import Any

from bridge.api import create_app
from bridge.auth import sign_token
from bridge.clock import ManualClock
from bridge.db import Base, Database, Message
from bridge.scheduler.submit import _pieces
from bridge.sessions import SessionPool
from bridge.sessions.openers import local_opener
from bridge.sessions.program import AgentProgram
from tests.factories.rows import add_account, add_actor
from tests.factories.sites import make_site

ALLOWED_BYTES = 24 << 20  # beyond what the process has when the message comes


class Sent(io.RawIOBase):
    """A body of `size` bytes, made as it is read."""

    def __init__(self, size: int) -> None:
        self.digest = hashlib.sha256()
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._left)
        buffer[:size] = bytes([self._left % 251]) * size
        self.digest.update(buffer[:size])
        self._left -= size
        return size


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def limit_memory() -> None:
    """Let this process allocate only a little more than it has."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmData:\s+(\d+) kB", status)
    assert found is not None
    bound = int(found[1]) * 1024 + ALLOWED_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def main() -> None:
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    clock = ManualClock()
    site = make_site(folder)
    database = Database(f"sqlite:///{folder}/bridge.db")
    Base.metadata.create_all(database.engine)
    with database.begin() as session:
        add_account(session)
        actor = add_actor(session)
    client = create_app(site, database, clock).test_client()
    token = sign_token(
        site.tenants["PHYSICS"], "PHYSICS", "alice", ("Internal/everyone",), 60, clock
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}

    def post(body: Sent, length: int) -> None:
        response = client.post(
            f"/actors/{actor.id}/messages",
            headers=headers,
            environ_overrides={"wsgi.input": body, "CONTENT_LENGTH": str(length)},
        )
        assert response.status_code == 200, response.json

    program = AgentProgram()
    pool = SessionPool(local_opener(program.argv(sys.executable)))
    owner = pool.session("alice")
    post(Sent(3 << 20), 3 << 20)  # what is made once is there now
    body = Sent(size)
    before = peak_kib()
    limit_memory()
    post(body, size)
    with database.read() as session:
        message = session.query(Message).filter(Message.size == size).one()
    context: Any = type("Context", (), {"database": database})
    owner.put_stream(str(folder / "spooled"), _pieces(context, message))
    print(json.dumps({"grown_kib": peak_kib() - before, "sha256": body.digest.hexdigest()}))
    pool.close()
    program.remove()


if __name__ == "__main__":
    main()
