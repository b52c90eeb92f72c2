"""Runs in a container: tells as JSON all that an actor can find there."""

import ctypes
import glob
import grp
import hashlib
import json
import os
import pwd
import resource
import signal
import socket
import stat

LIBC = ctypes.CDLL(None, use_errno=True)
STATUS = ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
          "Seccomp_filters", "SigBlk", "SigIgn", "SigCgt", "Cpus_allowed", "Umask",
          "TracerPid")  # fmt: skip
PLACES = ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/dev/mqueue", "/dev/pts", "/proc", "/sys",
          "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/localtime",
          "/_abaco_results.sock", "/_abaco_binary_data", "/_abaco_state.json")  # fmt: skip


ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
KEYRINGS = (
    -1,
    -2,
    -3,
    -4,
    -5,
)  # of the thread, the process, the session, the user, and his session


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        return repr(error)


def status():
    fields = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines())
    return {name: fields.get(name) for name in STATUS}


def mounts():
    found = {}
    for line in read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words, fstype = left.split(), right.split()[0]
        whole = words[3] == "/"
        found[words[4]] = [fstype, ",".join(sorted(words[5].split(","))), whole]
    return found


def digest(path):
    """Return a digest of a file's lines: Apptainer gives the owner's groups in any order."""
    lines = sorted(read(path).encode("utf-8", "surrogateescape").splitlines())
    return hashlib.md5(b"\n".join(lines)).hexdigest()


def places():
    found = {}
    for path in PLACES:
        try:
            seen = os.lstat(path)
        except OSError as error:
            found[path] = error.strerror
            continue
        room = os.statvfs(path)
        kind = stat.S_IFMT(seen.st_mode)
        found[path] = {
            "mode": "%o" % seen.st_mode,
            "owner": [seen.st_uid, seen.st_gid],
            "bytes": room.f_blocks * room.f_frsize if kind == stat.S_IFDIR else None,
            "flags": room.f_flag,
            "md5": digest(path) if kind == stat.S_IFREG else None,
        }
    return found


def devices():
    found = {}
    for name in os.listdir("/dev"):
        seen = os.lstat("/dev/" + name)
        link = os.readlink("/dev/" + name) if stat.S_ISLNK(seen.st_mode) else ""
        found[name] = ["%o" % seen.st_mode, seen.st_rdev, link]
    return found


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink("/proc/self/fd/" + name).split(":")[0]
        except OSError:
            pass  # what listed the directory
    return found


def processes():
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    mine = os.getpid()
    return {
        "before the actor": [
            read("/proc/%d/cmdline" % pid).strip("\0") for pid in pids if pid < mine
        ],
        "after": len([pid for pid in pids if pid > mine]),
        "first": read("/proc/1/comm"),
        "parent": os.getppid(),
        "is first": mine == 1,
    }


def write(path):
    try:
        with open(path, "w") as file:
            file.write("x")
        return read(path)
    except OSError as error:
        return error.strerror


def call(name, *arguments):
    """Return how a call of the C library fails, "done" when it does not."""
    words = [word.encode() if isinstance(word, str) else word for word in arguments]
    if getattr(LIBC, name)(*words) >= 0:
        return "done"
    return os.strerror(ctypes.get_errno())


def attempt(work):
    """Do something in a process of its own; return what it says."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(theirs, json.dumps(work()).encode())
        except OSError as error:
            os.write(theirs, json.dumps(error.strerror).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        said = file.read()
    _, ended = os.waitpid(pid, 0)
    return json.loads(said.decode()) if said else "ended with %d" % ended


NEWNS, NEWUSER, NEWPID = 0x20000, 0x10000000, 0x20000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
DETACH = 2


def in_new_namespaces(work):
    """Do something with all capabilities, as far as they reach."""

    def inner():
        uid, gid = os.getuid(), os.getgid()
        made = call("unshare", NEWUSER | NEWNS)
        if made != "done":
            return made
        for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid),
                           ("gid_map", "0 %d 1" % gid)):  # fmt: skip
            with open("/proc/self/" + name, "w") as file:
                file.write(text)
        call("mount", None, "/", None, REC | PRIVATE, None)
        return work()

    return attempt(inner)


def break_out():
    """Leave a root by the old trick; return what is at the top then."""
    os.mkdir("/tmp/jail")
    top = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/jail")
    os.fchdir(top)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return sorted(os.listdir("/"))


def uncover(path):
    """Take a mount away; return what is there then."""
    return [call("umount2", path, DETACH), os.path.exists(path)]


def attacks():
    own = {
        "unmount": attempt(lambda: uncover("/etc/hosts")),
        "unmount the root": attempt(lambda: call("umount2", "/", DETACH)),
        "mount": attempt(lambda: call("mount", "tmpfs", "/srv", "tmpfs", 0, None)),
        "write to what is read-only": write("/ro/new"),
        "make it writable": attempt(
            lambda: [
                call("mount", None, "/ro", None, REMOUNT | BIND | NOSUID | NODEV, None),
                write("/ro/new"),
            ]
        ),
        "make a device": call("mknod", "/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0)),
        "name the host": call("sethostname", "mine", 4),
        "set the kernel's host name": write("/proc/sys/kernel/hostname"),
        "set who dumps cores": write("/proc/sys/kernel/core_pattern"),
        "ask the kernel for something": write("/proc/sysrq-trigger"),
        "become root": attempt(lambda: os.setuid(0)),
        "join a group": attempt(lambda: os.setgroups([0])),
        "raise a limit": attempt(
            lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
        ),
        "more of the processor": attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5)),
    }
    with_namespaces = {
        "unmount": in_new_namespaces(lambda: uncover("/etc/hosts")),
        "unmount the results": in_new_namespaces(lambda: uncover("/_abaco_results.sock")),
        "unmount /proc": in_new_namespaces(lambda: call("umount2", "/proc", DETACH)),
        "make it writable": in_new_namespaces(
            lambda: [
                call("mount", None, "/ro", None, REMOUNT | BIND | NOSUID | NODEV, None),
                write("/ro/new"),
            ]
        ),
        "allow set-uid": in_new_namespaces(
            lambda: call("mount", None, "/tmp", None, REMOUNT | BIND, None)
        ),
        "bind the root": in_new_namespaces(lambda: call("mount", "/", "/srv", None, BIND, None)),
        "break out": in_new_namespaces(break_out),
        "read the kernel's log": in_new_namespaces(lambda: call("klogctl", 3, None, 0)),
    }
    return {"own": own, "with namespaces": with_namespaces}


def attacks_on_init():
    """Try what Apptainer's own first process bears, and hangs of; ours knows other messages."""
    own = {
        "trace it": attempt(lambda: call("ptrace", 16, 1, None, None)),
        "its descriptors": attempt(lambda: len(os.listdir("/proc/1/fd")) > 0),
        "its root": attempt(lambda: len(os.listdir("/proc/1/root/")) > 0),
        "its directory": attempt(lambda: len(os.readlink("/proc/1/cwd")) > 0),
        "its memory": attempt(lambda: os.close(os.open("/proc/1/mem", os.O_RDONLY))),
        "its environment": attempt(lambda: os.close(os.open("/proc/1/environ", os.O_RDONLY))),
        "its maps": attempt(lambda: os.close(os.open("/proc/1/maps", os.O_RDONLY))),
        "enter its namespaces": [
            attempt(lambda kind=kind: call("setns", os.open("/proc/1/ns/" + kind, os.O_RDONLY), 0))
            for kind in ("user", "mnt", "pid")
        ],
        "kill it": attempt(lambda: os.kill(1, signal.SIGKILL)),
        "stop it": attempt(lambda: os.kill(1, signal.SIGSTOP)),
    }
    with_namespaces = {
        "its root": in_new_namespaces(lambda: len(os.listdir("/proc/1/root/")) > 0),
        "trace it": in_new_namespaces(lambda: call("ptrace", 16, 1, None, None)),
    }
    return {"own": own, "with namespaces": with_namespaces}


def lasting():
    """What is no file of the image nor of this process: one message must not see another's."""
    return {
        "files": sorted(
            path
            for folder in ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/srv", "/root", "/home")
            for path in glob.glob(folder + "/*") + glob.glob(folder + "/.*")
        ),
        "top": sorted(os.listdir("/")),
        "etc": sorted(os.listdir("/etc")),
        "ipc": [
            len(read("/proc/sysvipc/" + kind).splitlines()) - 1 for kind in ("shm", "sem", "msg")
        ],
        "sockets": sorted(
            words[-1]
            for words in map(str.split, read("/proc/net/unix").splitlines())
            if words[-1].startswith("@left")
        ),
        "keys": [
            ring for ring in KEYRINGS if LIBC.syscall(KEYCTL, 10, ring, b"user", b"left", 0) >= 0
        ],
        "passwd": digest("/etc/passwd"),
        "processes": processes()["before the actor"][1:],
        "host name": socket.gethostname(),
    }


def facts():
    return {
        "environment": {
            name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
            for name, value in os.environb.items()
        },
        "ids": [os.getresuid(), os.getresgid(), sorted(os.getgroups())],
        "maps": [read("/proc/self/" + name) for name in ("uid_map", "gid_map", "setgroups")],
        "user": list(pwd.getpwuid(os.getuid())),
        "group": list(grp.getgrgid(os.getgid())),
        "cwd": os.getcwd(),
        "host name": socket.gethostname(),
        "status": status(),
        "limits": {
            name: resource.getrlimit(number)
            for name, number in vars(resource).items()
            if name.startswith("RLIMIT_")
        },
        "mounts": mounts(),
        "places": places(),
        "devices": devices(),
        "descriptors": descriptors(),
        "processes": processes(),
        "namespaces": {
            kind: os.readlink("/proc/self/ns/" + kind) for kind in os.listdir("/proc/self/ns")
        },
        "session": [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid()],
        "scheduling": [os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0)),
                       os.sched_getscheduler(0), read("/proc/self/oom_score_adj"),
                       read("/proc/self/personality"), read("/proc/self/timerslack_ns")],
        "writable": {path: write(path) for path in
                     ("/new", "/srv/new", "/etc/new", "/usr/bin/new", "/tmp/new", "/dev/new",
                      "/dev/shm/new", "/ro/new", "/rw/new", "/_abaco_binary_data",
                      "/etc/hosts.new")},
        "binary data": read("/_abaco_binary_data"),
        "state": read("/_abaco_state.json"),
        "attacks": attacks(),
    }  # fmt: skip
