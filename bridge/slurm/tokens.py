"""Tokens for slurmrestd, one for each user and each question.

Slurm's key makes whoever reads it everybody on the cluster, root included. Where the scheduler
starts as root, a process of its own reads the key, gives up root for good and signs: for users
that pass the rule under which agents are started as them, and for the site's observer. The process
that reads the database and speaks to users' agents never has it. Elsewhere the scheduler's own user
reads the key, from a file that nobody else can read.

Source: Slurm's documentation, "JSON Web Tokens (JWT) Authentication": HS256; claims exp, iat, sun.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import jwt

from bridge.clock import Clock, SystemClock
from bridge.core.accounts import AccountPolicy, is_login, refuse_account
from bridge.errors import ConnectFailed, SettingsError, SlurmError
from bridge.sessions.accounts import find_account
from bridge.sessions.spawner import become
from bridge.sites import Cluster, Site, Slurmrestd

Sign = Callable[[str], str]
_SHORTEST_KEY = 32  # bytes; HS256 asks for as many as its hash has (RFC 7518, 3.2)
_LONGEST_KEY = 4096
MAX_NAME_BYTES = 255
_PR_SET_DUMPABLE = 4


class TokenSigner:
    """Signs tokens for those whom `check` lets through.

    Args:
        config: whose key it is, and how long a token holds.
        key: the key itself.
        check: raises `SlurmError` for a name that gets no token.
        clock: the time.
    """

    def __init__(
        self, config: Slurmrestd, key: bytes, check: Callable[[str], None], clock: Clock
    ) -> None:
        self._config = config
        self._key = key
        self._check = check
        self._clock = clock

    def __call__(self, username: str) -> str:
        """Return a token for `username`."""
        self._check(username)
        now = int(self._clock.now().timestamp())
        claims = {"iat": now, "exp": now + self._config.token_lifetime_s, "sun": username}
        return jwt.encode(claims, self._key, algorithm="HS256")


def read_key(path: Path) -> bytes:
    """Return Slurm's key.

    Raises:
        SettingsError: it cannot be read, or others than its owner could read it too.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SettingsError(f"Slurm's key {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            raise SettingsError(
                f"Slurm's key {path} has mode {stat.S_IMODE(found.st_mode):04o}; expected a file "
                "of mode 0600 or less, for whoever reads it is everybody on the cluster."
            )
        key = file.read(_LONGEST_KEY + 1)
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise SettingsError(
            f"Slurm's key {path} has {len(key)} bytes; expected {_SHORTEST_KEY} to {_LONGEST_KEY}."
        )
    return key


def make_check(cluster: Cluster, config: Slurmrestd) -> Callable[[str], None]:
    """Return the rule of who gets a token: those as whom something may run, and the observer."""

    def check(username: str) -> None:
        # The bridge itself may have a system's account.
        is_ours = username == config.observer or (
            cluster.session == "local" and username == _own_name()
        )
        policy = AccountPolicy(1) if is_ours else cluster.account_policy
        if cluster.session == "ssh":
            # Only the cluster knows its accounts: it was asked at registering, and at login.
            number = max(cluster.min_uid, 1)
            refusal = refuse_account(username, number, number, {}, policy)
            if refusal is not None:
                raise SlurmError(f"No token: {refusal}.")
            return
        try:
            find_account(username, policy)
        except ConnectFailed as error:
            raise SlurmError(f"No token for it. {error.message}") from error

    return check


def slurm_user(cluster: Cluster, username: str) -> str:
    """Return as whom Slurm is asked where a session of `username` is meant.

    The files are that session's, and it may be a community account's.
    """
    if cluster.session == "local":
        return _own_name()
    if cluster.session == "ssh" and cluster.ssh is not None:
        return cluster.ssh.login.replace("{login}", username)
    return username


def _own_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def start_signers(site: Site, service_user: str) -> dict[str, Sign]:
    """Return what signs for each cluster that is asked by slurmrestd.

    Called before this process gives up root, if it is root.

    Raises:
        SettingsError: a key cannot be read, or should not be.
    """
    signers: dict[str, Sign] = {}
    for name, cluster in site.clusters.items():
        if cluster.slurm == "slurmrestd" and cluster.slurmrestd is not None:
            signers[name] = (
                SignerClient(_start_process(cluster, cluster.slurmrestd, service_user))
                if os.geteuid() == 0
                else _make_signer(cluster, cluster.slurmrestd)
            )
    return signers


def _make_signer(cluster: Cluster, config: Slurmrestd) -> TokenSigner:
    key = read_key(config.jwt_key_file)
    return TokenSigner(config, key, make_check(cluster, config), SystemClock())


def _start_process(cluster: Cluster, config: Slurmrestd, service_user: str) -> socket.socket:
    """Leave a process behind that has the key; return the socket on which it is asked."""
    try:
        user = pwd.getpwnam(service_user)
    except KeyError:
        raise SettingsError(f"The service user {service_user!r} does not exist.") from None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        status = 70
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # it ends when the scheduler does
            os.closerange(3, theirs.fileno())
            os.closerange(theirs.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
            status = _run_process(theirs, cluster, config, user)
        finally:
            os._exit(status)
    theirs.close()
    greeting = json.loads(ours.recv(4096) or b'{"error": "its process ended"}')
    if "error" in greeting:
        ours.close()
        raise SettingsError(greeting["error"])
    return ours


def _run_process(
    requests: socket.socket, cluster: Cluster, config: Slurmrestd, user: pwd.struct_passwd
) -> int:
    try:
        sign = _make_signer(cluster, config)
    except SettingsError as error:
        requests.send(json.dumps({"error": error.message}).encode())
        return 70
    become(user)
    # Others of this user's processes may not look into this one's memory (ptrace(2), /proc).
    if ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        requests.send(b'{"error": "prctl(PR_SET_DUMPABLE) failed"}')
        return 70
    requests.send(b"{}")
    while name := requests.recv(MAX_NAME_BYTES + 1):
        try:
            answer = {"token": sign(name.decode())}
        except UnicodeDecodeError:
            answer = {"error": "No token: the name is no UTF-8."}
        except SlurmError as error:
            answer = {"error": error.message}
        requests.send(json.dumps(answer).encode())
    return 0


class SignerClient:
    """Asks the process that has the key, and signs that way."""

    def __init__(self, process: socket.socket) -> None:
        self._process = process
        self._lock = threading.Lock()

    def __call__(self, username: str) -> str:
        """Return a token for `username`."""
        if not is_login(username):  # an empty request would tell it to end
            raise SlurmError(f"No token for {username[:40]!r}: not a user name.")
        try:
            with self._lock:
                self._process.send(username.encode())
                answer = self._process.recv(1 << 16)
        except OSError as error:
            raise SlurmError(f"The signer cannot be asked: {error.strerror}.") from error
        found = json.loads(answer or b'{"error": "The signer has ended; restart the scheduler."}')
        if "error" in found:
            raise SlurmError(found["error"])
        token: str = found["token"]
        return token

    def close(self) -> None:
        """Let the process end."""
        self._process.close()
