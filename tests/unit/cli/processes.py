"""A process of the bridge for tests, and the lines that it logs."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bridge.clock import monotonic_s

ROOT = Path(__file__).parents[3]
DEADLINE_S = 300.0


class Running:
    """The process, with the messages of its log as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._seen: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, words: str) -> str:
        """Return the next log message with `words` in it."""
        end = monotonic_s() + DEADLINE_S
        while True:
            try:
                line = self._lines.get(timeout=max(end - monotonic_s(), 0.01))
            except queue.Empty:
                line = None
            assert line is not None, f"no {words!r} in:\n" + "\n".join(self._seen)
            message = json.loads(line)["message"] if line.startswith("{") else line
            self._seen.append(message)
            if words in message:
                return message

    def hang_up(self) -> None:
        """Tell it to read its site file again."""
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def running(*arguments: str, env: Mapping[str, str]) -> Iterator[Running]:
    """Run Python with `arguments` until the end of the block; it must then end well on SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    )
    found = Running(process)
    try:
        yield found
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        found.close()
