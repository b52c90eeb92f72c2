"""The memory of a container: what its processes use together, and whether the kernel stepped in.

A message's limit is the worker's to enforce, since several messages run in one job after another.
"""

import time
from typing import Callable, Iterable, Optional

from bridge.node.processes import glance_at_descendants

RUNTIME_MIB = 32  # what Apptainer's own processes take beside the actor's (1.4.5: 30)
_SOONEST_S, _LATEST_S = 0.1, 1.0


class MemoryWatch:
    """Samples the processes below one: once a second, and faster the sooner the limit may come.

    Args:
        limit_mib: what they may use together.
        root: the process above them.
        own_mib: what is not counted, being ours.
        skip: how many of the processes, from the topmost on, are ours and not counted.
    """

    def __init__(
        self, limit_mib: int, root: int, own_mib: int = RUNTIME_MIB, skip: int = 0
    ) -> None:
        self.due_at = time.monotonic() + _SOONEST_S
        self.used_kib = 0
        self._limit_kib = limit_mib * 1024
        self._own_kib = own_mib * 1024
        self._root = root
        self._skip = skip
        self._sampled_at = time.monotonic()

    def is_over(self) -> bool:
        """Take a sample; whether it is over the limit.

        Pages that processes share count for each in its RSS, so that is looked at first, being
        cheap, and the proportional share (PSS) only where the former is over.
        """
        pids = glance_at_descendants(self._root)[self._skip :]
        used_kib = _sum(pids, read_rss_kib) - self._own_kib
        if used_kib > self._limit_kib:
            used_kib = _sum(pids, read_pss_kib) - self._own_kib
        now = time.monotonic()
        rate = max(0, used_kib - self.used_kib) / max(now - self._sampled_at, 0.001)
        left_kib = self._limit_kib - used_kib
        pause_s = left_kib / rate / 2 if rate else _LATEST_S
        self.due_at = now + min(max(pause_s, _SOONEST_S), _LATEST_S)
        self.used_kib, self._sampled_at = used_kib, now
        return left_kib < 0

    @property
    def sentence(self) -> str:
        """What the last sample was, for a person."""
        return "Killed: its processes used %d MiB of memory, the limit is %d MiB." % (
            self.used_kib // 1024,
            self._limit_kib // 1024,
        )


def _sum(pids: Iterable[int], read: Callable[[int], int]) -> int:
    return sum(read(pid) for pid in pids)


def read_rss_kib(pid: int) -> int:
    """Return what a process has in memory, 0 when it is gone. Source: proc_pid_status(5)."""
    return _read_kib("/proc/%d/status" % pid, b"VmRSS:") or 0


def read_pss_kib(pid: int) -> int:
    """Return a process's share of memory, its RSS where the kernel does not tell (before 4.14)."""
    pss = _read_kib("/proc/%d/smaps_rollup" % pid, b"Pss:")
    return read_rss_kib(pid) if pss is None else pss


def _read_kib(path: str, name: bytes) -> Optional[int]:
    try:
        with open(path, "rb") as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


class OomCount:
    """How many processes of the job the kernel has killed for want of memory.

    Slurm's own limit may be hit before a message's (ConstrainRAMSpace). Where the job has no cgroup
    of its own, or none that can be read, nothing is known.
    """

    def __init__(self, listing: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> None:
        self._path = ""
        try:
            with open(listing) as file:
                places = [line.rstrip("\n").split(":", 2) for line in file]
        except OSError:
            places = []
        for _, controllers, place in places:
            if "memory" in controllers.split(","):  # version 1
                self._path = root + "/memory" + place + "/memory.oom_control"
                break
            if not controllers:  # version 2
                self._path = root + place + "/memory.events"

    def read(self) -> int:
        """Return the count, 0 where nothing is known. Source: Linux, admin-guide/cgroup-v2."""
        try:
            with open(self._path) as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
        except OSError:
            pass
        return 0
