"""The files that messages open again and again: copied from the image into the template's memory.

The image's file server is asked for each file that a container opens, closes, or looks up: the
container's root is new, and the kernel asks whether a file of a lower layer is one that was copied
up in part (`user.overlay.metacopy`). For the digits classifier that is some 430 questions a
message; one that took a worker 130 ms takes 103 ms without them. A file that the template's own
overlay has in its upper layer, in memory, is no question at all. So a process of its own enters the
template, looks for a while at which files the messages open (inotify(7)), and has the kernel copy
those: a change of a file's times to what they are makes it. Their content and all that a container
can see stays as it was, but for the time of the change, the inode's number and a folder's number of
links.

That costs a third of a second once; it begins when a worker has run messages for a while, so that
more are likely. No message waits for it, and where it cannot be done (a root that cannot be
written, no watches left), nothing has changed.

A file with several names stays in the image, since a copy would have one. The mounts of the
template are not looked at, nor touched.
"""

import ctypes
import errno
import os
import select
import signal
import socket
import stat
import struct
import sys
import traceback
from typing import Dict, List, Set

from bridge.node import inside, linux
from bridge.node.keeper import SIGNALS
from bridge.node.template import Look

BEGIN_AFTER_S = 1.0  # since the first message of a worker ended: as much may well follow
WATCHED = 4  # messages whose files are noted
MOST_BYTES = 16 << 20  # it is memory of the job, like the message's
MOST_FOLDERS = 10_000  # so many take 1.5 s, and some 25 MiB of the kernel's while they are watched

_IN_OPEN, _IN_ONLYDIR, _IN_DONT_FOLLOW = 0x20, 0x01000000, 0x02000000
_IN_ISDIR = 0x40000000
_EVENT = struct.Struct("iIII")
_READ_BYTES = 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)


class HotFiles:
    """A process that copies them; starts when made.

    Args:
        look: of the template.

    Raises:
        OSError: this node has no processes or descriptors left.
    """

    def __init__(self, look: Look) -> None:
        self._socket, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _be_copier(look, theirs)
        except OSError:
            self._socket.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            theirs.close()

    def tell(self) -> bool:
        """Tell it that a message has ended; return whether it wants to know of more."""
        try:
            self._socket.send(b".", socket.MSG_DONTWAIT)
        except BlockingIOError:  # still looking for folders
            pass
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def close(self) -> None:
        """End it, if it has not ended, and wait for its end."""
        self._socket.close()
        os.kill(self.pid, signal.SIGKILL)  # not reaped before, so the number is its own
        os.waitpid(self.pid, 0)


def _be_copier(look: Look, told: socket.socket) -> None:
    """Do what there is to do and exit; never returns into the worker's code."""
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # What the worker waits for the end of, or somebody else's, is not to be kept open here.
        keep = {0, 1, 2, told.fileno(), look.namespaces["user"], look.namespaces["mnt"]}
        for handle in {int(name) for name in os.listdir("/proc/self/fd")} - keep:
            os.closerange(handle, handle + 1)  # the one on the directory is closed already
        _enter(look)
        _copy_hot_files(told, min(MOST_BYTES, look.bytes // 2))
        os._exit(0)
    except OSError as error:
        sys.stderr.write("worker: files stay in the image: %s\n" % error)
    except BaseException:  # noqa: BLE001  # an edge: the worker's frames are above this one
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(1)


def _enter(look: Look) -> None:
    """Make the template's root, without what is mounted in it, the working directory."""
    linux.setns(look.namespaces["user"], "user")
    linux.setns(look.namespaces["mnt"], "mnt")
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
    linux.mount("/", inside.SCRATCH, None, linux.MS_BIND)
    os.chdir(inside.SCRATCH)
    linux.give_up_capabilities([])
    linux.hide_memory()
    linux.die_with_parent()


def _copy_hot_files(told: socket.socket, most_bytes: int) -> None:
    """Copy what is opened while so many messages end; nothing if whoever tells is gone first."""
    watch = Watch()
    watch.add_folders(".")
    if select.select([told], [], [], 0)[0]:
        told.recv(_READ_BYTES)  # of messages that ended before
    for _ in range(WATCHED):
        if not told.recv(1):
            return
    copy_up(watch.list_opened(), most_bytes)


class Watch:
    """Notes which files are opened. Source: inotify(7).

    Raises:
        OSError: the user has no more of them.
    """

    def __init__(self) -> None:
        self._handle = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            number = ctypes.get_errno()
            raise OSError(number, "inotify_init1: %s" % os.strerror(number))
        self._folders: Dict[int, str] = {}

    def add_folders(self, top: str) -> None:
        """Watch a folder and those below that can be read; as many as the user may watch."""
        queue = [top]
        while queue and len(self._folders) < MOST_FOLDERS:
            folder = queue.pop(0)
            mask = _IN_OPEN | _IN_ONLYDIR | _IN_DONT_FOLLOW
            number = _LIBC.inotify_add_watch(self._handle, os.fsencode(folder), mask)
            if number < 0:
                if ctypes.get_errno() == errno.ENOSPC:
                    return
                continue
            self._folders[number] = folder
            with os.scandir(folder) as entries:
                queue += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]

    def list_opened(self) -> Set[str]:
        """Return the files that were opened since the watch began."""
        opened: Set[str] = set()
        while True:
            try:
                data = os.read(self._handle, _READ_BYTES)
            except BlockingIOError:
                return opened
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if name and not mask & _IN_ISDIR and number in self._folders:
                    opened.add(os.path.join(self._folders[number], os.fsdecode(name)))


def copy_up(paths: Set[str], most_bytes: int) -> List[str]:
    """Have the overlay copy files into its upper layer, small ones first; return which.

    Raises:
        OSError: one could not be copied; those before it are.
    """
    found = ((path, os.lstat(path)) for path in paths)
    files = [(p, s) for p, s in found if stat.S_ISREG(s.st_mode) and s.st_nlink == 1]
    done: List[str] = []
    for path, seen in sorted(files, key=lambda one: (one[1].st_size, one[0])):
        most_bytes -= seen.st_size
        if most_bytes < 0:
            break
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns), follow_symlinks=False)
        done.append(path)
    return done
