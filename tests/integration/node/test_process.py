"""A process that stays, in a real container on a real node: what belongs to which message."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

import bridge
from tests.integration.node.conftest import ROOT

pytestmark = pytest.mark.sandbox

HELPERS = Path(bridge.__file__).parent / "image_helpers"
PROGRAM = """\
import os, socket, sys, time
import abaco_process
print("up")
def handle():
    exec(os.environ.get("MSG", DATA), globals())
DATA = "print(open('/_abaco_binary_data').read())"
def send(*results):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.connect("/_abaco_results.sock")
        for one in results:
            ours.send(one)
abaco_process.serve(handle)
"""
COUNT = """
n = int(open("/_abaco_state.json").read())
open("/_abaco_state.json", "w").write(str(n + 1))
"""
SHOW = "print(os.getuid(), os.getgid(), os.getcwd(), sorted(set(os.environ) - KNOWN))"
KNOWN = "KNOWN = set(os.environ)"
PLAIN = 1000


def spool(node, messages, **fields):
    """Make a spool of the program above."""
    helper = (HELPERS / "abaco_process.py").read_text()
    node.write({f"{ROOT}/helpers/abaco_process.py": helper})
    return node.spool(
        ["python3", "-c", PROGRAM],
        messages,
        sif=node.python_sif,
        reuse="process",
        binds=[[f"{ROOT}/helpers", "/opt/helpers", "ro"]],
        environment={"PYTHONPATH": "/opt/helpers"},
        **fields,
    )


def text(name, code, **env):
    """Return a message that the program executes."""
    return {"id": name, "env": {"_abaco_execution_id": name, **env}, "msg": code}


def test_what_belongs_to_which_message(node):
    numbered = [text(f"n{i}", f"print({i}); sys.stderr.write('e')") for i in range(PLAIN)]
    special = [
        text("known", KNOWN),
        text("own", SHOW, EXTRA="1"),
        text("none", SHOW),
        {"id": "binary", "env": {}, "data": base64.b64encode(b"picture").decode()},
        {"id": "payload", "env": {}, "file": True},
        text("empty", "exec(DATA)"),
        text("results", "send(b'one', b'two'); print('sent')"),
        text("silent", ""),
        text("crash", "print('last', flush=True); os.kill(os.getpid(), 11)"),
        text("exit", "os._exit(5)"),
        text("garbage", "os.write(5, b'nonsense\\n'); time.sleep(60)"),
        text("raises", "raise ValueError('bad')"),
        text("hog", "kept = bytearray(os.urandom(1 << 20) * 300); time.sleep(60)"),
        text("slow", "print('begun', flush=True); time.sleep(60)"),
        text("left", "os.system('sleep 600 &')"),
        text("last", "print('end')"),
    ]
    root = spool(node, numbered + special, max_run_time_s=3, memory_mib=200)
    node.write({f"{root}/payload/payload": "large"})

    ends = node.work(root)

    logs = {i: ends[f"n{i}"]["log"] for i in range(PLAIN)}
    assert sorted(logs.pop(0)) == sorted("up\n0\ne")
    assert {i: sorted(log) for i, log in logs.items()} == {i: sorted(f"{i}\ne") for i in logs}
    assert {ends[f"n{i}"]["pid"] for i in range(1, PLAIN)} == {ends["known"]["pid"]}
    assert ends["own"]["log"] == "2001 2001 / ['EXTRA']\n"
    assert ends["none"]["log"] == "2001 2001 / []\n"
    assert [ends[n]["log"] for n in ("binary", "payload", "empty")] == [
        "picture\n",
        "large\n",
        "\n",
    ]
    assert ends["results"]["results"]["data"] == ["b25l", "dHdv"]
    assert (ends["silent"]["results"], ends["silent"]["log"]) == (None, "")
    assert (ends["crash"]["exit_code"], ends["crash"]["log"]) == (139, "last\n")
    assert ends["exit"]["exit_code"] == 5
    assert ends["garbage"]["exit_code"] == 137
    assert "said 'nonsense', expected 'done garbage' and an exit code" in ends["garbage"]["notes"]
    assert ends["raises"]["exit_code"] == 1
    assert "ValueError: bad\n" in ends["raises"]["log"]
    assert (ends["hog"]["ended_by"], ends["hog"]["exit_code"]) == ("memory", 137)
    assert (ends["slow"]["ended_by"], ends["slow"]["log"]) == ("time_limit", "up\nbegun\n")
    assert (ends["left"]["exit_code"], ends["last"]["log"]) == (0, "end\n")
    assert {end["runtime_error"] for end in ends.values()} == {None}
    assert node.left_running() == ""


def test_state_goes_from_message_to_message(node):
    messages = [{**text(f"m{i}", COUNT), "state": str(10 * i)} for i in range(3)]

    ends = node.work(spool(node, messages))

    assert [ends[f"m{i}"]["state"] for i in range(3)] == ["1", "11", "21"]
    assert {end["exit_code"] for end in ends.values()} == {0}


def test_a_shell_takes_messages(node):
    example = (HELPERS / "serve.sh").read_text().replace("/usr/share/dict/words", "/etc/hostname")
    values = ["plain", "it's $(id) `id` \\ \"\n\n two", ""]
    messages = [text(f"m{i}", value, HOME=f"/{i}") for i, value in enumerate(values)]

    ends = node.work(node.spool(example, messages, reuse="process"))

    said = [ends[f"m{i}"]["log"].partition("said: ")[2] for i in range(len(values))]
    assert said == [f"{value}\n" for value in values]
    assert len({end["pid"] for end in ends.values()}) == 1


def test_an_order_to_end_reaches_the_process(node):
    slow = "open('/tmp/x', 'w'); print('up ' * 30000, flush=True); time.sleep(600)"
    root = spool(node, [text("a", slow), text("b", slow), text("c", "")], inline_log_bytes=100)
    pid = node.sandbox.start(node.name, node.worker(root), user="alice", log_path=f"{root}/out")
    for name, signal in (("a", ""), ("b", "TERM")):
        node.wait_for(lambda name=name: name in node.run("ls", f"{root}/logs").split())
        if signal:
            node.run("kill", f"-{signal}", str(pid))
        else:
            node.write({f"{root}/cancel/{name}": ""})
    node.wait_for(lambda: any(r["t"] == "left" for r in node.records(root)))

    ends = node.finished(root)
    assert [ends[name]["ended_by"] for name in "ab"] == ["cancel", "signal"]
    assert [ends[name]["exit_code"] for name in "ab"] == [143, 143]
    (left,) = [record for record in node.records(root) if record["t"] == "left"]
    assert (left["why"], left["remaining"]) == ("signal", ["c"])
    node.wait_for(lambda: node.left_running() == "")
