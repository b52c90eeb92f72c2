"""The signals that tell a worker to end: noted when they come, looked at when there is time."""

import os
import select
import signal
from typing import Optional

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU)


class Signals:
    """Notes signals and wakes up whoever polls `fileno`."""

    def __init__(self) -> None:
        self.has_come = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def install(self) -> None:
        """Note the ending signals from now on."""
        signal.set_wakeup_fd(self._write)
        for number in ENDING:
            signal.signal(number, self._note)

    def fileno(self) -> int:
        """Return the descriptor that is readable after a signal."""
        return self._read

    def clear(self) -> None:
        """Make `fileno` unreadable again; `has_come` stays."""
        os.read(self._read, 512)

    def wait(self, seconds: Optional[float]) -> None:
        """Wait, but no longer than until a signal comes; None: until then."""
        if select.select([self._read], [], [], seconds)[0]:
            self.clear()

    def _note(self, number: int, frame: object) -> None:
        self.has_come = True
