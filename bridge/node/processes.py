"""Processes below this one: finding them all and ending them all."""

import ctypes
import os
import signal
from typing import Dict, List

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Let every orphan among this process's descendants become its child.

    Source: prctl(2), PR_SET_CHILD_SUBREAPER (Linux 3.4).
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have this process told to end when the one that started it is gone.

    Source: prctl(2), PR_SET_PDEATHSIG; a fork does not inherit it.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "prctl: %s" % os.strerror(number))


def list_descendants(root: int) -> List[int]:
    """Return the processes below `root`, parents before children.

    Parents first, because the death of a container's first process ends all others in it at once,
    however fast they multiply.
    """
    children: Dict[int, List[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(_read_parent(name), []).append(int(name))
    found: List[int] = []
    queue = [root]
    while queue:
        below = children.pop(queue.pop(0), [])
        found += below
        queue += below
    return found


def list_children(parent: int) -> List[int]:
    """Return the processes that `parent` has started or taken over, dead ones included."""
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and _read_parent(name) == parent
    ]


def glance_at_descendants(root: int) -> List[int]:
    """Return the processes below `root`, perhaps without some that begin or end this moment.

    It costs by what is below, not by all that runs on the node.
    Source: proc_tid_children(5); a kernel without CONFIG_PROC_CHILDREN has no such files.
    """
    if not os.path.exists("/proc/thread-self/children"):
        return list_descendants(root)
    found: List[int] = []
    queue = [root]
    while queue:
        place = "/proc/%d/task" % queue.pop(0)
        try:
            below = []
            for thread in os.listdir(place):
                with open("%s/%s/children" % (place, thread), "rb") as file:
                    below += [int(word) for word in file.read().split()]
        except OSError:  # gone
            continue
        found += below
        queue += below
    return found


def _read_parent(name: str) -> int:
    """Return a process's parent, 0 when it is gone."""
    try:
        with open("/proc/%s/stat" % name, "rb") as file:
            text = file.read()
    except OSError:
        return 0
    # The second field is the program's name in parentheses and may itself hold any of them.
    return int(text[text.rindex(b")") + 2 :].split()[1])


def send(pid: int, *signals: int) -> None:
    """Send signals to a process that may be gone."""
    for number in signals:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            return


def terminate_all(root: int) -> None:
    """Ask all processes below `root` to end; stopped ones are woken up for it."""
    for pid in list_descendants(root):
        send(pid, signal.SIGTERM, signal.SIGCONT)


def kill_all(root: int) -> None:
    """Kill all processes below `root` that exist at this moment."""
    for pid in list_descendants(root):
        send(pid, signal.SIGKILL)
