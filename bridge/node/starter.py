"""The interface of the ways in which a container starts (design.md section 5)."""

import signal
from abc import ABC, abstractmethod
from typing import Callable, NamedTuple, Optional, Tuple

from bridge.node.capture import Capture
from bridge.node.messages import Message
from bridge.node.results import Results


class StarterError(Exception):
    """On this node no container of this image can start."""


class Ending(NamedTuple):
    """That a container has to end before it is done: why, and how long it may take about it."""

    why: str  # "cancel", "time_limit", "signal", "memory", "fenced"
    grace_s: float
    note: str = ""  # for a person, at the end of the log


class Outcome(NamedTuple):
    """What became of one container; the words are those of the `finished` record."""

    exit_code: int
    runtime_error: Optional[str] = None
    ended_by: Optional[str] = None
    pid: int = 0
    cpu_ns: int = 0
    max_rss_kib: int = 0
    io_bytes: int = 0
    oom_killed: bool = False
    state: Optional[str] = None
    notes: Tuple[str, ...] = ()


KILLED = 128 + signal.SIGKILL
RUNTIME_FAILED = 255  # Apptainer's own exit code for its own failures
TERMINATED = 128 + signal.SIGTERM


class Starter(ABC):
    """Starts a container for one message after another.

    `tell` is called with the reason when it goes on in a slower way than it was asked for.
    """

    tell: Callable[[str], None] = staticmethod(lambda why: None)

    @abstractmethod
    def prepare(self) -> None:
        """Get ready, once, before the first message.

        Raises:
            StarterError: nothing would ever start here; the messages are left to others.
        """

    @abstractmethod
    def run(
        self,
        message: Message,
        log: Capture,
        results: Results,
        watch: Callable[[], Optional[Ending]],
    ) -> Outcome:
        """Run one message to its end.

        Args:
            message: the message.
            log: takes what the actor writes.
            results: takes what the actor sends to the results socket.
            watch: called about once a second and after each signal; says when to end.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind; may be repeated."""
