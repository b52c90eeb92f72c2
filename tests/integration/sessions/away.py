"""Runs as the service user on the login node: opens a session there and relays it to the suite.

usage: away.py KEYS LOGIN

KEYS are those of the cluster's table, as JSON. Prints ``open``, or what went wrong as JSON, in a
line; from then on its stdin and stdout are the agent's.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading

from bridge.errors import ConnectFailed
from bridge.sessions.agent import AgentSession
from bridge.sessions.pool import SessionPool
from bridge.sessions.program import AgentProgram
from bridge.sessions.ways import Ways
from bridge.sites import Cluster

BASE = {"spool": "/scratch/{login}/.bridge", "image_cache": "/work/.bridge/images"}


def main(keys: str, login: str) -> None:
    program = AgentProgram()
    ways = Ways(program)
    pool: SessionPool = ways.owners("sandbox", Cluster.model_validate({**BASE, **json.loads(keys)}))
    try:
        session = pool.session(login)
    except ConnectFailed as error:
        os.write(1, json.dumps(error.message).encode() + b"\n")
        return
    finally:
        program.remove()
    assert isinstance(session, AgentSession)
    os.write(1, b"open\n")
    stream = session._stream
    stream.settimeout(None)

    def to_agent() -> None:
        while data := os.read(0, 1 << 16):
            stream.sendall(data)
        session.close()
        ways.close()
        os._exit(0)

    threading.Thread(target=to_agent, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := stream.recv(1 << 16):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
