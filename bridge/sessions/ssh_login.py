"""Connecting and logging in: host key, then key or certificate, within a bounded time."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from bridge.errors import ConnectFailed
from bridge.sites.ways import Ssh


def log_in(config: Ssh, account: str) -> paramiko.SSHClient:
    """Return a connection to the login node, logged in as `account`.

    Files are read anew each time: certificates that live for minutes are renewed under one name.

    Raises:
        ConnectFailed: the host does not answer, is not the one that is known, or refuses us.
    """
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    _load_known_hosts(client, config.known_hosts)
    key = load_key(config, account)
    where = f"{config.host}:{config.port}"
    try:
        tcp = socket.create_connection((config.host, config.port), config.connect_timeout_s)
        # A host that vanished is noticed by what it does not acknowledge. Source: tcp(7).
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000 * config.keepalive_s)
        client.connect(
            config.host,
            config.port,
            username=account,
            pkey=key,
            allow_agent=config.agent,
            look_for_keys=False,
            sock=tcp,
            timeout=config.connect_timeout_s,
            banner_timeout=config.connect_timeout_s,
            auth_timeout=config.connect_timeout_s,
            channel_timeout=config.connect_timeout_s,
        )
    except paramiko.BadHostKeyException as error:
        client.close()
        raise ConnectFailed(
            f"the host key of {where} ({error.key.get_name()} {error.key.fingerprint}) is not the "
            f"one in {config.known_hosts}; nothing was sent. Find out why it changed before you "
            "change the file."
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        client.close()
        raise ConnectFailed(
            f"{where}: {str(error).rstrip('.') or type(error).__name__}."
        ) from error
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(config.keepalive_s)
    return client


def _load_known_hosts(client: paramiko.SSHClient, path: Path) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        marks = [line.split()[0] for line in lines if line.lstrip().startswith("@")]
        if marks:  # paramiko passes over them, so that a key that is revoked would count
            raise ConnectFailed(
                f"known_hosts {path} has a line with {marks[0]}, which is not supported: list "
                "each host's own keys."
            )
        client.load_host_keys(str(path))
    except (OSError, UnicodeDecodeError, paramiko.hostkeys.InvalidHostKey) as error:
        raise ConnectFailed(f"known_hosts {path} cannot be read: {error}.") from error


def load_key(config: Ssh, account: str) -> paramiko.PKey | None:
    """Return the key for `account`, with its certificate where there is one.

    Raises:
        ConnectFailed: a file cannot be read, or others can read the key.
    """
    if config.key_file is None:
        return None
    path = Path(config.key_file.replace("{login}", account))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConnectFailed(f"key {path} has mode {mode:04o}, expected 0600.")
        key = paramiko.PKey.from_path(str(path))
        if config.certificate_file is not None:
            key.load_certificate(config.certificate_file.replace("{login}", account))
    except (
        OSError,
        ValueError,
        TypeError,
        paramiko.SSHException,
        UnknownKeyType,
    ) as error:
        what = "is encrypted, which is of no use to a daemon" if _is_locked(error) else str(error)
        raise ConnectFailed(f"key {path} cannot be used: {what}.") from error
    return key


def _is_locked(error: Exception) -> bool:
    return isinstance(error, paramiko.PasswordRequiredException) or (
        isinstance(error, TypeError) and "assword" in str(error)
    )
