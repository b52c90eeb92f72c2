"""Say as one line of JSON what a container finds about itself, then do what was asked for; what
came of that is a line of JSON each.

What to do is a Python dictionary, in the variable PROBE or else the message:

    send     list of texts or sizes in bytes: each a datagram to the results socket
    call     list of [method, path, body]: requests to the bridge with the token
    force    list of directories: try by every trick to write a file there
    list     list of directories: the names in each
    sleep    seconds
    exit     exit code
"""

import ast
import ctypes
import hashlib
import json
import os
import pwd
import socket
import stat
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BINARY = Path("/_abaco_binary_data")
RESULTS = Path("/_abaco_results.sock")
STATE = Path("/_abaco_state.json")
LIBC = ctypes.CDLL(None, use_errno=True)


def describe():
    """Return what there is to see."""
    return {
        "argv": sys.argv[1:],
        "environment": dict(os.environ),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": sorted(os.getgroups()),
        "name": pwd.getpwuid(os.getuid()).pw_name,
        "cwd": str(Path.cwd()),
        "input": sys.stdin.read() if sys.stdin else "",
        "descriptors": sorted(str(path.readlink()) for path in open_files()),
        "processes": [read_command(path) for path in Path("/proc").glob("[0-9]*")],
        "kinds": {str(path): kind(path) for path in (BINARY, RESULTS, STATE)},
        "binary": digest(BINARY) if kind(BINARY) == "file" else None,
        "mounts": {line.split()[4]: line.split()[5].split(",")[0] for line in mount_lines()},
        "roots": {line.split()[4]: line.split()[3] for line in mount_lines()},
        "listing": {path: list_directory(path) for path in ("/", "/tmp", "/home", "/work")},
        "writable": {path: is_writable(path) for path in ("/", "/srv", "/opt", "/tmp", "/work",
                                                         "/scratch", "/corral")},
    }  # fmt: skip


def open_files():
    """Return what is open beside the standard three: what was handed down by mistake."""
    paths = [Path(f"/proc/self/fd/{number}") for number in range(3, 256)]
    return [path for path in paths if path.is_symlink()]


def read_command(path):
    """Return the command line of a process, empty when it has gone."""
    try:
        return (path / "cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def kind(path):
    """Return what is at a path, in a word; None when nothing is."""
    if not path.exists():
        return None
    mode = path.stat().st_mode
    return "socket" if stat.S_ISSOCK(mode) else "file" if stat.S_ISREG(mode) else "other"


def digest(path):
    """Return size and SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def mount_lines():
    """Return what the kernel says is mounted here."""
    return Path("/proc/self/mountinfo").read_text().splitlines()


def list_directory(path):
    """Return the names in a directory, or why they cannot be had."""
    try:
        return sorted(entry.name for entry in Path(path).iterdir())
    except OSError as error:
        return error.strerror


def is_writable(path):
    """Whether a file can be made in a directory."""
    probe = Path(path, f"probe-{os.getpid()}-{time.monotonic_ns()}")
    try:
        probe.write_text("x")
        probe.unlink()
    except OSError:
        return False
    return True


def send(what):
    """Send one datagram; say how that went."""
    data = what.encode() if isinstance(what, str) else os.urandom(what)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as results:
        results.connect(str(RESULTS))
        try:
            results.send(data)
        except OSError as error:
            return error.strerror
    return hashlib.sha256(data).hexdigest()


def force(directory):
    """Try to write a file in a directory that may be read-only; return what came of each trick."""
    tricks = {
        "plainly": lambda: None,
        "after a remount": lambda: remount(directory),
        "after a remount as root of a user namespace": lambda: remount_alone(directory),
    }
    found = {name: attempt(trick, Path(directory)) for name, trick in tricks.items()}
    for number in (path.name for path in Path("/proc").glob("[0-9]*")):
        way = Path(f"/proc/{number}/root{directory}")
        found[f"by way of process {number}"] = attempt(lambda: None, way)
    return found


def attempt(trick, directory):
    """Play a trick in a process of its own, then write; return why not, or that it was written."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            trick()
            (directory / "forced").write_text("x")
            (directory / "forced").unlink()
            said = "written"
        except OSError as error:
            said = f"{type(error).__name__}: {error.strerror}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        said = answers.read()
    os.wait()
    return said


def remount(directory):
    """Make a mount writable."""
    flags = 0x1000 | 0x20  # MS_BIND, MS_REMOUNT, and not MS_RDONLY
    check(LIBC.mount(None, directory.encode(), None, flags, None))


def remount_alone(directory):
    """Do so with every capability, in namespaces of this process's own."""
    uid, gid = os.getuid(), os.getgid()
    check(LIBC.unshare(0x10000000 | 0x00020000))  # CLONE_NEWUSER, CLONE_NEWNS
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    remount(directory)


def check(answer):
    """Raise what the last call of the C library ended with, if it failed."""
    if answer != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def call(method, path, body):
    """Make a request of the bridge as the token's bearer; return status and body."""
    request = urllib.request.Request(
        os.environ["_abaco_api_server"] + path,
        json.dumps(body).encode() if body is not None else None,
        {
            "Authorization": "Bearer " + os.environ["_abaco_access_token"],
            "Content-Type": "application/json",
        },
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return [answer.status, json.load(answer)]
    except urllib.error.HTTPError as error:
        return [error.code, json.load(error)]


def read_orders():
    """Return what to do: the variable's or the message's dictionary, or nothing."""
    try:
        orders = ast.literal_eval(os.environ.get("PROBE") or os.environ.get("MSG", ""))
    except (SyntaxError, ValueError):
        return {}
    return orders if isinstance(orders, dict) else {}


def main():
    """Describe, obey."""
    print(json.dumps(describe()))
    orders = read_orders()
    if "send" in orders:
        print(json.dumps([send(what) for what in orders["send"]]))
    if "call" in orders:
        print(json.dumps([call(*request) for request in orders["call"]]))
    if "force" in orders:
        print(json.dumps({directory: force(directory) for directory in orders["force"]}))
    if "list" in orders:
        print(json.dumps([list_directory(path) for path in orders["list"]]))
    time.sleep(orders.get("sleep", 0))
    return orders.get("exit", 0)


sys.exit(main())
