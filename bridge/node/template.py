"""The template: one container of the image for each worker, that the messages' are made after.

Apptainer itself makes it, with the command line of `reuse=none`, so that namespaces, binds, GPUs
and the site's policy are its decisions there as here. A shell of the image waits in it and does
nothing. What that shell has been given is what an actor is given: it is read from /proc.
"""

import os
import resource
import select
import time
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from bridge.node import container, keeper, processes
from bridge.node.mounts import (
    COPY,
    NEW,
    MountsError,
    Step,
    find_root,
    parse_mountinfo,
    plan_mounts,
    read_flags,
)

START_S = 60.0  # a large image on a file system that is busy
# It waits to open a pipe that nobody writes to, so it needs no program but the shell. Slurm signals
# all processes of a job that ends, and the messages need their image for some seconds more.
_WAIT = "trap '' TERM; echo $$; read -r line < %s"
_SHARED_NAMESPACES = ("cgroup", "net", "time", "uts")
_REMADE_NAMESPACES = ("ipc", "mnt", "pid", "user")
_READ_BYTES = 1 << 16


class TemplateError(Exception):
    """No container can be made after a template here; says why."""


class Entry(NamedTuple):
    """A name in a directory that is copied: a link, a file with its content, or a directory."""

    path: str  # relative to the directory, "" for itself
    mode: int
    link: Optional[str] = None
    content: Optional[bytes] = None


class Link(NamedTuple):
    """A symbolic link of the root directory, as images with a merged /usr have."""

    name: str
    target: str
    mtime_ns: int


class Look(NamedTuple):
    """What a container of the image looks like."""

    environment: Dict[bytes, bytes]
    namespaces: Dict[str, int]  # descriptors; those that are not the host's
    steps: List[Step]
    copies: Dict[str, List[Entry]]  # of each COPY step, by its point
    links: List[Link]  # of the root directory
    root_mode: int
    root_flags: int
    bytes: int  # what a container may write in all
    umask: int
    bounding: int  # set of capabilities
    limits: Dict[int, Tuple[int, int]]  # by the resource's number; those that are not the worker's


class Template:
    """Starts when made, and lives until it is closed or the worker ends.

    Args:
        launch: what starts a container that runs `wait_command`.
        left_out: mount points that are the template's alone.
        wake: readable when the worker has been told to end.

    Raises:
        TemplateError: it does not start, or is of a kind that cannot be made again.
        OSError: this node has no processes or descriptors left, or hides /proc.
    """

    def __init__(self, launch: container.Launch, left_out: FrozenSet[str], wake: int) -> None:
        self._left_out = left_out
        self._output, output_write = os.pipe()
        marker, marker_write = os.pipe()
        try:
            self.keeper, self._control = keeper.fork_keeper(launch, output_write, marker_write)
        finally:
            # The keeper has the marker's end for reading too, so that the shim can write.
            for handle in (output_write, marker_write, marker):
                os.close(handle)
        self._namespaces: Dict[str, int] = {}
        try:
            self.look = self._read_look(self._find_shell(self._read_number(wake)))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def wait_command(pipe: str) -> List[str]:
        """Return the command of a template that can see `pipe`, a named one."""
        return ["/bin/sh", "-c", _WAIT % pipe]

    def is_alive(self) -> bool:
        """Whether it still waits."""
        return not select.select([self._control], [], [], 0)[0]

    def close(self) -> None:
        """End it and wait for its end."""
        _close(self._namespaces)
        self._namespaces = {}
        try:
            self._control.sendall(b"0")
        except OSError:  # it is gone
            pass
        os.waitpid(self.keeper, 0)
        self._control.close()
        os.close(self._output)

    def _read_number(self, wake: int) -> int:
        """Return the process id that the shell has within."""
        until = time.monotonic() + START_S
        said = b""
        handles = [self._output, self._control.fileno(), wake]
        while not said.endswith(b"\n") or not said.strip().isdigit():
            ready = wait_for(handles, until)
            piece = os.read(self._output, _READ_BYTES) if self._output in ready else b""
            said += piece
            if not piece or len(said) > _READ_BYTES:
                text = said.decode("utf-8", "replace").strip()
                raise TemplateError("no template starts: " + (text or "it says nothing"))
        return int(said)

    def _find_shell(self, number: int) -> int:
        """Return the process that has a number of a process namespace below ours."""
        for pid in processes.list_descendants(self.keeper):
            numbers = read_status(pid).get("NSpid", "").split()
            if len(numbers) > 1 and numbers[-1] == str(number):
                return pid
        raise TemplateError("the processes of a container have no namespace of their own")

    def _read_look(self, pid: int) -> Look:
        self._namespaces = open_namespaces(pid)
        own, status = read_status("self"), read_status(pid)
        check_same(own, status)
        if read_label("self") != read_label(pid):
            raise TemplateError("the runtime gives a container the label %s" % read_label(pid))
        mounts = parse_mountinfo(_read_text(pid, "mountinfo"))
        host = frozenset(mount.device for mount in parse_mountinfo(_read_text("self", "mountinfo")))
        root = "/proc/%d/root" % pid
        try:
            flags = read_flags(find_root(mounts))
            steps = plan_mounts(mounts, host, self._left_out)
            skipped = frozenset(root + point for point in self._left_out)
            copies = {
                s.point: read_entries(root + s.point, skipped) for s in steps if s.how == COPY
            }
            modes = [_check_empty(root, step) for step in steps]
        except MountsError as error:
            raise TemplateError(str(error)) from error
        room = os.statvfs(root)
        return Look(
            environment=read_environment(pid),
            namespaces=self._namespaces,
            steps=modes,
            copies=copies,
            links=read_links(root),
            root_mode=os.stat(root).st_mode & 0o7777,
            root_flags=flags,
            bytes=room.f_blocks * room.f_frsize,
            umask=int(status["Umask"], 8),
            bounding=int(status["CapBnd"], 16),
            limits=find_limits(pid),
        )


def wait_for(handles: List[int], until: float) -> List[int]:
    """Return which of the handles are readable, as soon as one is; none at the moment `until`."""
    poller = select.poll()
    for handle in handles:
        poller.register(handle, select.POLLIN)
    return [handle for handle, _ in poller.poll(max(0.0, until - time.monotonic()) * 1000)]


def open_namespaces(pid: int) -> Dict[str, int]:
    """Return descriptors of a process's namespaces that are not this one's, by kind.

    Raises:
        TemplateError: it shares with the host what no two messages may share.
    """
    found: Dict[str, int] = {}
    try:
        for kind in _SHARED_NAMESPACES + _REMADE_NAMESPACES:
            path = "/proc/%s/ns/" + kind
            if not os.path.exists(path % "self"):
                continue
            if os.stat(path % pid).st_ino != os.stat(path % "self").st_ino:
                found[kind] = os.open(path % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        _close(found)
        raise
    missing = [kind for kind in _REMADE_NAMESPACES if kind not in found]
    if missing:
        _close(found)
        raise TemplateError("the runtime gives containers the host's %s" % ", ".join(missing))
    return found


def _close(handles: Dict[str, int]) -> None:
    for handle in handles.values():
        os.close(handle)


def read_status(pid: object) -> Dict[str, str]:
    """Return the fields of a process's status, none when it is gone. Source: proc_pid_status(5)."""
    try:
        lines = _read_text(pid, "status").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def check_same(own: Dict[str, str], status: Dict[str, str]) -> None:
    """See that a process of a container has no more about it than can be given to another.

    Args:
        own: fields of this process's status.
        status: of the container's.

    Raises:
        TemplateError: it has a filter of system calls, or capabilities.
    """
    for name in ("Umask", "CapBnd", "NoNewPrivs"):
        if name not in status:
            raise TemplateError("this kernel does not tell a process's %s" % name)
    for name in ("Seccomp", "Seccomp_filters"):
        if status.get(name) != own.get(name):
            raise TemplateError("the runtime filters a container's system calls")
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        if int(status.get(name, "0"), 16):
            raise TemplateError("the runtime gives a container capabilities (%s)" % name)


def read_environment(pid: int) -> Dict[bytes, bytes]:
    """Return the environment that a process was started with."""
    with open("/proc/%d/environ" % pid, "rb") as file:
        lines = file.read().split(b"\0")
    return dict(line.partition(b"=")[::2] for line in lines if b"=" in line)


def read_links(root: str) -> List[Link]:
    """Return the symbolic links that lie in the directory `root` itself."""
    with os.scandir(root) as entries:
        return [
            Link(entry.name, os.readlink(entry.path), entry.stat(follow_symlinks=False).st_mtime_ns)
            for entry in entries
            if entry.is_symlink()
        ]


def read_entries(path: str, skipped: FrozenSet[str] = frozenset()) -> List[Entry]:
    """Return what is to be made at `path` to have the same there, but for paths that are `skipped`.

    What is mounted below is not gone into: there is a step for it, which needs the name alone.

    Raises:
        MountsError: there is something that cannot be copied.
    """
    found = os.lstat(path)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return [Entry("", found.st_mode & 0o7777, content=file.read())]
    entries = [Entry("", found.st_mode & 0o7777)]
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            place = os.path.join(folder, name)
            if place in skipped:
                continue
            entries.append(_read_entry(place, os.path.relpath(place, path), found.st_dev))
        folders[:] = [
            name
            for name in folders
            if os.lstat(os.path.join(folder, name)).st_dev == found.st_dev
            and os.path.join(folder, name) not in skipped
        ]
    return entries


def _read_entry(place: str, path: str, device: int) -> Entry:
    found = os.lstat(place)
    mode = found.st_mode & 0o7777
    if os.path.islink(place):
        return Entry(path, mode, link=os.readlink(place))
    if os.path.isdir(place):
        return Entry(path, mode)
    if found.st_dev != device:
        return Entry(path, mode, content=b"")
    if not os.path.isfile(place):
        raise MountsError("%s of a container is a device, a pipe or a socket" % path)
    with open(place, "rb") as file:
        return Entry(path, mode, content=file.read())


def _check_empty(root: str, step: Step) -> Step:
    """Return a step, with the mode that a directory of memory has; there may be nothing in it."""
    if step.how != NEW or step.fstype != "tmpfs":
        return step
    if os.listdir(root + step.point):
        raise MountsError("%s of a container is not empty from the start" % step.point)
    mode = os.stat(root + step.point).st_mode & 0o7777
    return step._replace(options=(*step.options, "mode=%o" % mode))


def _read_text(pid: object, name: str) -> str:
    with open("/proc/%s/%s" % (pid, name), "rb") as file:
        return os.fsdecode(file.read())


def find_limits(pid: int) -> Dict[int, Tuple[int, int]]:
    """Return a process's limits where they are not this one's. Source: prlimit(2)."""
    numbers = {value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}
    found = {number: resource.prlimit(pid, number) for number in numbers}
    return {n: limit for n, limit in found.items() if limit != resource.getrlimit(n)}


def read_label(pid: object) -> str:
    """Return the label of the security module, empty where there is none."""
    try:
        return _read_text(pid, "attr/current").strip("\0\n")
    except OSError:
        return ""
