"""A spool, the packed program, and a fake Apptainer to run it with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.launcher.spool import FOLDERS
from bridge.node import PROTOCOL_VERSION
from bridge.node.build import build_zipapp


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipapp."""
    path = tmp_path_factory.mktemp("program") / "node.pyz"
    path.write_bytes(build_zipapp()[0])
    return path


@pytest.fixture(scope="session")
def apptainer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake runtime, on a path of its own."""
    path = tmp_path_factory.mktemp("bin") / "apptainer"
    source = Path(__file__).with_name("fake_apptainer.py").read_text()
    path.write_text(f"#!{sys.executable} -IS\n{source}")
    path.chmod(0o755)
    return path


class SpoolFolder:
    """A spool as the bridge makes it, and the workers on it."""

    def __init__(self, root: Path, program: Path, apptainer: Path) -> None:
        self.root = root
        self.program = program
        self.sif = root.parent / "actor.sif"
        self.sif.write_text("image")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.array: dict[str, Any] = {
            "version": PROTOCOL_VERSION,
            "array": "token",
            "actor": "actor",
            "apptainer": str(apptainer),
            "sif": str(self.sif),
            "sif_bytes": None,
            "sif_sha256": None,
            "sif_uid": os.getuid(),
            "command": ["sh", "-c", 'printf %s "$MSG"'],
            "workdir": None,
            "binds": [],
            "environment": {},
            "log_limit_bytes": 1_000_000,
            "inline_log_bytes": 65536,
            "max_run_time_s": 0,
            "kill_grace_s": 1,
            "idle_timeout_s": 0,
            "time_limit_s": 3600,
            "memory_mib": 0,
            "max_result_bytes": 1 << 20,
            "ntasks": 1,
            "gpus": False,
            "reuse": "none",
            "workers": 1,
            "slots": 1,
        }
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True)

    def write(self, command: str | list[str] | None = None, **fields: Any) -> None:
        """Write array.json; a text is a script for sh."""
        if command is not None:
            fields["command"] = ["sh", "-c", command] if isinstance(command, str) else command
        self.array.update(fields)
        (self.root / "array.json").write_text(json.dumps(self.array))

    def add(self, number: int, *lines: dict[str, Any] | str) -> None:
        """Put a chunk into the inbox, as the agent does: whole or not at all."""
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        draft = self.root / "inbox" / f".{number}"
        draft.write_text("".join(text + "\n" for text in texts))
        draft.rename(self.root / "inbox" / f"{number:06}.jsonl")

    def add_messages(self, count: int, per_chunk: int) -> list[str]:
        """Put `count` plain messages into chunks; return their ids."""
        ids = [f"m{number}" for number in range(count)]
        for chunk, first in enumerate(range(0, count, per_chunk), 1):
            self.add(chunk, *(message(name) for name in ids[first : first + per_chunk]))
        return ids

    def start(
        self,
        task: int = 0,
        restart: int = 0,
        job: int = 100,
        handles: tuple[int, ...] = (),
        **env: str,
    ) -> subprocess.Popen[bytes]:
        """Start a worker as Slurm does."""
        environ = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.root.parent),
            "SLURM_JOB_ID": str(job + task),
            "SLURM_ARRAY_JOB_ID": str(job),
            "SLURM_ARRAY_TASK_ID": str(task),
            **({"SLURM_RESTART_COUNT": str(restart)} if restart else {}),
            **env,
        }
        argv = [sys.executable, "-I", str(self.program), "worker", str(self.root)]
        worker = subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, pass_fds=handles)
        self.workers.append(worker)
        return worker

    def work(self, task: int = 0, **given: Any) -> list[dict[str, Any]]:
        """Run a worker to its end and return its journal."""
        worker = self.start(task, **given)
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors.decode()
        return self.records(f"{task}.{given.get('restart', 0)}")

    def records(self, worker: str = "0.0", ending: str = "jsonl") -> list[dict[str, Any]]:
        """Return a journal's whole lines."""
        path = self.root / "journal" / f"{worker}.{ending}"
        data = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line]

    def all_records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of a kind from every journal, fenced or not."""
        found = []
        for path in sorted((self.root / "journal").iterdir()):
            name, _, ending = path.name.rpartition(".")
            found += [r for r in self.records(name, ending) if r["t"] == kind]
        return found

    def starts(self) -> list[str]:
        """Return the execution ids of the containers that were started, in order."""
        path = Path(f"{self.sif}.starts")
        return path.read_text().split() if path.exists() else []

    def stop_all(self) -> None:
        """Leave no worker running."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
            worker.communicate()


def message(name: str, msg: str = "hello", **env: str) -> dict[str, Any]:
    """Return a message whose start the fake notes under its id."""
    return {"id": name, "env": {"_abaco_execution_id": name, **env}, "msg": msg}


def names(folder: Path) -> list[str]:
    """Return the names in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def spool(program: Path, apptainer: Path) -> Iterator[SpoolFolder]:
    """An empty spool, in a folder with a short name: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory() as place:
        folder = SpoolFolder(Path(place) / "spool", program, apptainer)
        yield folder
        folder.stop_all()


@pytest.fixture
def make_message() -> Callable[..., dict[str, Any]]:
    """What makes a message."""
    return message


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """What waits for something to become true."""

    def wait(condition: Callable[[], object], timeout_s: float = 20) -> None:
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, "waited too long"
            time.sleep(0.01)

    return wait
