"""The sandbox's login node as a host from which users are become: by sudo, and by ssh to itself."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import ConnectFailed
from bridge.sandbox import Sandbox
from bridge.sandbox.nodes import build_user_argv
from bridge.sandbox.service import prepare_sudo
from bridge.sessions import SessionPool
from bridge.sessions.greeting import check_program
from bridge.sessions.openers import Stream
from bridge.sessions.program import AgentProgram

KEYS = "/etc/bridge/keys"
SSH = {"host": "login", "known_hosts": f"{KEYS}/known_hosts", "connect_timeout_s": 5}
AWAY = "/opt/bridge-tests/away.py"


@dataclass(frozen=True)
class Session:
    """A cluster's keys for one way, whose sessions it opens, and under which account they run."""

    keys: Mapping[str, Any]
    owner: str = "alice"
    login: str = "alice"


SESSIONS = {
    "sudo": Session({"session": "sudo"}),
    "ssh": Session({"session": "ssh", "ssh": {**SSH, "key_file": f"{KEYS}/ssh"}}),
    "ssh-certificate": Session(
        {
            "session": "ssh",
            "ssh": {
                **SSH,
                "key_file": f"{KEYS}/ssh-certified",
                "certificate_file": f"{KEYS}/ssh-certified-cert.pub",
            },
        },
        owner="bob",
        login="bob",
    ),
    "ssh-community": Session(
        {"session": "ssh", "ssh": {**SSH, "key_file": f"{KEYS}/ssh", "login": "gateway"}},
        owner="carol",
        login="gateway",
    ),
}


class LoginNode:
    """Opens sessions there with the bridge's own code, run as the service user."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._folders: list[Path] = []
        sandbox.run("login", ["install", "-d", str(Path(AWAY).parent)])
        sandbox.put("login", AWAY, Path(__file__).with_name("away.py").read_bytes())
        prepare_sudo(sandbox)

    def account(self, login: str) -> tuple[int, int, set[int]]:
        """Return uid, gid and groups."""
        words = self.sandbox.run("login", ["id", "-G", login]).stdout.split()
        uid = int(self.sandbox.run("login", ["id", "-u", login]).stdout)
        return uid, int(words[0]), {int(word) for word in words}

    def folder(self) -> tuple[Path, Path]:
        """Return a new directory of the shared filesystem, as this machine and the node have it."""
        volume = f"abaco-bridge-{self.sandbox.name}-scratch"
        engine = self.sandbox.engine
        place = engine.command("volume", "inspect", "--format={{.Mountpoint}}", volume).strip()
        here = Path(tempfile.mkdtemp(prefix="sessions-", dir=place))
        here.chmod(0o755)
        self._folders.append(here)
        return here, Path("/scratch", here.name)

    def pool(self, name: str, **changes: Any) -> SessionPool:
        """Return sessions by one of `SESSIONS`, some keys of its ssh table changed."""
        keys = dict(SESSIONS[name].keys)
        if changes:
            keys["ssh"] = {**keys["ssh"], **changes}

        def open_there(login: str, /) -> Stream:
            return self.open(keys, login)

        program = AgentProgram()
        program.remove()
        return SessionPool(
            open_there, lambda _login, greeting: check_program(greeting, program.digest, "")
        )

    def open(self, keys: Mapping[str, Any], login: str) -> socket.socket:
        """Return the stream to an agent; what opened it there relays."""
        words = ["/opt/bridge/venv/bin/python", AWAY, json.dumps(keys), login]
        container = f"abaco-bridge-{self.sandbox.name}-login"
        argv = build_user_argv(words, user="bridge", env={"BRIDGE_SECRET": "hush"})
        line = self.sandbox.engine.exec_argv(container, argv, stdin=True)
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(line, stdin=theirs.fileno(), stdout=theirs.fileno())
        threading.Thread(target=process.wait).start()  # it ends when the session is closed
        ours.settimeout(60)
        said = b""
        while not said.endswith(b"\n"):
            byte = ours.recv(1)
            assert byte, "the helper ended without a word"
            said += byte
        if said != b"open\n":
            ours.close()
            raise ConnectFailed(json.loads(said))
        return ours

    def close(self) -> None:
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
