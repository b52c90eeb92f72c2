"""Starting an agent over a channel: the login's shell stands between, and may talk.

A user's start-up files may print what they like before the agent runs, so the first question
carries a number that cannot be guessed, and what comes before its answer is passed over.
"""

from __future__ import annotations

import base64
import json
import secrets
import shlex

import paramiko

from bridge.clock import monotonic_s
from bridge.errors import ConnectFailed
from bridge.sessions.base import clean_text
from bridge.sites.ways import Ssh

NOISE_BYTES = 64 << 10
# Reads as many bytes as its argument says, and is what they are. Python 3.6 or later; it keeps no
# file's name, and its hello can still say which program it is.
_BOOT = """
import os, sys, tempfile
left, file = int(sys.argv[1]), tempfile.TemporaryFile()
while left:
    data = os.read(0, min(left, 65536))
    if not data:
        sys.exit("the program did not arrive whole")
    file.write(data)
    left -= len(data)
file.flush()
sys.argv = ["/proc/self/fd/%d" % file.fileno(), "agent"]
sys.path.insert(0, sys.argv[0])
from bridge.node.main import main
sys.exit(main())
"""


def agent_command(config: Ssh, python: str, size: int) -> str:
    """Return the one line that the login's shell, whichever it is, is given."""
    if config.program is not None:
        return shlex.join(["exec", python, "-I", str(config.program), "agent"])
    boot = base64.b64encode(_BOOT.encode()).decode()
    code = f"import base64;exec(base64.b64decode('{boot}'))"
    # Double quotes outside and only letters, digits, + / = inside: the same to sh, csh and fish.
    return f'exec {shlex.quote(python)} -I -c "{code}" {size}'


def greet(channel: paramiko.Channel, command: str, ahead: bytes, config: Ssh) -> None:
    """Start the agent on `channel` and wait for its first answer.

    Raises:
        ConnectFailed: there is no agent; says what came instead.
        paramiko.SSHException, EOFError, OSError: the connection is gone.
    """
    deadline = monotonic_s() + config.connect_timeout_s
    number = secrets.token_hex(16)
    question = json.dumps({"id": number, "verb": "hello"}).encode() + b"\n"
    channel.settimeout(config.connect_timeout_s)
    channel.exec_command(command)
    try:
        channel.sendall(ahead + question)
        heard = _listen(channel, number.encode(), deadline)
    except TimeoutError as error:
        raise ConnectFailed(
            f"no agent answered within {config.connect_timeout_s:g} s. {_said(channel, b'')}"
        ) from error
    except OSError as error:  # it ended while it was spoken to
        if not channel.closed and not channel.eof_received:
            raise
        raise ConnectFailed(f"no agent was started. {_said(channel, b'')}") from error
    if number.encode() not in heard:
        raise ConnectFailed(f"no agent was started. {_said(channel, heard)}")


def _listen(channel: paramiko.Channel, number: bytes, deadline: float) -> bytes:
    heard = b""
    while not (number in heard and heard.endswith(b"\n")) and len(heard) < NOISE_BYTES:
        channel.settimeout(max(0.001, deadline - monotonic_s()))
        piece = channel.recv(4096)
        if not piece:
            break
        heard += piece
    return heard


def _said(channel: paramiko.Channel, heard: bytes) -> str:
    """Return what came of the shell, for a person."""
    said = b""
    while channel.recv_stderr_ready() and len(said) < NOISE_BYTES:
        said += channel.recv_stderr(4096)
    text = clean_text((said or heard).decode(errors="replace").strip())[-500:]
    return f"The login node said: {text}" if text else "The login node said nothing."
