"""One container for one message, through the real keeper and the fake runtime."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest

from bridge.node.capture import Capture
from bridge.node.memory import OomCount
from bridge.node.messages import Message
from bridge.node.results import Results
from bridge.node.signals import Signals
from bridge.node.spool import Spool
from bridge.node.start_none import StartNone
from bridge.node.starter import Ending


@pytest.fixture
def start(spool):
    """What runs one message of an actor and returns its outcome and its log."""
    starters = []

    def run(command, watch=lambda: None, log_limit=1_000_000, message=None, **fields):
        spool.write(command, **fields)
        folder = Spool(str(spool.root))
        own = {"_abaco_worker_id": "w"}
        starter = StartNone(folder.read_array(), folder, Signals(), own, os.environ)
        starters.append(starter)
        starter.prepare()
        log = Capture(folder.path("logs", "m"), 65536, log_limit)
        try:
            results = Results(folder.path("results", "m"), 65536, 1 << 20)
            return starter.run(message or Message("m", {}), log, results, watch), log
        finally:
            log.close()

    yield run
    for starter in starters:
        starter.close()


@pytest.mark.parametrize(
    ("script", "exit_code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -SEGV $$", 139)],
)
def test_the_exit_code_is_the_actors(start, script, exit_code):
    outcome, _ = start(script)

    assert (outcome.exit_code, outcome.runtime_error) == (exit_code, None)


@pytest.mark.parametrize(
    ("slots", "script", "killed"),
    [(1, "exit 1", True), (2, "exit 1", False), (2, "kill -9 $$", True)],
)
def test_whom_the_kernel_killed_for_memory(start, monkeypatch, slots, script, killed):
    """The kernel counts for the whole job, so that it may have been another slot's."""
    counts = itertools.count()
    monkeypatch.setattr(OomCount, "read", lambda _: next(counts))

    outcome, _ = start(script, slots=slots)

    assert outcome.oom_killed is killed
    assert len(outcome.notes) == killed


def test_a_failing_runtime_is_no_exit_code(start, spool):
    spool.sif.write_text("FATAL:   container creation failed: no such thing\n")

    outcome, _ = start("exit 255")

    assert outcome.runtime_error == "container creation failed: no such thing"


def test_a_missing_command_is_said_in_plain_words(start):
    outcome, log = start(["/no/such"])

    assert outcome.runtime_error == "command not found in the image: /no/such"
    assert log.total_bytes == 0


def test_an_image_without_a_command_is_said_in_plain_words(start, spool):
    outcome, _ = start([])

    assert outcome.runtime_error == "The image has no command."
    assert spool.starts() == []


def test_an_actor_that_the_kernel_refuses_is_the_actors_failure(start, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF rubbish")
    program.chmod(0o755)

    outcome, _ = start([str(program)])

    assert outcome.exit_code in (126, 127)
    assert outcome.runtime_error is None


def test_an_environment_too_large_for_a_process_is_said(start):
    outcome, _ = start(["true"], message=Message("m", {"MSG": "x" * 200_000}))

    assert (
        outcome.runtime_error == "The container runtime cannot be started: Argument list too long"
    )


VALUES = [
    "plain",
    "",
    "two\nlines",
    "ends with newlines\n\n\n",
    "\n",
    "$(id) `id` ${HOME} $MSG \\$x",
    "a,b=c,d:e",
    "'single' \"double\" \\ back\\\\slash",
    "tab\there *?[]{}~#!",
    "žluťoučký kůň 你好 🐎",
    "-n",
    "x" * 100_000,
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("name", ["MSG", "x-nonce", "_abaco_Content-Type", "HOME"])
def test_values_arrive_byte_for_byte(start, name, value):
    script = "import os, sys; sys.stdout.buffer.write(os.environb[sys.argv[1].encode()])"
    outcome, log = start(
        ["/usr/bin/python3", "-c", script, name],
        log_limit=200_000,
        message=Message("m", {name: value, "other": "1"}),
    )

    assert outcome.exit_code == 0
    said = log.text if log.text is not None else Path(log._path).read_text()
    assert said == value


def test_the_environment_is_built_from_nothing(start, monkeypatch):
    monkeypatch.setenv("LEAK", "yes")
    monkeypatch.setenv("APPTAINER_BIND", "/etc")
    message = Message("m", {"x-nonce": "1", "A": "2"})

    _, log = start(["env"], environment={"B": "3"}, message=message)

    names = {line.partition("=")[0] for line in log.text.splitlines()}
    names -= {"PWD", "OLDPWD", "SHLVL", "_"}  # a shell's own, and not every shell's
    assert names == {"PATH", "x-nonce", "A", "B", "_abaco_worker_id"}


def test_a_message_cannot_steer_the_shim(start):
    forged = {"_bridge_shim_n": "1; touch /tmp/forged", "_bridge_shim_1": "$(touch /tmp/forged)"}

    outcome, log = start('echo "${x}"', message=Message("m", {"x": "y", **forged, "a-b": "c"}))

    assert (outcome.exit_code, log.text) == (0, "y\n")
    assert not Path("/tmp/forged").exists()


def test_binary_data_is_bound_as_a_file(start, spool):
    start(["true"], message=Message("m", {}, data=b"\0\1"))
    (spool.root / "payload" / "m").write_bytes(b"large")
    start(["true"], message=Message("m", {}, in_file=True))

    inline, socket_1, in_file, socket_2 = Path(f"{spool.sif}.mounts").read_text().splitlines()
    assert inline.endswith("/data destination=/_abaco_binary_data ro")
    assert in_file == (
        f"type=bind source={spool.root}/payload/m destination=/_abaco_binary_data ro"
    )
    for socket in (socket_1, socket_2):
        assert socket.endswith("/results.sock destination=/_abaco_results.sock ro")


def test_binds_keep_odd_paths(start, spool, tmp_path):
    odd, other = tmp_path / 'a,b:c "d"', tmp_path / "y"
    for path in (odd, other):
        path.mkdir()
    start(["true"], binds=[[str(odd), "/x", "rw"], [str(other), "/z", "ro"]])

    mounts = Path(f"{spool.sif}.mounts").read_text().splitlines()
    assert mounts[:-1] == [
        f"type=bind source={odd} destination=/x",
        f"type=bind source={other} destination=/z ro",
    ]


def test_what_cannot_be_mounted_is_said_in_a_sentence(start, spool, tmp_path):
    binds = [[str(tmp_path), "/x", "rw"], [f"{tmp_path}/gone", "/data", "ro"]]
    outcome, _ = start(["true"], binds=binds)

    assert outcome.runtime_error == (
        f"{tmp_path}/gone of this node, which is to be mounted at /data, cannot be: No such file "
        "or directory."
    )
    assert not Path(f"{spool.sif}.mounts").exists()


def test_stdin_is_empty(start):
    outcome, log = start("cat; echo end")

    assert (outcome.exit_code, log.text) == (0, "end\n")


def test_output_keeps_its_order(start):
    _, log = start("for i in 1 2 3; do echo o$i; echo e$i >&2; done")

    assert log.text.split() == ["o1", "e1", "o2", "e2", "o3", "e3"]


def test_a_long_log_goes_to_a_file_and_is_cut_at_its_limit(start, spool):
    outcome, log = start("yes 0123456 | head -c 300000; echo the end", log_limit=200_000)

    assert outcome.exit_code == 0
    assert log.text is None
    assert (spool.root / "logs" / "m").read_bytes() == b"0123456\n" * 25_000
    assert (log.total_bytes, log.is_truncated) == (300_008, True)


def test_a_flood_is_drained_and_does_not_outlast_its_order_to_end(start):
    begun = time.monotonic()
    watch = ending_after(1, Ending("cancel", 1))

    outcome, log = start("exec cat /dev/zero", watch, log_limit=1000)

    assert outcome.ended_by == "cancel"
    assert log.total_bytes > 1_000_000
    assert time.monotonic() - begun < 10


def ending_after(calls, ending):
    """Return a watch that says `ending` from its given call on."""
    count = iter(range(1, 1000))
    return lambda: ending if next(count) >= calls else None


@pytest.mark.parametrize(
    "script",
    [
        'trap "" TERM INT HUP; while :; do sleep 0.05; done',
        "kill -STOP $$",
        "exec >&- 2>&-; trap '' TERM; while :; do sleep 0.05; done",
        "setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' & wait",
    ],
    ids=["ignores TERM", "stops itself", "closes its output", "has a child elsewhere"],
)
def test_no_actor_outlives_its_order_to_end(start, script):
    begun = time.monotonic()

    outcome, _ = start(script, ending_after(1, Ending("cancel", 0.3)))

    assert outcome.ended_by == "cancel"
    assert outcome.exit_code in (137, 143)
    assert time.monotonic() - begun < 6
    assert not children()


def test_what_an_actor_leaves_behind_ends_with_it(start):
    begun = time.monotonic()
    script = "for i in 1 2 3; do setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & done"

    outcome, _ = start(f"{script}; echo done")

    assert outcome.exit_code == 0
    assert time.monotonic() - begun < 6
    assert not children()


def test_an_actor_may_close_its_output_and_work_on(start):
    outcome, log = start("echo head; exec >&- 2>&-; sleep 0.2; exit 4")

    assert (outcome.exit_code, log.text) == (4, "head\n")


def test_usage_counts_children_and_io(start):
    outcome, _ = start(
        "python3 -c 'sum(range(3000000))'; head -c 5000000 /dev/zero > /dev/null", message=None
    )

    assert outcome.cpu_ns > 20_000_000
    assert outcome.max_rss_kib > 1000
    assert outcome.io_bytes > 5_000_000


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
