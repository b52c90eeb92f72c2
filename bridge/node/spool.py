"""The spool of one array as a worker sees it: what to run, chunks to claim, orders to follow.

The protocol is in bridge.node. A directory is opened anew whenever something new is looked for in
it: a network filesystem answers from its cache otherwise (design.md section 5).
"""

import errno
import json
import os
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from bridge.node import PROTOCOL_VERSION
from bridge.node.messages import Message, parse_message, parse_shared


class SpoolError(Exception):
    """The spool is not of the form that bridge.node describes."""


class Array(NamedTuple):
    """What all messages of the array share; the fields are those of array.json."""

    array: str
    actor: str
    apptainer: str
    sif: str
    sif_bytes: Optional[int]
    sif_sha256: Optional[str]
    sif_uid: int
    command: List[str]
    workdir: Optional[str]
    binds: List[Tuple[str, str, str]]
    environment: Dict[str, str]
    log_limit_bytes: int
    inline_log_bytes: int
    max_run_time_s: float
    kill_grace_s: float
    idle_timeout_s: float
    time_limit_s: float
    memory_mib: int
    max_result_bytes: int
    ntasks: int
    gpus: bool
    reuse: str
    workers: int
    slots: int

    def workers_of(self, task: int) -> List[int]:
        """Return the indices of the workers of an array task.

        Raises:
            SpoolError: it has none.
        """
        if self.slots < 2:
            return [task]
        found = list(range(task * self.slots, min((task + 1) * self.slots, self.workers)))
        if not found:
            raise SpoolError(
                "array task %d has none of %d workers, %d a task" % (task, self.workers, self.slots)
            )
        return found


class Chunk(NamedTuple):
    """A claimed chunk: its messages in order, and what was wrong with lines that are none."""

    name: str
    messages: List[Message]
    bad_lines: List[str]


class Spool:
    """One array's directory."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def path(self, *names: str) -> str:
        """Return the path of a name in the spool."""
        return os.path.join(self.root, *names)

    def read_array(self) -> Array:
        """Return array.json.

        Raises:
            SpoolError: it is missing, unreadable or not of the protocol's form; says what.
        """
        path = self.path("array.json")
        try:
            with open(path, "rb") as file:
                document = json.loads(file.read().decode())
        except (OSError, ValueError, RecursionError) as error:
            raise SpoolError("%s cannot be read: %s" % (path, error)) from error
        if not isinstance(document, dict) or document.get("version") != PROTOCOL_VERSION:
            raise SpoolError("%s is not of protocol version %d" % (path, PROTOCOL_VERSION))
        try:
            return parse_array(document)
        except SpoolError as error:
            raise SpoolError("%s: %s" % (path, error)) from error

    def take_ownership(self, array_job: int, worker: str) -> bool:
        """Return whether the array belongs to `array_job`: it does when nobody came before.

        The file is complete before it gets its name, and link(2) gives it to one array job only. A
        network filesystem that repeats the call may say that it exists although it worked, so
        what counts is what the file says.
        """
        draft = self.path("owner.%d.%s.%d" % (array_job, worker, os.getpid()))
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, b"%d" % array_job)
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(draft, self.path("owner"))
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
        with open(self.path("owner"), "rb") as file:
            return file.read(64).strip() == b"%d" % array_job

    def claim(self, worker: str) -> Optional[Chunk]:
        """Return the first chunk of the inbox that this worker gets, None when there is none."""
        for name in _list_fresh(self.path("inbox")):
            number, ending = os.path.splitext(name)
            if ending != ".jsonl" or name.startswith("."):
                continue
            target = self.path("claimed", "%s.%s.jsonl" % (number, worker))
            if self._rename(self.path("inbox", name), target):
                return self._read_chunk(name, target)
        return None

    def has_chunks(self) -> bool:
        """Whether there is anything in the inbox; what, `claim` sees."""
        return bool(_list_fresh(self.path("inbox")))

    def has_order(self, *names: str) -> bool:
        """Whether the bridge has given this order.

        Args:
            names: ``stop``, or ``cancel`` and an execution's id, or ``leave`` and a worker's index.
        """
        try:
            directory = os.open(self.path(*names[:-1]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.stat(names[-1], dir_fd=directory, follow_symlinks=False)
        except OSError:  # not there, or not to be seen: a server that hiccups gives no orders
            return False
        finally:
            os.close(directory)
        return True

    def cancelled(self) -> FrozenSet[str]:
        """Return the executions that the bridge wants ended."""
        try:
            return frozenset(_list_fresh(self.path("cancel")))
        except OSError:  # a server that hiccups gives no orders
            return frozenset()

    @staticmethod
    def _rename(source: str, target: str) -> bool:
        """Rename and return whether it is ours now.

        A network filesystem that repeats the call answers ENOENT although the first one worked.
        """
        try:
            os.rename(source, target)
        except FileNotFoundError:
            return os.path.lexists(target)
        return True

    @staticmethod
    def _read_chunk(name: str, path: str) -> Chunk:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        messages: List[Message] = []
        bad_lines: List[str] = []
        shared = parse_shared(lines[0])
        for number, line in enumerate(lines, 1):
            if not line.strip() or (number == 1 and shared is not None):
                continue
            try:
                messages.append(parse_message(line, shared))
            except ValueError as error:
                bad_lines.append("%s line %d: %s" % (name, number, error))
        return Chunk(name, messages, bad_lines)


def _list_fresh(path: str) -> List[str]:
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return []
        raise
    try:
        return sorted(os.listdir(directory))
    finally:
        os.close(directory)


def parse_array(document: Dict[str, Any]) -> Array:
    """Return the fields of array.json, checked.

    Raises:
        SpoolError: names the field and what was expected.
    """
    workdir = document.get("workdir")
    return Array(
        array=_text(document, "array"),
        actor=_text(document, "actor"),
        apptainer=_text(document, "apptainer"),
        sif=_text(document, "sif"),
        sif_bytes=None if document.get("sif_bytes") is None else _count(document, "sif_bytes"),
        sif_sha256=None if document.get("sif_sha256") is None else _text(document, "sif_sha256"),
        sif_uid=_count(document, "sif_uid"),
        command=_texts(document, "command"),
        workdir=None if workdir is None else _text(document, "workdir"),
        binds=_binds(document),
        environment=_environment(document),
        log_limit_bytes=_count(document, "log_limit_bytes"),
        inline_log_bytes=_count(document, "inline_log_bytes"),
        max_run_time_s=_number(document, "max_run_time_s"),
        kill_grace_s=_number(document, "kill_grace_s"),
        idle_timeout_s=_number(document, "idle_timeout_s"),
        time_limit_s=_number(document, "time_limit_s"),
        memory_mib=_count(document, "memory_mib"),
        max_result_bytes=_count(document, "max_result_bytes"),
        ntasks=_count(document, "ntasks"),
        gpus=_flag(document, "gpus"),
        reuse=_text(document, "reuse"),
        workers=_count(document, "workers"),
        slots=_count(document, "slots"),
    )


def _text(document: Dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise SpoolError("%s is %r, expected a text" % (name, value))
    return value


def _texts(document: Dict[str, Any], name: str) -> List[str]:
    value = document.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SpoolError("%s is %r, expected a list of texts" % (name, value))
    return value


def _number(document: Dict[str, Any], name: str) -> float:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise SpoolError("%s is %r, expected a number, 0 or more" % (name, value))
    return value


def _count(document: Dict[str, Any], name: str) -> int:
    return int(_number(document, name))


def _flag(document: Dict[str, Any], name: str) -> bool:
    value = document.get(name)
    if not isinstance(value, bool):
        raise SpoolError("%s is %r, expected true or false" % (name, value))
    return value


def _environment(document: Dict[str, Any]) -> Dict[str, str]:
    value = document.get("environment")
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise SpoolError("environment is not an object of texts")
    return value


def _binds(document: Dict[str, Any]) -> List[Tuple[str, str, str]]:
    value = document.get("binds")
    if not isinstance(value, list):
        raise SpoolError("binds is %r, expected a list" % (value,))
    binds = []
    for item in value:
        if (
            not isinstance(item, list)
            or len(item) != 3
            or not all(isinstance(part, str) for part in item)
            or item[2] not in ("ro", "rw")
        ):
            raise SpoolError("binds has %r, expected [host path, container path, ro or rw]" % item)
        binds.append((item[0], item[1], item[2]))
    return binds
