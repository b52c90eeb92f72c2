"""An SSH server on loopback that runs what it is asked to, for tests without a login node.

Paramiko at both ends: what a real sshd does is tested on the sandbox
(tests/integration/sessions). Everybody whose key is listed may log in under any name; commands run
as this process's user.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_GONE = (OSError, EOFError, paramiko.SSHException)


def write_key(path: Path) -> paramiko.PKey:
    """Write a new private key to `path`, mode 0600; return it."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    path.write_bytes(pem)
    path.chmod(0o600)
    return paramiko.PKey.from_path(str(path))


class Sshd:
    """The server. `logins` has the names of those who logged in, in order."""

    def __init__(self, folder: Path) -> None:
        self.host_key = write_key(folder / "host")
        self.user_key = write_key(folder / "user")
        self.key_file = folder / "user"
        self.known_hosts = folder / "known_hosts"
        self.logins: list[str] = []
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)}
        self.greets = True  # whether it says the first word
        self.opens = True  # whether it opens channels
        self.noise = ""  # what the shell's start-up files do
        self._transports: list[paramiko.Transport] = []
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.trust(self.host_key)
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def trust(self, key: paramiko.PKey) -> None:
        """Let the file of known hosts have `key` for this server, and no other."""
        line = f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n"
        self.known_hosts.write_text(line)

    @property
    def open_count(self) -> int:
        """How many connections are open."""
        return sum(one.is_active() for one in self._transports)

    def break_all(self) -> None:
        """Cut every connection off."""
        for one in self._transports:
            one.close()

    def close(self) -> None:
        """End it."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._acceptor.join(10)
        self.break_all()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(peer)
            if self.greets:
                transport = paramiko.Transport(peer)
                transport.add_server_key(self.host_key)
                self._transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=_Door(self))


class _Door(paramiko.ServerInterface):
    def __init__(self, sshd: Sshd) -> None:
        self._sshd = sshd

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if key == self._sshd.user_key:
            self._sshd.logins.append(username)
            return paramiko.AUTH_SUCCESSFUL
        return paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        while not self._sshd.opens:
            time.sleep(0.01)
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command.decode())).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{self._sshd.noise}\n{command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._sshd.environment,
            bufsize=0,
        )
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None

        def feed() -> None:
            with contextlib.suppress(*_GONE), stdin:
                while data := channel.recv(1 << 15):
                    view = memoryview(data)
                    while view:
                        view = view[stdin.write(view) :]

        feeder = threading.Thread(target=feed)
        feeder.start()
        with stdout, stderr, contextlib.suppress(*_GONE):
            while data := stdout.read(1 << 15):
                channel.sendall(data)
            channel.sendall_stderr(stderr.read(4096))
            channel.send_exit_status(process.wait())
        with contextlib.suppress(*_GONE):
            channel.close()
        feeder.join()
        process.wait()
