"""Makes one container after a template, in a process of its own, and becomes the actor in it.

Three processes: the forge, outside; below it the first process of the container (`init`); below
that the actor, which is not the first one, so that signals do to it what they do elsewhere. Init
waits for the actor, passes SIGTERM on to it, reaps orphans, and ends when the actor does: then the
kernel kills everything that is left, however it hid (pid_namespaces(7)). If the forge is killed,
init is too.

The container's root is an overlay whose lower layer is the template's whole root, found by entering
the template's mount namespace. That it has mounts on it does no harm there: the kernel refuses such
a lower layer only where those are locked, which they are for a user namespace below the template's.
So the overlay is made in the template's user namespace, as all mounts are, and the new one for the
actor comes last. It costs nothing that can be measured, and it has two uses: the user's keyrings
belong to a user namespace, so no message finds another's; and nobody in the container ever belongs
to the namespace that owns its mounts. (A second mount of the image alone, instead of the template's
root, was tried: no faster, and it would depend on where Apptainer keeps its own.) Without
`userxattr` the kernel writes four lines into its log for each overlay that is mounted so, and a
directory of the image that was removed could not be made again.

Init is a fork of the forge, whose memory knows other messages: it cannot be traced or looked into,
and its command line is wiped.
"""

import errno
import marshal
import os
import resource
import signal
import stat
from typing import Dict, List, NamedTuple, Optional, Tuple

from bridge.node import linux
from bridge.node.container import DEFAULT_PATH, NOT_FOUND, STARTED, UNMADE
from bridge.node.mounts import BIND, COPY, MOVE, NEW, Step
from bridge.node.template import Entry, Look

# Where the template finds what the worker makes for the messages; below its /tmp, which no message
# sees. Each message mounts the memory that it writes to at SCRATCH.
FILES = "/tmp/.bridge"  # noqa: S108  # of a container, and no other user's
FILES_READ_ONLY = FILES + "/ro"
PAYLOADS = FILES + "/payload"
PIPE = FILES + "/pipe"
SCRATCH = FILES + "/scratch"

_INIT_NAME = b"appinit"  # Apptainer's
_INIT_SIGNALS = frozenset({signal.SIGTERM, signal.SIGCHLD})
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores these
_CANNOT_RUN, _CANNOT_FIND = 126, 127
_FAILED = 255
_MISSING = (errno.ENOENT, errno.ENOTDIR)


class Fresh(NamedTuple):
    """What one message wants of its container."""

    mounts: List[Tuple[str, str]]  # path in the template, path in the container
    environment: Dict[bytes, bytes]
    argv: List[bytes]
    workdir: bytes

    def pack(self) -> bytes:
        """Return it as a forge is sent it."""
        return marshal.dumps(tuple(self))


def unpack(request: bytes) -> Fresh:
    """Return what was packed, by this very program."""
    return Fresh(*marshal.loads(request))  # noqa: S302


class Maker:
    """Makes containers after one template, in a process that belongs to it: a forge.

    Args:
        look: of the template.
        arguments: where this program's command line is.
    """

    def __init__(self, look: Look, arguments: Dict[str, int]) -> None:
        self.look = look
        self.arguments = arguments
        self.dropped = linux.list_capabilities_beyond(look.bounding)
        self._has_entered = False

    def __call__(self, request: bytes, handles: List[int]) -> int:
        """Make a container for a packed `Fresh`; return its init's process id.

        The first of `handles` becomes stdout and stderr; to the second, the marker, is written what
        becomes of the start: STARTED when the actor's program runs, NOT_FOUND,
        UNMADE with a reason when there is no container, or why the program cannot be executed.
        """
        output, marker = handles
        problem = ""
        try:
            if not self._has_entered:
                linux.setns(self.look.namespaces["user"], "user")
                self._has_entered = True
            pid = linux.fork_into(linux.CLONE_NEWPID)
        except OSError as error:
            problem = str(error)
            pid = os.fork()
        if pid != 0:
            return pid
        try:
            if problem:
                os.write(marker, UNMADE + problem.encode("utf-8", "replace"))
            else:
                _be_init(self, unpack(request), output, marker)
        finally:
            os._exit(_FAILED)


def _be_init(maker: Maker, fresh: Fresh, output: int, marker: int) -> None:
    """Be the first process of the container; never returns but for a failure."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _INIT_SIGNALS)
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        make(maker.look, fresh.mounts)
        _lock_in(maker)
        os.umask(maker.look.umask)
        for kind, limits in maker.look.limits.items():
            resource.setrlimit(kind, limits)
    except OSError as error:
        os.write(marker, UNMADE + str(error).encode("utf-8", "replace"))
        return
    actor = _start_actor(fresh, marker)
    if actor is not None:
        _wait_for(actor)


def make(look: Look, mounts: List[Tuple[str, str]]) -> None:
    """Make the container's namespaces and mounts around this process."""
    for kind in sorted(set(look.namespaces) - {"user", "pid", "ipc", "mnt"}):
        linux.setns(look.namespaces[kind], kind)
    linux.setns(look.namespaces["mnt"], "mnt")
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC)
    # What the host mounts later below a bind is seen, as it is in Apptainer's own containers.
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
    os.umask(0)
    linux.mount("tmpfs", SCRATCH, "tmpfs", linux.MS_NOSUID, "mode=0755,size=%d" % look.bytes)
    for name, mode in (("upper", look.root_mode), ("work", 0o755), ("root", 0o755)):
        os.mkdir("%s/%s" % (SCRATCH, name), mode)
    os.chmod(SCRATCH + "/upper", look.root_mode)
    # The image's file server is asked for a link each time that one is followed; memory is not.
    for link in look.links:
        path = "%s/upper/%s" % (SCRATCH, link.name)
        os.symlink(link.target, path)
        os.utime(path, ns=(link.mtime_ns, link.mtime_ns), follow_symlinks=False)
    layers = "userxattr,lowerdir=/,upperdir={0}/upper,workdir={0}/work".format(SCRATCH)
    linux.mount("overlay", SCRATCH + "/root", "overlay", look.root_flags, layers)
    copies = _copy(look)
    os.chdir(SCRATCH + "/root")
    old = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    linux.change_root()
    # Names without "/" at the beginning are of the old root, all others of the new one: a link of
    # the image can lead nowhere else.
    os.fchdir(old)
    for step in look.steps:
        _make_mount(step, copies)
    for source, target in mounts:
        if not os.path.lexists(target):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        linux.mount(source[1:], target, None, linux.MS_BIND)
    linux.detach(".")
    os.close(old)
    os.chdir("/")


def _copy(look: Look) -> Dict[str, str]:
    """Make the copies; return where they are, seen from the root, by their mount points."""
    made = {}
    for number, (point, entries) in enumerate(look.copies.items()):
        place = "%s/%d" % (SCRATCH, number)
        for entry in entries:
            _make_entry(os.path.join(place, entry.path) if entry.path else place, entry)
        made[point] = place[1:]
    return made


def _make_entry(path: str, entry: Entry) -> None:
    if entry.link is not None:
        os.symlink(entry.link, path)
        return
    if entry.content is None:
        os.mkdir(path, entry.mode)
    else:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, entry.mode)
        os.write(handle, entry.content)
        os.close(handle)
    if entry.mode & ~0o1777:  # what is left out of the mode of something new
        os.chmod(path, entry.mode)


def _make_mount(step: Step, copies: Dict[str, str]) -> None:
    if step.how == MOVE:
        linux.move_mount(step.point[1:], step.point)
    elif step.how == BIND:
        linux.mount(step.point[1:], step.point, None, linux.MS_BIND)
    elif step.how == NEW:
        linux.mount(step.fstype, step.point, step.fstype, step.flags, ",".join(step.options))
    elif step.how == COPY:
        linux.mount(copies[step.point], step.point, None, linux.MS_BIND)
        if step.flags != linux.MS_NOSUID:  # those of SCRATCH
            linux.mount(None, step.point, None, linux.MS_REMOUNT | linux.MS_BIND | step.flags)


def _lock_in(maker: Maker) -> None:
    """Give up what made the container possible."""
    uid, gid = os.getuid(), os.getgid()
    linux.unshare(linux.CLONE_NEWUSER)
    linux.map_user_and_group(uid, gid)
    linux.join_new_session_keyring()
    linux.give_up_capabilities(maker.dropped)
    linux.set_no_new_privileges()
    linux.rename_process(_INIT_NAME, maker.arguments)
    linux.hide_memory()
    linux.die_with_parent()


def _wait_for(actor: int) -> None:
    """Reap until the actor has ended, and end as it did: after signal n with 128 + n."""
    while True:
        if signal.sigwait(_INIT_SIGNALS) == signal.SIGTERM:
            os.kill(actor, signal.SIGTERM)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == actor:
                ended = os.WIFSIGNALED(status)
                os._exit(128 + os.WTERMSIG(status) if ended else os.WEXITSTATUS(status))
            if pid == 0:
                break


def _start_actor(fresh: Fresh, marker: int) -> Optional[int]:
    """Start the actor's program and tell the marker; return its process id, None where none runs.

    Source: posix_spawn(3), which costs a third of a fork of this process and tells at once when a
    program cannot be executed.
    """
    try:
        os.chdir(fresh.workdir)
        path = find_program(fresh.argv[0], fresh.environment.get(b"PATH"))
        actor = None if path is None else _execute(path, fresh)
    except OSError as error:
        # The actor's are those of its directory and of its arguments; else the image itself is
        # gone, if its file server was killed.
        is_its_own = error.errno in (*_MISSING, errno.EACCES, errno.E2BIG)
        os.write(marker, (b"" if is_its_own else UNMADE) + os.fsencode(str(error)))
        return None
    os.write(marker, NOT_FOUND if path is None else STARTED)
    return actor


def _execute(path: bytes, fresh: Fresh) -> int:
    """Execute a program that is there. What cannot be executed ends as it does in a shell."""
    try:
        try:
            return _spawn(path, fresh.argv, fresh.environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
        # a script without "#!"
        return _spawn(b"/bin/sh", [b"/bin/sh", path, *fresh.argv[1:]], fresh.environment)
    except OSError as error:
        if error.errno not in (*_MISSING, errno.EACCES, errno.ENOEXEC):
            raise
        os.write(2, b"%s: %s\n" % (fresh.argv[0], os.fsencode(str(error.strerror))))
        found = error.errno in (errno.EACCES, errno.ENOEXEC)
    pid = os.fork()
    if pid == 0:
        os._exit(_CANNOT_RUN if found else _CANNOT_FIND)
    return pid


def _spawn(path: bytes, argv: List[bytes], environment: Dict[bytes, bytes]) -> int:
    return os.posix_spawn(path, argv, environment, setsigmask=(), setsigdef=_DEFAULT_SIGNALS)


def find_program(name: bytes, path: Optional[bytes]) -> Optional[bytes]:
    """Return the program that a shell would execute for `name`, None when there is none.

    Raises:
        OSError: there is no looking: the image cannot be read.
    """
    if b"/" in name:
        return None if _find_mode(name) is None else name
    for folder in (DEFAULT_PATH.encode() if path is None else path).split(b":"):
        place = os.path.join(folder or b".", name)
        mode = _find_mode(place)
        if mode is not None and stat.S_ISREG(mode) and os.access(place, os.X_OK):
            return place
    return None


def _find_mode(path: bytes) -> Optional[int]:
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in (*_MISSING, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG):
            return None
        raise
