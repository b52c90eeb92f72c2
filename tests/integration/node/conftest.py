"""The packed worker on a compute node of the sandbox, with real images, as alice."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.launcher.spool import FOLDERS
from bridge.node import PROTOCOL_VERSION
from bridge.node.build import build_zipapp
from bridge.sandbox import Sandbox

ROOT = "/scratch/alice/node-tests"
_WRITE = """\
import json, os, sys
for path, text in json.load(sys.stdin).items():
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    if text is not None:
        with open(path, "w") as file:
            file.write(text)
"""
# Whatever the tests started has a file of theirs open, or names one on its command line or, in a
# container, in its environment (APPTAINER_CONTAINER).
_FIND = """\
import os, sys

def uid(pid):
    return int(open("/proc/%s/status" % pid).read().split("\\nUid:")[1].split()[0])

def names(pid):
    yield open("/proc/%s/cmdline" % pid).read()
    yield open("/proc/%s/environ" % pid).read()
    for fd in os.listdir("/proc/%s/fd" % pid):
        yield os.readlink("/proc/%s/fd/%s" % (pid, fd))

me = {os.getpid(), os.getppid()}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if int(pid) not in me and uid(pid) == os.getuid():
            if any(sys.argv[1] in name for name in names(pid)):
                print(pid, open("/proc/%s/cmdline" % pid).read().replace("\\0", " "))
    except OSError:
        pass
"""


class Node:
    """A compute node with the worker's program and images."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.name = "c1"
        self.reuse = "image"
        self.sif = f"{ROOT}/echo.sif"
        self.python_sif = f"{ROOT}/python.sif"
        self.program = f"{ROOT}/node.pyz"
        self._numbers = itertools.count(1)
        self.run("rm", "-rf", ROOT)
        self.run("mkdir", "-p", ROOT)
        sandbox.put(self.name, self.program, build_zipapp()[0])
        for sif, image in ((self.sif, "echo"), (self.python_sif, "state-counter")):
            reference = f"docker://{sandbox.ensure_image(image)}"
            self.run("apptainer", "--quiet", "pull", "--no-https", sif, reference, timeout_s=300)

    def run(self, *argv: str, **given: Any) -> str:
        """Run a program as alice; return what it printed."""
        return self.sandbox.run(self.name, argv, user="alice", **given).stdout

    def next_root(self) -> str:
        """Return a path for another spool."""
        return f"{ROOT}/spool-{next(self._numbers)}"

    def spool(
        self,
        command: str | list[str],
        messages: list[dict[str, Any]],
        root: str = "",
        **fields: Any,
    ) -> str:
        """Make a spool with one chunk; a text is a script for sh. Return its path."""
        root = root or self.next_root()
        array = {
            "version": PROTOCOL_VERSION,
            "array": "token",
            "actor": "actor",
            "apptainer": "/usr/local/bin/apptainer",
            "sif": self.sif,
            "sif_bytes": None,
            "sif_sha256": None,
            "sif_uid": 0,
            "command": ["sh", "-c", command] if isinstance(command, str) else command,
            "workdir": None,
            "binds": [],
            "environment": {},
            "log_limit_bytes": 10_000_000,
            "inline_log_bytes": 200_000,
            "max_run_time_s": 0,
            "kill_grace_s": 2,
            "idle_timeout_s": 0,
            "time_limit_s": 3600,
            "memory_mib": 0,
            "max_result_bytes": 1 << 20,
            "ntasks": 1,
            "gpus": False,
            "reuse": self.reuse,
            "workers": 1,
            "slots": 1,
            **fields,
        }
        lines = "".join(json.dumps(message) + "\n" for message in messages)
        files: dict[str, str | None] = {f"{root}/{folder}/": None for folder in FOLDERS}
        files |= {f"{root}/array.json": json.dumps(array), f"{root}/inbox/000001.jsonl": lines}
        self.write(files)
        return root

    def write(self, files: dict[str, str | None]) -> None:
        """Write files as alice, with their directories; None makes the directory alone."""
        self.run("python3", "-c", _WRITE, stdin=json.dumps(files).encode())

    def worker(self, root: str) -> list[str]:
        """Return the worker's command line."""
        return ["python3", "-I", self.program, "worker", root]

    def work(self, root: str) -> dict[str, dict[str, Any]]:
        """Run a worker to its end; return the `finished` records by id."""
        self.run(*self.worker(root), timeout_s=240)
        return self.finished(root)

    def records(self, root: str, worker: str = "0.0") -> list[dict[str, Any]]:
        """Return a journal."""
        path = f"{root}/journal/{worker}.jsonl"
        if self.sandbox.run(self.name, ["test", "-e", path], user="alice", check=False).returncode:
            return []
        return [json.loads(line) for line in self.sandbox.get(self.name, path).splitlines()]

    def finished(self, root: str, worker: str = "0.0") -> dict[str, dict[str, Any]]:
        """Return the `finished` records by id."""
        return {r["id"]: r for r in self.records(root, worker) if r["t"] == "finished"}

    def left_running(self) -> str:
        """Return the processes that have to do with these tests."""
        return self.run("python3", "-c", _FIND, ROOT)

    def wait_for(self, condition: Any, timeout_s: float = 30) -> None:
        """Wait until something is true."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, "waited too long"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def prepared_node(sandbox: Sandbox) -> Iterator[Node]:
    """A node with images and the worker's program."""
    prepared = Node(sandbox)
    yield prepared
    prepared.run("rm", "-rf", ROOT)


@pytest.fixture
def node(prepared_node: Node, request: pytest.FixtureRequest) -> Node:
    """The node, whose containers start as `image`, or as the test's parameter says."""
    prepared_node.reuse = getattr(request, "param", "image")
    return prepared_node
