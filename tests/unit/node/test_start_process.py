"""A process that stays: message after message, through the real keeper and the fake runtime."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import pytest

import bridge
from bridge.node.capture import Capture
from bridge.node.messages import Message
from bridge.node.results import Results
from bridge.node.signals import Signals
from bridge.node.spool import Spool
from bridge.node.start_process import StartProcess
from bridge.node.starter import Ending

HELPERS = Path(bridge.__file__).parent / "image_helpers"
PYTHON = """\
import os, sys, time
import abaco_process
print("up")
def handle():
    exec(os.environ["MSG"], globals())
abaco_process.serve(handle)
"""
# A program of bare protocol: each message is a script for this very shell.
SHELL = """\
echo 'ready sh' >&5
while read -r id <&4; do
  unset MSG; . "$script"; eval "$MSG"
done
"""


class Ran:
    """What became of one message."""

    def __init__(self, outcome, log, results):
        self.outcome = outcome
        self.exit_code = outcome.exit_code
        self.notes = " ".join(outcome.notes)
        self.log = log.text
        self.results = results.next_batch()


class Actor:
    """An actor whose process stays."""

    def __init__(self, spool, command, **fields):
        spool.write(command, reuse="process", **fields)
        self.spool = spool
        self.folder = Spool(str(spool.root))
        self.signals = Signals()
        environ = dict(os.environ, TMPDIR=str(spool.root.parent))
        self.starter = StartProcess(
            self.folder.read_array(), self.folder, self.signals, {"_abaco_worker_id": "w"}, environ
        )
        self.starter.prepare()
        self.count = 0

    def run(self, msg="", watch=lambda: None, name="", **given):
        """Run one message; a text is Python or shell, as the actor takes it."""
        self.count += 1
        name = name or f"m{self.count}"
        log = Capture(self.folder.path("logs", name), 65536, 1_000_000)
        results = Results(self.folder.path("results", name), 65536, 1 << 20)
        env = {"MSG": msg, "_abaco_execution_id": name, **given.pop("env", {})}
        try:
            outcome = self.starter.run(Message(name, env, **given), log, results, watch)
        finally:
            log.close()
        return Ran(outcome, log, results)

    def starts(self):
        """Return how many containers were started."""
        return len(self.spool.starts())


@pytest.fixture
def make(spool):
    """What makes an actor of a command."""
    actors = []

    def make(command, **fields):
        actors.append(Actor(spool, command, **fields))
        return actors[-1]

    yield make
    for actor in actors:
        actor.starter.close()


@pytest.fixture
def python(make):
    """An actor of the helper in Python: each message is what it executes."""
    return make_python(make, environment={"SHARED": "all", "COLOUR": "white"})


def make_python(make, **fields):
    return make(f"PYTHONPATH={HELPERS} exec python3 -c {shlex.quote(PYTHON)}", **fields)


@pytest.fixture
def shell(make, spool):
    """An actor in sh, of bare protocol."""
    return make("script=/_abaco_message.sh\n" + SHELL)


def test_one_process_takes_message_after_message(python):
    first = python.run("print(os.getpid()); kept = 1")
    others = [python.run("print(os.getpid())") for _ in range(20)]

    head, _, pid = first.log.partition("\n")
    assert head == "up"
    assert {ran.log for ran in others} == {pid}
    assert python.starts() == 1
    assert {ran.notes for ran in (first, *others)} == {""}


@pytest.mark.parametrize(
    ("code", "exit_code", "log"),
    [
        ("sys.exit(7)", 7, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no')", 1, "no\n"),
        ("raise ValueError('bad')", 1, "ValueError: bad\n"),
    ],
)
def test_what_a_handler_ends_with_is_the_exit_code(python, code, exit_code, log):
    python.run()
    ran = python.run(code)

    assert ran.exit_code == exit_code
    assert ran.log.endswith(log)
    assert python.run("print('on')").log == "on\n"
    assert python.starts() == 1


def test_each_message_has_its_own_environment(python):
    show = "print({n: os.environ[n] for n in sorted(os.environ) if n not in known})"
    known = "known = {'PATH', 'PYTHONPATH', 'PWD', 'LC_CTYPE', 'MSG', 'SHLVL', '_', 'OLDPWD'}\n"
    values = {"COLOUR": "two\nlines '\" $x \r\n", "x-nonce": "n", "_abaco_worker_id": "forged"}
    python.run("os.environ['LEFT'] = 'behind'")

    one = python.run(known + show, env=values)
    two = python.run(known + show)

    common = {"SHARED": "all", "_abaco_worker_id": "w"}
    assert eval(one.log) == {
        **common, "_abaco_execution_id": "m2", "COLOUR": values["COLOUR"], "x-nonce": "n",
        "x_nonce": "n",
    }  # fmt: skip
    assert eval(two.log) == {**common, "_abaco_execution_id": "m3", "COLOUR": "white"}


def test_a_long_request_and_a_long_log_go_through(python):
    text = "x" * 700_000
    ran = python.run("print(len(os.environ['LONG'])); sys.stdout.write('y' * 50_000)",
                     env={"LONG": text})  # fmt: skip

    assert ran.log == "up\n700000\n" + "y" * 50_000


def test_logs_are_split_exactly(python):
    python.run()
    for number in range(300):
        ran = python.run(f"print({number}); sys.stderr.write('e'); os.write(1, b'raw')")
        assert sorted(ran.log) == sorted(f"{number}\neraw"), number


@pytest.fixture
def go(spool):
    """A FIFO: who opens it for reading waits for who opens it for writing."""
    path = spool.root / "go"
    os.mkfifo(path)
    return path


def test_what_nobody_asked_for_is_dropped_and_told(python, go, wait_until):
    code = """
import socket, threading
def late():
    open(GO).close()
    os.write(1, b"stray")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.sendto(b"stray", SOCKET)
    os.unlink(GO)
GO, SOCKET = os.environ["GO"], os.environ["SOCKET"]
threading.Thread(target=late).start()
"""
    python.run(code, env={"SOCKET": results_socket(python), "GO": str(go)})
    go.open("w").close()
    wait_until(lambda: not go.exists())

    ran = python.run("print('mine')")

    assert (ran.log, ran.results) == ("mine\n", None)
    assert "5 bytes of output and 1 results came that belong to none" in ran.notes
    assert python.run().notes == ""


def results_socket(actor):
    """Return where the socket of an actor's process lies: the fake makes no mount."""
    return actor.starter._place.file("results.sock")


def test_results_belong_to_the_message_that_sent_them(python):
    send = """
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["SOCKET"])
for i in range(30): s.send(b"%s %d" % (os.environb[b"_abaco_execution_id"], i))
"""
    for _ in range(3):
        ran = python.run(send, env={"SOCKET": results_socket(python)})
        assert ran.results["first"] == 0
        assert len(ran.results["data"]) == 30


def test_files_are_the_same_with_other_contents(python, spool):
    (spool.root / "payload" / "big").write_bytes(b"large")
    place = python.starter._place
    show = "print(open(os.environ['DATA']).read(), end='')"
    env = {"DATA": place.file("data"), "STATE": place.file("state")}
    count = """
kept = int(open(os.environ["STATE"]).read())
open(os.environ["STATE"], "w").write(str(kept + 1))
"""

    logs = [
        python.run(show, env=env, data=b"one", state="1").log,
        python.run(show, env=env, in_file=True, name="big", state="1").log,
        python.run(show, env=env, state="1").log,
    ]
    ran = python.run(count, env=env, state="41")

    assert logs == ["up\none", "large", ""]
    assert ran.outcome.state == "42"
    assert python.starts() == 1


def test_a_state_that_comes_later_brings_a_new_process(python):
    python.run()
    ran = python.run("print(open(os.environ['STATE']).read())",
                     env={"STATE": python.starter._place.file("state")}, state="7")  # fmt: skip

    assert ran.log == "up\n7\n"
    assert python.starts() == 2


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("os.kill(os.getpid(), 9)", 137),
        ("os.kill(os.getpid(), 11)", 139),
        ("os._exit(3)", 3),
        ("os._exit(0)", 0),
    ],
)
def test_a_crash_ends_one_message(python, code, exit_code):
    python.run()
    ran = python.run(f"print('last words', flush=True); {code}")
    after = python.run("print('again')")

    assert (ran.exit_code, ran.log) == (exit_code, "last words\n")
    assert ran.notes == "The actor's process ended without an answer."
    assert (after.exit_code, after.log) == (0, "up\nagain\n")
    assert python.starts() == 2


def test_a_process_that_goes_between_two_messages_costs_nothing(python):
    """It answers and ends at once: the next message is often sent before it has."""
    for number in range(10):
        ran = python.run("""
sys.stdout.flush()
name = os.environ["_abaco_execution_id"]
os.write(5, b"done %s 4\\n" % name.encode())
os._exit(0)
""")
        assert (ran.exit_code, ran.notes, ran.log) == (4, "", "up\n"), number


def test_requests_end_when_the_process_is_no_longer_needed(make, spool):
    seen = spool.root / "seen"
    actor = make(f"echo 'ready sh' >&5; while read -r id <&4; do echo \"done $id 0\" >&5; done; "
                 f"echo end > {seen}")  # fmt: skip
    actor.run()
    assert not seen.exists()

    actor.starter.close()

    assert seen.read_text() == "end\n"


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("done other 0", "said 'done other 0', expected 'done m1' and an exit code"),
        ("done m1 256", "said 'done m1 256'"),
        ("done m1", "said 'done m1'"),
        ("hello", "said 'hello'"),
        ("", "said ''"),
    ],
)
def test_what_is_not_in_the_protocol_ends_the_process(make, says, reason):
    actor = make(f"echo 'ready sh' >&5; read -r id <&4; echo log; echo '{says}' >&5; sleep 60")
    ran = actor.run()

    assert (ran.exit_code, ran.log) == (137, "log\n")
    assert f"Killed: the actor's process {reason}" in ran.notes


def test_an_answer_that_comes_before_the_question_ends_the_process(make):
    ran = make("printf 'ready sh\ndone m1 0\n' >&5; sleep 60").run()

    assert ran.exit_code == 137
    assert "said 'done m1 0\\n', expected 'done m1' and an exit code" in ran.notes


def test_a_socket_that_is_shut_ends_the_process(python):
    python.run()
    ran = python.run("import socket; socket.socket(fileno=5).shutdown(2); time.sleep(60)")

    assert ran.exit_code == 137
    assert "said '(end of file)'" in ran.notes
    assert python.run("print('on')").log == "up\non\n"


def test_a_process_that_ends_while_nobody_asks_costs_nothing(python, go):
    code = """
import threading
def late():
    open(GO).close()
    os._exit(1)
GO = os.environ["GO"]
threading.Thread(target=late).start()
"""
    python.run(code, env={"GO": str(go)})
    go.open("w").close()
    keeper = python.starter._process.keeper
    os.waitid(os.P_PID, keeper, os.WEXITED | os.WNOWAIT)

    ran = python.run("print('on')")

    assert (ran.exit_code, ran.log, ran.notes) == (0, "up\non\n", "")


def test_a_flood_of_words_ends_the_process(make):
    ran = make("echo 'ready sh' >&5; exec cat /dev/zero >&5").run()

    assert ran.exit_code == 137
    assert "expected 'done m1' and an exit code" in ran.notes


def test_a_flood_of_output_and_results_is_cut_at_the_time_limit(python):
    python.run()
    flood = """
import socket, threading
def send():
    while True:
        ours.send(b"x" * 2000)
ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ours.connect(os.environ["SOCKET"])
threading.Thread(target=send, daemon=True).start()
while True:
    os.write(1, bytes(65536))
"""
    ran = python.run(flood, env={"SOCKET": results_socket(python)},
                     watch=lambda: Ending("time_limit", 0.2))  # fmt: skip

    assert (ran.exit_code, ran.outcome.ended_by) == (143, "time_limit")
    assert python.run("print('on')").log == "up\non\n"


def test_a_process_that_reads_nothing_runs_into_its_time_limit(make):
    actor = make("echo 'ready json' >&5; exec sleep 60")
    ran = actor.run("x" * 2_000_000, watch=lambda: Ending("time_limit", 0.2))

    assert (ran.exit_code, ran.outcome.ended_by) == (143, "time_limit")


def test_a_process_that_is_not_ready_as_it_should_be_is_killed(make):
    ran = make("echo loading; echo ready >&5; sleep 60").run()

    assert (ran.exit_code, ran.log) == (137, "loading\n")
    assert ran.notes == (
        "Killed: the actor's process said 'ready', expected 'ready json' or 'ready sh'."
    )


def test_a_second_answer_ends_the_process(make, wait_until):
    actor = make(
        "echo 'ready sh' >&5; read -r id <&4; echo \"done $id 0\ndone $id 0\" >&5; sleep 60"
    )
    one, two = actor.run(), actor.run()

    assert (one.exit_code, one.notes) == (0, "")
    assert two.exit_code == 0
    assert two.notes.startswith("The actor's process said 'done m1 0\\n' when nothing was asked")
    assert actor.starts() == 2


def test_an_image_without_the_protocol_is_no_success(make):
    ran = make("echo classified").run()

    assert ran.outcome.runtime_error.startswith("The actor's process ended with 0 before it was")
    assert ran.outcome.runtime_error.endswith("Its last words: classified")


def test_a_process_that_fails_before_it_is_ready_is_the_actors_failure(make):
    ran = make("echo no model; exit 3").run()

    assert (ran.exit_code, ran.log, ran.outcome.runtime_error) == (3, "no model\n", None)
    assert ran.notes == "The actor's process ended before it was ready."


def test_a_command_that_is_missing_is_said_as_ever(make):
    assert make(["/no/such"]).run().outcome.runtime_error == (
        "command not found in the image: /no/such"
    )


def test_a_failing_runtime_is_said_as_ever(make, spool):
    spool.sif.write_text("FATAL:   no such thing\n")

    assert make("exit 0").run().outcome.runtime_error == "no such thing"


@pytest.mark.parametrize("when", ["starting", "running"])
def test_a_time_limit_ends_the_process(make, when):
    ready = "" if when == "starting" else "echo 'ready sh' >&5;"
    actor = make(f"trap 'echo bye; exit 9' TERM; {ready} while :; do sleep 0.1; done")

    ran = actor.run(watch=lambda: Ending("time_limit", 5.0))

    assert (ran.outcome.ended_by, ran.exit_code, ran.log) == ("time_limit", 9, "bye\n")
    assert ran.notes == ""


def test_an_answer_within_the_grace_counts(python):
    python.run()
    code = "import signal; signal.signal(15, lambda *_: sys.exit(8)); time.sleep(60)"
    ran = python.run(code, watch=lambda: Ending("cancel", 5.0))

    assert (ran.exit_code, ran.outcome.ended_by) == (8, "cancel")
    assert python.run("print('new')").log == "up\nnew\n"


def test_a_deaf_process_is_killed_after_the_grace(make):
    ran = make("trap '' TERM; echo 'ready sh' >&5; while :; do sleep 0.1; done").run(
        watch=lambda: Ending("time_limit", 0.2)
    )

    assert (ran.exit_code, ran.outcome.ended_by) == (137, "time_limit")


def test_memory_of_the_process_has_a_limit(make):
    actor = make_python(make, memory_mib=200)
    assert actor.run().exit_code == 0

    ran = actor.run("kept = bytearray(os.urandom(1 << 20) * 400); time.sleep(60)")

    assert (ran.exit_code, ran.outcome.ended_by, ran.outcome.oom_killed) == (137, "memory", True)
    assert "the limit is 200 MiB" in ran.notes


def test_usage_is_counted_for_each_message(python):
    python.run()
    idle = python.run().outcome
    busy = python.run("e = time.process_time() + 0.3\nwhile time.process_time() < e: pass").outcome
    loop = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
    inherited = python.run(f"os.system({loop!r})").outcome
    wrote = python.run("open('/dev/null', 'wb').write(bytes(1_000_000))").outcome

    assert idle.cpu_ns < 100_000_000
    assert 290_000_000 < busy.cpu_ns < 1_000_000_000
    assert inherited.cpu_ns > 50_000_000
    assert 1_000_000 <= wrote.io_bytes < 1_100_000
    assert 5_000 < idle.max_rss_kib < 100_000
    assert idle.pid == wrote.pid > 1


def test_the_pid_is_the_one_that_this_node_knows(python):
    ran = python.run("print(os.getpid())")

    assert ran.log == f"up\n{ran.outcome.pid}\n"


def test_a_malformed_message_is_said_as_ever(python):
    python.run()
    bad = python.starter.run(Message("x", {}, problem="no"), None, None, lambda: None)

    assert bad.runtime_error == "no"
    assert python.starts() == 1


def test_a_keeper_that_was_killed_costs_one_message(python):
    python.run()
    keeper = python.starter._process.keeper
    os.kill(keeper, signal.SIGKILL)
    os.waitid(os.P_PID, keeper, os.WEXITED | os.WNOWAIT)

    assert python.run("print('on')").log == "up\non\n"


def test_a_message_is_not_given_twice_when_nobody_can_say_who_read_it(make):
    """The keeper is killed while the process, stopped, has not read its request yet."""
    actor = make("echo 'ready sh' >&5; while read -r id <&4; do echo \"done $id 0\" >&5; done")
    actor.run()
    process = actor.starter._process
    os.kill(process.pid, signal.SIGSTOP)
    asked = []

    def watch():
        asked.append(os.kill(process.keeper, signal.SIGKILL))

    ran = actor.run(watch=watch)
    os.kill(process.pid, signal.SIGKILL)

    assert (len(asked), ran.exit_code, actor.starts()) == (1, 137, 1)
    assert ran.notes == "The actor's process ended without an answer."


def test_a_state_that_was_never_handed_over_is_not_taken(make):
    ran = make("exit 3").run(state="41")

    assert (ran.exit_code, ran.outcome.state) == (3, None)
    assert ran.notes == "The actor's process ended before it was ready."


def test_a_state_file_that_was_spoiled_costs_one_message(python):
    env = {"STATE": python.starter._place.file("state")}
    spoil = "os.unlink(os.environ['STATE']); os.mkdir(os.environ['STATE'])"
    assert python.run(spoil, env=env, state="1").outcome.state is None
    with pytest.raises(IsADirectoryError):
        python.run(env=env, state="1")
    Path(env["STATE"]).rmdir()

    ran = python.run("print(open(os.environ['STATE']).read())", env=env, state="7")

    assert ran.log == "up\n7\n"


def test_a_process_that_cannot_be_forked_costs_one_message(python, monkeypatch):
    def fail():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("os.fork", fail)
        with pytest.raises(BlockingIOError):
            python.run()

    assert python.run("print('on')").log == "up\non\n"


def test_the_shell_example_serves_both_ways(make, spool, tmp_path):
    text = (HELPERS / "serve.sh").read_text().replace("/usr/share/dict/words", str(tmp_path / "w"))
    (tmp_path / "w").write_text("one two three")
    actor = make(["sh", "-c", text.replace("/_abaco_message.sh", '"$0"'), "/_abaco_message.sh"])
    values = ["a", "it's\ntwo lines $(id) `id` \\", "", "-n žluťoučký"]

    for value in values:
        log = actor.run(value, env={"x-nonce": "n", "IFS": "a", "PPID": "1"}).log
        assert log == f"I know 3 words; you said: {value}\n"
    assert actor.starts() == 1

    from bridge.node.start_none import StartNone

    actor.starter.close()
    alone = StartNone(actor.folder.read_array(), actor.folder, Signals(), {}, os.environ)
    alone.prepare()
    log = Capture("", 65536, 65536)
    outcome = alone.run(Message("m", {"MSG": "hi"}), log, Results("", 0, 0), lambda: None)
    alone.close()
    assert (outcome.exit_code, log.text) == (0, "I know 3 words; you said: hi\n")
