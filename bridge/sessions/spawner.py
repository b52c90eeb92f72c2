"""The one process with root's rights: it becomes a user and executes the agent, and nothing else.

`bridge scheduler`, started as root, forks this process first and then gives up root for good. They
share a socket; a request is a user name, the answer a connected socket whose other end is the
agent's standard input and output. Names are looked up here, in the submit host's own password
database; a uid below the site's minimum is refused here too.

Order of becoming the user, after Globus Compute's multi-user endpoint (field.md 2.1): close
descriptors, empty environment, chdir, umask, setresgid, initgroups, setresuid, prove that there is
no way back, no_new_privs, exec.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import pwd
import signal
import socket
from collections.abc import Callable, Sequence

_PR_SET_NO_NEW_PRIVS = 38
MAX_NAME_BYTES = 255


def serve(requests: socket.socket, min_uid: int, agent_argv: Sequence[str]) -> None:
    """Answer requests until the other end closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # agents are reaped by the kernel
    while True:
        name = requests.recv(MAX_NAME_BYTES + 1)
        if not name:
            return
        try:
            stream = _spawn(name.decode(), min_uid, agent_argv)
        except (LookupError, OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in it
            requests.send(json.dumps({"ok": False, "message": str(error)}).encode())
            continue
        with stream:
            rights = array.array("i", [stream.fileno()]).tobytes()
            requests.sendmsg([b'{"ok": true}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def _spawn(username: str, min_uid: int, agent_argv: Sequence[str]) -> socket.socket:
    try:
        user = pwd.getpwnam(username)
    except KeyError:
        raise LookupError(f"user {username!r} is unknown on this host") from None
    if user.pw_uid < min_uid or user.pw_gid == 0:
        raise PermissionError(
            f"user {username} has uid {user.pw_uid} and gid {user.pw_gid}; nothing runs under a "
            f"uid below {min_uid} or gid 0"
        )
    groups = os.getgrouplist(username, user.pw_gid)
    if 0 in groups:
        raise PermissionError(f"user {username} is a member of group 0")
    ours, theirs = socket.socketpair()
    try:
        child = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if child == 0:
        try:
            become(user, theirs.fileno())
            os.execve(agent_argv[0], list(agent_argv), agent_environment(user))  # noqa: S606 - no shell is the point
        finally:  # whatever went wrong: never return into the parent's code as this child
            os._exit(70)
    theirs.close()
    return ours


def agent_environment(user: pwd.struct_passwd) -> dict[str, str]:
    """Return the whole environment of an agent of `user`."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "LANG": "C.UTF-8",
    }


def become(user: pwd.struct_passwd, stream: int | None = None) -> None:
    """Turn this process into `user` for good; `stream`, if given, becomes its input and output.

    Raises:
        OSError: a step failed, or root could be regained; the caller must exit.
    """
    if stream is not None:
        os.dup2(stream, 0)
        os.dup2(stream, 1)
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # what is ignored stays so through exec
        os.umask(0o077)
    os.chdir("/")
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    ids = (*os.getresuid(), *os.getresgid())
    if ids != (user.pw_uid,) * 3 + (user.pw_gid,) * 3:
        raise PermissionError(f"became {ids}, not {user.pw_name}")
    for regain in (os.setuid, os.setgid):
        with contextlib.suppress(PermissionError):
            regain(0)
            raise OSError("root could be regained")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def start_and_drop(
    service_user: str, min_uid: int, agent_argv: Sequence[str], at_end: Callable[[], None]
) -> socket.socket:
    """Leave a spawner behind with root's rights and go on as `service_user`.

    Args:
        service_user: whom this process becomes.
        min_uid: no agent gets a lower uid.
        agent_argv: how an agent is started.
        at_end: called by the spawner, still root, when this process is gone.

    Returns:
        The socket on which `SetuidSessions` asks the spawner.

    Raises:
        PermissionError: this process is not root, or the service user is.
        LookupError: no such service user.
    """
    try:
        user = pwd.getpwnam(service_user)
    except KeyError:
        raise LookupError(f"the service user {service_user!r} does not exist") from None
    if os.geteuid() != 0 or user.pw_uid == 0:
        raise PermissionError(
            "the setuid way needs root to start and a service user other than root"
        )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        status = 70
        try:
            ours.close()
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # it ends when the scheduler does
            serve(theirs, min_uid, agent_argv)
            at_end()
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    become(user)
    os.environ["HOME"] = user.pw_dir
    return ours
