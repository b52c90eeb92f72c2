"""The system calls that make a container: each an OSError that names the call and what it was for.

By ctypes, since compute nodes have nothing of ours installed. The constants are of linux/mount.h,
sched.h, prctl.h and capability.h, and the same on all machines; the number of keyctl(2), which no
C library wraps, is not.
"""

import ctypes
import errno
import itertools
import os
import signal
from typing import Dict, List, Optional

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 32, 4096, 8192, 16384, 1 << 19
# As mountinfo names them, for what is mounted anew.
MOUNT_FLAGS = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "sync": 16,
    "dirsync": 128,
    "noatime": 1024,
    "nodiratime": 2048,
}
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME = 1, 4, 15
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63  # of what the two words of capset(2) can name
_KEYCTL = {"x86_64": 250, "aarch64": 219, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1

_CLONE3 = 435

_LIBC = ctypes.CDLL(None, use_errno=True)
_PYTHON = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock


def setns(handle: int, kind: str) -> None:
    """Enter the namespace that `handle` is open on."""
    _check(_LIBC.setns(handle, 0), "setns(%s)" % kind)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones."""
    _check(_LIBC.unshare(flags), "unshare(%#x)" % flags)


def fork_into(flags: int) -> int:
    """Fork into new namespaces; return as os.fork() does.

    Unlike unshare(2), which gives a process one new process namespace for its children and no
    second one, it can be repeated.

    Source: clone(2); clone3 has the same number on every machine. The interpreter is told of it as
    it tells itself in os.fork().
    """
    arguments = (ctypes.c_uint64 * 8)(flags, 0, 0, 0, int(signal.SIGCHLD))
    _PYTHON.PyOS_BeforeFork()
    pid = _PYTHON.syscall(_CLONE3, arguments, ctypes.c_size_t(ctypes.sizeof(arguments)))
    if pid == 0:
        _PYTHON.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    _PYTHON.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, "clone3(%#x): %s" % (flags, os.strerror(number)))
    return int(pid)


def mount(
    source: Optional[str], target: str, fstype: Optional[str], flags: int, data: str = ""
) -> None:
    """Mount, or change a mount."""
    done = _LIBC.mount(
        _encode(source), _encode(target), _encode(fstype), ctypes.c_ulong(flags), _encode(data)
    )
    _check(done, "mount(%s, %s, %s)" % (source, target, fstype))


def move_mount(source: str, target: str) -> None:
    """Move a mount with all that is below; where it is locked in its place, bind it instead."""
    try:
        mount(source, target, None, MS_MOVE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        mount(source, target, None, MS_BIND | MS_REC)


def change_root() -> None:
    """Make the working directory, a mount, the root; the old root lies upon it until it is left.

    Paths from "/" are then those of the new root. Source: pivot_root(2), `pivot_root(".", ".")`.
    """
    _check(_LIBC.pivot_root(b".", b"."), "pivot_root")


def detach(path: str) -> None:
    """Unmount with all that is below, at once for this process and later for who still uses it."""
    _check(_LIBC.umount2(_encode(path), _MNT_DETACH), "umount(%s)" % path)


def map_user_and_group(uid: int, gid: int) -> None:
    """Give the ids to the user namespace that this process has just made: the same, and no others.

    Source: user_namespaces(7): without CAP_SETGID outside, setgroups(2) has to be given up first.
    """
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", "%d %d 1" % (uid, uid)),
        ("gid_map", "%d %d 1" % (gid, gid)),
    ):
        handle = os.open("/proc/self/" + name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)


def list_capabilities_beyond(bounding: int) -> List[int]:
    """Return the capabilities that this kernel knows and that are not in the set `bounding`."""
    known = itertools.takewhile(
        lambda number: _LIBC.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0,
        range(_LAST_CAPABILITY + 1),
    )
    return [number for number in known if not bounding >> number & 1]


def give_up_capabilities(dropped: List[int]) -> None:
    """Have none and get none again; those `dropped` leave the bounding set too."""
    for number in dropped:
        _check(_LIBC.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")
    ambient = _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _check(ambient, "prctl(PR_CAP_AMBIENT)")
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def set_no_new_privileges() -> None:
    """Let no later program have more rights than this one."""
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def hide_memory() -> None:
    """Let nobody trace this process, or read its memory, environment and descriptors in /proc.

    It holds until the next program is executed, and for children until then as well.
    """
    _check(_LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def join_new_session_keyring() -> None:
    """Have a session keyring of one's own, an empty one.

    Where a filter forbids keyrings (containers within containers), it forbids them to all below.

    Raises:
        OSError: also for a machine whose number of the call is not known here.
    """
    number = _KEYCTL.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "keyctl: its number on %s is not known" % os.uname().machine)
    if _LIBC.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0) < 0:
        found = ctypes.get_errno()
        if found not in (errno.ENOSYS, errno.EPERM):
            raise OSError(found, "keyctl(KEYCTL_JOIN_SESSION_KEYRING): %s" % os.strerror(found))


def find_arguments() -> Dict[str, int]:
    """Return where the kernel finds this process's command line. Source: proc_pid_stat(5)."""
    with open("/proc/self/stat", "rb") as file:
        words = file.read().rpartition(b")")[2].split()
    return {"start": int(words[45]), "end": int(words[46])}


def rename_process(name: bytes, arguments: Dict[str, int]) -> None:
    """Show `name` as the process's name and whole command line.

    Args:
        name: at most 15 bytes.
        arguments: what `find_arguments` said in this process, or in the one it was forked from.
    """
    length = arguments["end"] - arguments["start"]
    ctypes.memset(arguments["start"], 0, length)
    ctypes.memmove(arguments["start"], name, min(len(name), length - 1))
    _check(_LIBC.prctl(_PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0), "prctl(PR_SET_NAME)")


def _check(result: int, what: str) -> None:
    if result < 0:
        found = ctypes.get_errno()
        raise OSError(found, "%s: %s" % (what, os.strerror(found)))


def _encode(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else os.fsencode(text)
