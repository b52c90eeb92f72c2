"""The one process with root's rights: it becomes a user and executes the agent, and nothing else.

`bridge scheduler`, started as root, forks this process first and then gives up root for good. They
share a socket; a request names a cluster and a user, the answer is a connected socket whose other
end will be the agent's standard input and output. Names are looked up here, in the submit host's
own user database, and what the site allows nothing to run as is refused here too.

A request is no more than a fork: the child looks the user up, so that a user database that hangs
holds up that one agent alone. What goes wrong in the child is its answer on the agent's stream.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bridge.core.accounts import AccountPolicy
from bridge.errors import ConnectFailed
from bridge.sessions.accounts import agent_environment, find_account

_PR_SET_NO_NEW_PRIVS = 38
MAX_REQUEST_BYTES = 4096
REFUSAL_S = 10  # how long a child that became nobody waits to tell why
_DEFAULTED = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


@dataclass(frozen=True)
class ClusterAgents:
    """Agents of one cluster: under which accounts there may be some, and how one is started."""

    policy: AccountPolicy
    argv: Sequence[str]


def serve(requests: socket.socket, clusters: Mapping[str, ClusterAgents]) -> None:
    """Answer requests until the other end closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # agents are reaped by the kernel
    with contextlib.suppress(OSError):  # the other end is gone
        while request := requests.recv(MAX_REQUEST_BYTES + 1):
            try:
                stream = _start(*_read_request(request, clusters))
            except (LookupError, TypeError, ValueError, OSError, RecursionError) as error:
                said = f"{type(error).__name__}: {error}"[:200]
                requests.send(json.dumps({"ok": False, "message": said}).encode())
                continue
            with stream:
                rights = array.array("i", [stream.fileno()]).tobytes()
                answer = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                requests.sendmsg([b'{"ok": true}'], answer)


def _read_request(
    request: bytes, clusters: Mapping[str, ClusterAgents]
) -> tuple[str, ClusterAgents]:
    asked = json.loads(request)
    if not isinstance(asked["login"], str) or "\0" in asked["login"]:
        raise TypeError("login is no name")
    return asked["login"], clusters[asked["cluster"]]


def _start(login: str, agents: ClusterAgents) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            child = os.fork()
        except OSError:
            ours.close()
            raise
        if child == 0:
            try:
                _be_agent(login, agents, theirs)
            finally:  # whatever went wrong: never return into the parent's code as this child
                os._exit(70)
    return ours


def _be_agent(login: str, agents: ClusterAgents, stream: socket.socket) -> None:
    """Become `login` and execute the agent; when that fails, say why on the stream."""
    try:
        attach(stream.fileno())
        user = find_account(login, agents.policy).user
        become(user)
        os.execve(agents.argv[0], list(agents.argv), agent_environment(user))  # noqa: S606 - no shell is the point
    except (ConnectFailed, OSError) as error:
        signal.alarm(REFUSAL_S)
        os.read(0, 1 << 16)  # the greeting that is asked for; an answer before it might be lost
        said = {"id": None, "ok": False, "kind": "refused", "message": str(error)[:1000]}
        os.write(1, json.dumps(said).encode() + b"\n")


def attach(stream: int) -> None:
    """Let this process have `stream` as its input and output, and nothing else of its parent's."""
    os.dup2(stream, 0)
    os.dup2(stream, 1)
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.setsid()
    for number in _DEFAULTED:
        signal.signal(number, signal.SIG_DFL)  # what is ignored stays so through exec
    os.umask(0o077)


def become(user: pwd.struct_passwd, *, may_use_sudo: bool = False) -> None:
    """Turn this process into `user` for good.

    Args:
        user: whom.
        may_use_sudo: whether setuid programs keep their effect.

    Raises:
        OSError: a step failed, or root could be regained; the caller must exit.
    """
    os.chdir("/")
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    ids = (*os.getresuid(), *os.getresgid())
    if ids != (user.pw_uid,) * 3 + (user.pw_gid,) * 3:
        raise PermissionError(f"became {ids}, not {user.pw_name}")
    if 0 in os.getgroups():
        raise PermissionError(f"{user.pw_name} is a member of group 0")
    for regain in (os.setuid, os.setgid):
        with contextlib.suppress(PermissionError):
            regain(0)
            raise OSError("root could be regained")
    libc = ctypes.CDLL(None, use_errno=True)
    if not may_use_sudo and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def drop(service_user: str, *, may_use_sudo: bool) -> None:
    """Turn this process, which is root, into the service user for good.

    Raises:
        PermissionError: that is root too.
        LookupError: no such service user.
    """
    try:
        user = pwd.getpwnam(service_user)
    except KeyError:
        raise LookupError(f"the service user {service_user!r} does not exist") from None
    if user.pw_uid == 0:
        raise PermissionError("the service user may not be root")
    become(user, may_use_sudo=may_use_sudo)
    os.environ["HOME"] = user.pw_dir


def start_and_drop(
    service_user: str, clusters: Mapping[str, ClusterAgents], at_end: Callable[[], None]
) -> socket.socket:
    """Leave a spawner behind with root's rights and go on as `service_user`.

    Args:
        service_user: whom this process becomes.
        clusters: by name, those of which there may be agents.
        at_end: called by the spawner, still root, when this process is gone.

    Returns:
        The socket on which `SpawnerClient` asks the spawner.

    Raises:
        PermissionError: this process is not root, or the service user is.
        LookupError: no such service user.
    """
    if os.geteuid() != 0:
        raise PermissionError("the setuid way needs root to start")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        status = 70
        try:
            ours.close()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # it ends when the scheduler does
            serve(theirs, clusters)
            at_end()
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    drop(service_user, may_use_sudo=False)
    return ours
