"""Runs as root on a node: names every process that opens a file below a mount, and its uid.

usage: openers.py MOUNTPOINT SECONDS

By fanotify permission events: the kernel holds the opener until it is answered, so that what /proc
says of it is true of the moment of opening. Prints ``ready``, then a line per opener: file system
uid, whether it is a ``daemon`` (a descendant of the node's first process) or a ``visitor`` (of a
command that was run on the node from outside), program and path. Source: fanotify(7).
"""

import ctypes
import os
import select
import struct
import sys
import time
from pathlib import Path

FAN_CLASS_CONTENT, FAN_NONBLOCK = 0x04, 0x02
FAN_MARK_ADD, FAN_MARK_MOUNT = 0x01, 0x10
FAN_OPEN_PERM, FAN_ONDIR, FAN_ALLOW = 0x10000, 0x40000000, 0x01
EVENT = struct.Struct("=IBBHQii")


def main(mountpoint: str, seconds: float) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.fanotify_init(FAN_CLASS_CONTENT | FAN_NONBLOCK, os.O_RDONLY)
    libc.fanotify_mark.argtypes = [
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint64,
        ctypes.c_int,
        ctypes.c_char_p,
    ]
    flags = FAN_MARK_ADD | FAN_MARK_MOUNT
    if events < 0 or libc.fanotify_mark(
        events, flags, FAN_OPEN_PERM | FAN_ONDIR, -100, mountpoint.encode()
    ):
        sys.exit(f"fanotify on {mountpoint}: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([events], [], [], 0.2)[0]:
            answer(events)


def answer(events: int) -> None:
    data = os.read(events, 1 << 16)
    for offset in range(0, len(data), EVENT.size):
        *_, handle, pid = EVENT.unpack_from(data, offset)
        uid, origin, program = opener(pid)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        os.write(events, struct.pack("=iI", handle, FAN_ALLOW))
        os.close(handle)
        print(uid, origin, program, path, flush=True)


def opener(pid: int) -> tuple[str, str, str]:
    fields = status(pid)
    if not fields:
        return "gone", "?", "?"
    ancestor = pid
    while ancestor > 1:
        ancestor = int(status(ancestor).get("PPid", 0))
    origin = "daemon" if ancestor == 1 else "visitor"
    return fields["Uid"].split()[3], origin, fields["Name"].strip()


def status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":", 1) for line in lines)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
