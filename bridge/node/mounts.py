"""What a container has mounted, read from one and planned for the next. Pure: mounts nothing.

Every mount of the template but its root is made again for each message, in one of these ways. What
the host has mounted too (the site's binds, devices, /sys) is moved over from the message's copy of
the template's mounts, with the flags it has; or bound, where something is below that is not.
What is the template's own has been written to, or may be, so it is made anew: a file system of
memory, /proc, terminals and message queues by mounting another; a directory or a file of the
runtime's session (/dev, /tmp, /etc/passwd) by a copy.
"""

import re
from typing import Dict, FrozenSet, List, NamedTuple, Tuple

from bridge.node.linux import MOUNT_FLAGS

MOVE, BIND, NEW, COPY = "move", "bind", "new", "copy"

# What is mounted anew, with the options that are kept.
_NEW_TYPES: Dict[str, Tuple[str, ...]] = {
    "proc": (),
    "mqueue": (),
    "devpts": ("mode", "ptmxmode", "gid"),
    "tmpfs": ("size", "nr_blocks", "nr_inodes"),
}
_ESCAPE = re.compile(r"\\([0-7]{3})")


class MountsError(Exception):
    """A mount cannot be made again; says which and why."""


class Mount(NamedTuple):
    """One line of mountinfo. Source: proc_pid_mountinfo(5)."""

    device: str  # "major:minor"
    root: str  # which part of its file system
    point: str
    flags: Tuple[str, ...]  # of this mount
    fstype: str
    options: Tuple[str, ...]  # of the file system


class Step(NamedTuple):
    """One mount to make: `how` is MOVE, BIND, NEW or COPY; the rest as mount(2) takes it for NEW.

    MOVE takes all that is mounted below along, also what came there since (autofs).
    """

    how: str
    point: str
    fstype: str = ""
    flags: int = 0
    options: Tuple[str, ...] = ()


def parse_mountinfo(text: str) -> List[Mount]:
    """Return the mounts of a mountinfo file, parents before children."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        words = left.split(" ")
        fstype, _, options = right.split(" ", 2)
        mounts.append(
            Mount(
                device=words[2],
                root=_unescape(words[3]),
                point=_unescape(words[4]),
                flags=tuple(words[5].split(",")),
                fstype=fstype,
                options=tuple(_unescape(options).split(",")),
            )
        )
    return mounts


def find_root(mounts: List[Mount]) -> Mount:
    """Return what is mounted at "/".

    Raises:
        MountsError: it is nothing that an overlay of the kernel's can be put on.
    """
    root = next((mount for mount in mounts if mount.point == "/"), None)
    if root is None or root.fstype != "overlay":
        found = root.fstype if root else "nothing"
        raise MountsError("the root of a container is %s, expected the kernel's overlay" % found)
    return root


def plan_mounts(
    mounts: List[Mount], host_devices: FrozenSet[str], left_out: FrozenSet[str]
) -> List[Step]:
    """Return how to make the mounts of a container again, in order.

    Args:
        mounts: those of the template.
        host_devices: of the file systems that the host has mounted.
        left_out: mount points that only the template has.

    Raises:
        MountsError: one of them is of a kind that is not known here, or one that is left out is not
            where it should be, and could be seen by messages.
    """
    for point in left_out - {mount.point for mount in mounts}:
        raise MountsError("%s of a container is mounted elsewhere" % point)
    # Of several on one point the last is seen.
    seen = {mount.point: mount for mount in mounts if mount.point != "/"}
    steps: List[Step] = []
    whole = ""
    for point, mount in seen.items():
        if _is_under(point, left_out) or (whole and point.startswith(whole)):
            continue
        step = _plan_mount(mount, host_devices)
        below = [other for other in seen.values() if other.point.startswith(point + "/")]
        if step.how == BIND and all(_is_bound(other, host_devices) for other in below):
            whole = point + "/"
            step = step._replace(how=MOVE)
        steps.append(step)
    return steps


def _plan_mount(mount: Mount, host_devices: FrozenSet[str]) -> Step:
    if _is_bound(mount, host_devices):
        return Step(BIND, mount.point)
    kept = _NEW_TYPES.get(mount.fstype)
    if kept is None:
        raise MountsError(
            "%s of a container is a file system of its own of type %s, which cannot be made anew"
            % (mount.point, mount.fstype)
        )
    flags = read_flags(mount)
    if mount.root != "/":
        return Step(COPY, mount.point, flags=flags)
    options = tuple(word for word in mount.options if word.partition("=")[0] in kept)
    if mount.fstype == "devpts":
        options += ("newinstance",)
    return Step(NEW, mount.point, mount.fstype, flags, options)


def read_flags(mount: Mount) -> int:
    """Return the flags of a mount as mount(2) takes them; "relatime" is what it takes by itself."""
    flags = 0
    for name in mount.flags:
        flags |= MOUNT_FLAGS.get(name, 0)
    return flags


def _is_bound(mount: Mount, host_devices: FrozenSet[str]) -> bool:
    return mount.device in host_devices


def _is_under(point: str, points: FrozenSet[str]) -> bool:
    return any(point == other or point.startswith(other + "/") for other in points)


def _unescape(text: str) -> str:
    """Return a path as it is: spaces and the like, all of them ASCII, are escaped in octal."""
    return _ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), text)
