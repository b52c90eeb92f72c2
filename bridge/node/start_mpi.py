"""Messages of several Slurm tasks: one container for each, started by srun on their nodes (MPI).

srun starts ``node.pyz rank`` for each task, which hands on to the container what an MPI library
looks for (``SLURM_*`` and ``PMI*``; a single container gets none of it) and has a directory of its
own on its node. The mark that the actor runs cannot come through an inherited descriptor here, so
it goes through a file of the spool, as all else that a message brings. The results socket would be
on one node alone, so these containers have none; what srun starts is not below the worker, so its
memory is Slurm's to limit and its usage is not counted.
"""

import os
import signal
import sys
from typing import Dict, List, Mapping, Optional, Tuple

from bridge.node.container import MARKER_FD, STARTED, Launch, runtime_places
from bridge.node.memory import MemoryWatch
from bridge.node.messages import Message
from bridge.node.place import Place
from bridge.node.results import Results, ResultsSocket
from bridge.node.start_none import StartNone

_HANDED_ON = ("SLURM_", "PMI")
_CARRIED = "APPTAINERENV_"
_KEPT = ("PATH", "LANG")
_SRUN = ("--export=ALL", "--input=none", "--kill-on-bad-exit=0")


class StartMpi(StartNone):
    """Starts a fresh container of the image for each task of each message."""

    def prepare(self) -> None:
        """Find srun as well."""
        super().prepare()
        self._srun = self._find("srun")

    def _file(self, message: Message, name: str) -> str:
        """Return a place that all nodes see."""
        return self._spool.path("payload", "%s.%s" % (message.id, name))

    def _open_inbox(self, results: Results) -> Optional[ResultsSocket]:
        return None

    def _watch_memory(self, keeper_pid: int) -> Optional[MemoryWatch]:
        return None

    def _build_launch(self, message: Message, mounts: List[Tuple[str, str, str]]) -> Launch:
        launch = super()._build_launch(message, mounts)
        argv = [self._srun, "--ntasks=%d" % self._array.ntasks, *_SRUN]
        # Not sys.executable, which is empty when Python was found without a PATH.
        python = os.readlink("/proc/self/exe")
        argv += [python, "-I", sys.argv[0], "rank", self._file(message, "marker")]
        env = dict(launch.env)
        for name, value in self._environ.items():
            if name.startswith("SLURM"):  # srun finds its job there
                env[os.fsencode(name)] = os.fsencode(value)
        return Launch([os.fsencode(word) for word in argv] + launch.argv, env)

    def _said_elsewhere(self, message: Message) -> bytes:
        """Return what the tasks said of the actor's start; that one of them ran it is enough."""
        try:
            with open(self._file(message, "marker"), "rb") as file:
                said = file.read(1 << 16).split(b"\n")
        except OSError:
            return b""
        return STARTED if STARTED in said else said[0]


def run_rank(marker: str, argv: List[str], environ: Mapping[str, str]) -> int:
    """Be one task: start the container, wait for it, leave nothing behind; return its status."""
    place = Place()
    try:
        pid = os.fork()
        if pid == 0:
            _become(marker, argv, rank_environment(environ, place.path))
        # Slurm signals every process of a task; the container ends by it and this one tidies up.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _, status = os.waitpid(pid, 0)
    finally:
        place.remove()
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def rank_environment(environ: Mapping[str, str], place: str) -> Dict[str, str]:
    """Return the environment of the runtime of one task."""
    env = {n: v for n, v in environ.items() if n in _KEPT or n.startswith(_CARRIED)}
    for name, value in environ.items():
        if name.startswith(_HANDED_ON):
            env[_CARRIED + name] = value
    return dict(env, **runtime_places(place))


def _become(marker: str, argv: List[str], env: Dict[str, str]) -> None:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        handle = os.open(marker, flags, 0o600)
        if handle != MARKER_FD:
            os.dup2(handle, MARKER_FD)
        os.set_inheritable(MARKER_FD, True)
        os.execve(argv[0], argv, env)  # noqa: S606  # no shell is wanted
    finally:
        os._exit(255)
