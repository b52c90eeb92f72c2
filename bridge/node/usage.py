"""What one process has used so far, read from outside at every moment."""

import os
import time
from typing import List, NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK = 2  # of a process: CPUCLOCK_SCHED in the kernel's numbering


class Usage(NamedTuple):
    """Counters that only grow."""

    cpu_ns: int = 0
    max_rss_kib: int = 0
    io_bytes: int = 0

    def since(self, before: "Usage") -> "Usage":
        """Return what came since `before`; the peak of memory is that of all the time."""
        return Usage(
            max(0, self.cpu_ns - before.cpu_ns),
            self.max_rss_kib,
            max(0, self.io_bytes - before.io_bytes),
        )


class UsageOf:
    """Reads the counters of one process and of the children that it has waited for.

    The processor time of the process itself comes from its clock, to the nanosecond; that of its
    children in ticks. The files stay open, so that they speak of this process, whatever gets its
    number later.

    Source: proc_pid_stat(5), proc_pid_status(5), proc_pid_io(5), clock_getcpuclockid(3).
    """

    def __init__(self, pid: int) -> None:
        self._clock = (~pid << 3) | _CPU_CLOCK
        self._handles: List[int] = []
        self._last = Usage()
        try:
            for name in ("stat", "status", "io"):
                flags = os.O_RDONLY | os.O_CLOEXEC
                self._handles.append(os.open("/proc/%d/%s" % (pid, name), flags))
        except OSError:  # gone, or not to be looked at: nothing is known
            self.close()

    def read(self) -> Usage:
        """Return the counters; of a process that is gone, those that were read last."""
        if self._handles:
            try:
                self._last = self._read()
            except OSError:
                self.close()
        return self._last

    def close(self) -> None:
        """Close the files; may be repeated."""
        for handle in self._handles:
            os.close(handle)
        self._handles = []

    def _read(self) -> Usage:
        stat, status, counts = (os.pread(handle, 4096, 0) for handle in self._handles)
        # After the program's name, which may hold anything: state is the first of the fields.
        fields = stat[stat.rindex(b")") + 2 :].split(None, 15)
        of_children = int(fields[13]) + int(fields[14])
        own = time.clock_gettime(self._clock)
        return Usage(
            int(own * 1e9) + of_children * 1000000000 // _TICKS,
            max(_find(status, b"VmHWM:"), self._last.max_rss_kib),  # of a zombie there is none
            _find(counts, b"rchar:") + _find(counts, b"wchar:"),
        )


def _find(text: bytes, name: bytes) -> int:
    """Return the number that follows a name, 0 where it is missing."""
    at = text.find(name)
    return 0 if at < 0 else int(text[at + len(name) : at + len(name) + 32].split(None, 1)[0])
