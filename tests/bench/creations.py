"""Runs on a node: counts the names that come to be below a directory, by inotify.

usage: creations.py DIRECTORY SECONDS

Prints ``ready``; then, when it gets SIGTERM or its time is over, a line of JSON: ``files`` and
``directories`` that were created, hard links and what is gone again among them, and ``lost``, the
events that the kernel dropped. Inotify goes by inode: it sees what every container of the machine
does to the volume. A directory that is new is watched from when its own event is read on; what came
into it before is found by listing it then, and counted once. Source: inotify(7).
"""

import ctypes
import json
import os
import select
import signal
import struct
import sys
import time

IN_CREATE, IN_Q_OVERFLOW, IN_ISDIR, IN_ONLYDIR = 0x100, 0x4000, 0x40000000, 0x01000000
EVENT = struct.Struct("=iIII")
BUFFER = 1 << 20


class Creations:
    """Watches a directory and all below it."""

    def __init__(self, root):
        self.files = self.directories = self.lost = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = self._libc.inotify_init1(os.O_NONBLOCK)
        self._paths = {}
        self._early = set()  # found in a new directory, whose event may come yet
        self._add(root, is_new=False)

    def fileno(self):
        """Return the descriptor that is readable when something was created."""
        return self._events

    def read(self):
        """Count what has come."""
        try:
            data = os.read(self._events, BUFFER)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _, length = EVENT.unpack_from(data, offset)
            offset += EVENT.size
            name = data[offset : offset + length].rstrip(b"\0").decode()
            offset += length
            if mask & IN_Q_OVERFLOW:
                self.lost += 1
            elif mask & IN_CREATE:
                self._note(f"{self._paths[watch]}/{name}", bool(mask & IN_ISDIR))

    def _note(self, path, is_directory):
        if path in self._early:
            self._early.discard(path)
            return
        if is_directory:
            self.directories += 1
            self._add(path, is_new=True)
        else:
            self.files += 1

    def _add(self, path, is_new):
        watch = self._libc.inotify_add_watch(
            self._events, os.fsencode(path), IN_CREATE | IN_ONLYDIR
        )
        if watch < 0:
            return  # it is gone already
        self._paths[watch] = path
        try:
            entries = list(os.scandir(path))
        except OSError:
            return
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_new:
                self._note(entry.path, is_directory)
                self._early.add(entry.path)
            elif is_directory:
                self._add(entry.path, is_new=False)


def main(root, seconds):
    """Watch until told to end."""
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    creations = Creations(root)
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while not over and time.monotonic() < end:
        if select.select([creations], [], [], 0.2)[0]:
            creations.read()
    creations.read()
    counts = ("files", "directories", "lost")
    print(json.dumps({name: getattr(creations, name) for name in counts}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
