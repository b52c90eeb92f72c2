"""A keeper that stays; what it really makes is tests/integration/node."""

from __future__ import annotations

import os
import select
import signal

import pytest

from bridge.node import keeper
from bridge.node.forge import Forge

SECONDS = 20


def make(request: bytes, handles: list[int]) -> int:
    """Run a script of the shell's, its output to the first handle."""
    pid = os.fork()
    if pid == 0:
        os.dup2(handles[0], 1)
        os.execv("/bin/sh", ["sh", "-c", request.decode()])
    return pid


@pytest.fixture
def forge():
    forge = Forge(make)
    yield forge
    forge.close()


def begin(forge, script):
    """Return the control and the output of a script that runs."""
    output, output_write = os.pipe()
    try:
        control = forge.begin(script.encode(), [output_write, output_write])
    finally:
        os.close(output_write)
    return control, output


def end(forge, control, output):
    """Return the report and what was written."""
    with control, os.fdopen(output, "rb") as file:
        return keeper.read_report(control, forge.pid), file.read()


BUSY = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; exit 3"


def test_each_request_has_its_own_report_and_output(forge):
    first, silent = end(forge, *begin(forge, BUSY))
    second, said = end(forge, *begin(forge, "echo two; kill -9 $$"))
    long, counted = end(forge, *begin(forge, "echo ${#A}; A=" + "x" * 100_000 + "; echo ${#A}"))

    assert (os.WEXITSTATUS(first["status"]), silent) == (3, b"")
    assert (os.WTERMSIG(second["status"]), said) == (9, b"two\n")
    assert (long["status"], counted) == (0, b"0\n100000\n")
    assert first["cpu_ns"] > second["cpu_ns"]
    assert len({first["pid"], second["pid"], long["pid"]}) == 3


def test_what_a_container_leaves_behind_ends_before_the_next_begins(forge):
    _, said = end(forge, *begin(forge, "sleep 1000 >/dev/null & echo $!"))

    with pytest.raises(ProcessLookupError):
        os.kill(int(said), 0)


def test_an_order_ends_the_one_that_runs(forge):
    control, output = begin(forge, "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done")
    assert os.read(output, 3) == b"up\n"
    control.sendall(b"10")

    report, _ = end(forge, control, output)

    assert os.WEXITSTATUS(report["status"]) == 5
    assert end(forge, *begin(forge, "echo next"))[1] == b"next\n"


def test_a_worker_that_lets_go_takes_the_container_along():
    forge = Forge(make)
    control, output = begin(forge, "trap '' TERM; echo up; sleep 1000 & wait; wait")
    assert os.read(output, 3) == b"up\n"
    control.close()
    forge.close()

    assert os.read(output, 1) == b""
    os.close(output)


def test_a_forge_that_was_killed_reports_it_and_takes_nothing_more():
    forge = Forge(make)
    control, output = begin(forge, "echo $$; exec sleep 1000")
    left_behind = int(os.read(output, 16))
    os.kill(forge.pid, signal.SIGKILL)
    assert select.select([control], [], [], SECONDS)[0]
    os.kill(left_behind, signal.SIGKILL)

    report, _ = end(forge, control, output)

    assert report["status"] == signal.SIGKILL
    os.waitid(os.P_PID, forge.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        begin(forge, "echo never")
    forge.close()
