"""What an actor finds is the same however its container is started (abaco_contract.md 5)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sandbox

RUN = ["python3", "-c", "import json, os, sys; sys.path.append('/ro'); exec(os.environ['MSG'])"]
TELL = "import facts; print(json.dumps(facts.facts()))"
WAYS = ("none", "image")
ENVIRONMENT = {
    "A": "1",
    "a-b": "odd",
    "x.y": "odd too\n\n",
    "_abaco_Content-Type": "str",
    "CR": "as\r\nDOS\r\nhas it\r\n",
    "EMPTY": "",
    "LONG": "long" * 25_000,
    "x-nonce": "secret",
    "UTF8": "žluťoučký kůň",
    "PS1": "mine",
}
# What may differ, and why.
DIFFERENCES = {
    "text/environment/x-nonce": "Without GNU's env in the image, no shell can give it that name.",
    "text/environment/PROMPT_COMMAND": "Apptainer writes PS1 into it before a message is known.",
}


def prepare(node) -> dict[str, Any]:
    """Put what the containers find on the node; return the fields of a spool."""
    place = f"{node.sif}.conformance"
    node.write(
        {
            f"{place}/ro/facts.py": (Path(__file__).parent / "facts.py").read_text(),
            f"{place}/rw/here": "",
        }
    )
    binds = [[f"{place}/ro", "/ro", "ro"], [f"{place}/rw", "/rw", "rw"]]
    return {
        "binds": binds,
        "sif": node.python_sif,
        "max_run_time_s": 60,
        "environment": {"SHARED": "2", "A": "0"},
    }


def message(name: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "env": {}, "msg": text, **fields}


def run(node, way: str, messages: list[dict[str, Any]], **fields: Any) -> dict[str, dict[str, Any]]:
    """Run messages in one way; return the `finished` records by id."""
    root = node.spool(RUN, messages, **{**prepare(node), "reuse": way, **fields})
    ends = node.work(root)
    assert [r for r in node.records(root) if r["t"] == "fell_back"] == []
    return ends


def differences(path: str, one: Any, other: Any) -> dict[str, list[Any]]:
    """Return what is not the same in two documents."""
    if isinstance(one, dict) and isinstance(other, dict):
        found: dict[str, list[Any]] = {}
        for name in sorted({*one, *other}):
            below = differences(f"{path}/{name}", one.get(name), other.get(name))
            found.update(below)
        return found
    return {} if one == other else {path: [one, other]}


def test_what_an_actor_finds(node):
    found = {}
    for way in WAYS:
        messages = [
            message("text", TELL, state='{"n": 1}') | {"env": ENVIRONMENT},
            {
                "id": "binary",
                "env": {"MSG": TELL},
                "data": base64.b64encode(b"some data").decode(),
            },
        ]
        ends = run(node, way, messages, workdir="/srv")
        for name, end in ends.items():
            assert (end["exit_code"], end["runtime_error"]) == (0, None), end["log"]
            found[way, name] = json.loads(end["log"])
    host = dict(
        line.split()
        for line in node.run(
            "sh", "-c", 'cd /proc/self/ns; for n in *; do echo "$n $(readlink $n)"; done'
        ).splitlines()
    )
    for facts in found.values():
        facts["namespaces"] = {k: host[k] == seen for k, seen in facts["namespaces"].items()}

    unlike = {}
    for name in ("text", "binary"):
        unlike.update(differences(name, found["none", name], found["image", name]))
    assert set(unlike) == set(DIFFERENCES), unlike


SHELL = ["sh", "-c", 'eval "$MSG"']
ENDINGS = {
    "its child is killed": "sh -c 'kill -6 $$'; exit 4",
    "leaves a daemon": "setsid sh -c 'sleep 99' & exit 6",
    "leaves one that is stopped": "sh -c 'kill -STOP $$' & sleep 0.1; exit 7",
    "orphans": "(sleep 0.05 &); sleep 0.1; exit 8",
}


def test_how_an_actor_ends(node):
    codes = {"none": [0, 3, 126, 137, 255], "image": range(256)}  # Apptainer's each take a while
    signals = {f"signal {n}": 128 + n for n in (1, 2, 6, 9, 11, 13, 15)}
    found = {}
    for way in WAYS:
        texts = {f"code {code}": f"exit {code}" for code in codes[way]}
        texts |= {name: f"kill -{code - 128} $$" for name, code in signals.items()}
        texts |= ENDINGS
        names = {f"e{number}": name for number, name in enumerate(texts)}
        root = node.spool(
            SHELL, [message(one, texts[name]) for one, name in names.items()], reuse=way
        )
        ends = node.work(root)
        assert {end["runtime_error"] for end in ends.values()} == {None}
        found[way] = {names[one]: end["exit_code"] for one, end in ends.items()}

    assert found["none"].items() <= found["image"].items()
    assert {f"code {code}": code for code in range(256)}.items() <= found["image"].items()
    assert signals.items() <= found["image"].items()


COMMANDS = {
    "a script without a first line": ["/rw/plain", "a b"],
    "what may not be executed": ["/rw/data"],
    "a script of no interpreter": ["/rw/orphan"],
    "found by the message's PATH": ["plain", "a b"],
}


def test_what_can_be_executed(node):
    found = {}
    for way in WAYS:
        fields = prepare(node)
        folder = fields["binds"][1][0]
        node.write(
            {
                f"{folder}/plain": "echo plain $# $1 $MSG\n",
                f"{folder}/orphan": "#!/no/such\n",
                f"{folder}/data": "echo no\n",
            }
        )
        node.run("chmod", "+x", *(f"{folder}/{name}" for name in ("plain", "orphan")))
        for name, command in COMMANDS.items():
            sent = message("a", "hi") | {"env": {"PATH": "/usr/bin:/bin:/rw"}}
            root = node.spool(command, [sent], **{**fields, "reuse": way})
            end = node.work(root)["a"]
            said = end["log"] if end["exit_code"] < 2 else ""  # a shell has words of its own
            found[way, name] = (end["exit_code"] if end["runtime_error"] is None else None,
                                end["runtime_error"], said)  # fmt: skip

    for name in COMMANDS:
        assert found["image", name] == found["none", name], name
    assert found["image", "found by the message's PATH"] == (0, None, "plain 1 a b hi\n")
    assert found["image", "what may not be executed"][0] == 126


LEAVE = """
import ctypes, facts, socket, time
for path in ("/tmp/x", "/var/tmp/x", "/dev/shm/x", "/dev/x", "/srv/x", "/x", "/etc/x", "/root/.x"):
    facts.write(path)
with open("/etc/passwd", "a") as file:
    file.write("left\\n")
os.makedirs("/dev/mqueue", exist_ok=True)
ctypes.CDLL(None).mq_open(b"/left", 0o102, 0o600, None)
for call in ("shmget", "semget"):
    getattr(facts.LIBC, call)(77, 1, 0o1666)
facts.LIBC.msgget(77, 0o1666)
for keyring in facts.KEYRINGS:
    facts.LIBC.syscall(facts.ADD_KEY, b"user", b"left", b"x", 1, keyring)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        left = socket.socket(socket.AF_UNIX)
        left.bind("\\0left")
        left.listen()
        facts.call("unshare", facts.NEWUSER | facts.NEWNS)
        time.sleep(600)
    os._exit(0)
time.sleep(0.2)
print(json.dumps(facts.lasting()))
"""
LOOK = "import facts; print(json.dumps(facts.lasting()))"


def test_nothing_of_one_message_is_visible_to_the_next(node):
    texts = {"first": LOOK, "leaves": LEAVE, "next": LOOK}
    ends = run(node, "image", [message(name, text) for name, text in texts.items()])

    seen = {name: json.loads(end["log"]) for name, end in ends.items()}
    assert seen["next"] == seen["first"]
    left = seen["leaves"]
    assert {"/tmp/x", "/dev/shm/x", "/srv/x", "/root/.x"} <= set(left["files"])
    assert (left["ipc"], left["sockets"]) == ([1, 1, 1], ["@left"])
    assert left["keys"] == [-1, -2, -3, -4, -5]
    assert left["passwd"] != seen["first"]["passwd"]
    assert node.left_running() == ""


def test_the_first_process_of_a_container_is_out_of_reach(node):
    text = "import facts; print(json.dumps(facts.attacks_on_init()), flush=True); sys.exit(3)"

    end = run(node, "image", [message("a", text)])["a"]

    found = json.loads(end["log"])
    assert end["exit_code"] == 3
    assert found["own"].pop("trace it") == "Operation not permitted"
    # The kernel lets nobody within kill the first process; it says nothing.
    assert [found["own"].pop(name) for name in ("kill it", "stop it")] == [None, None]
    assert found["own"].pop("enter its namespaces") == ["Permission denied"] * 3
    assert set(found["own"].values()) == {"Permission denied"}
    assert found["with namespaces"] == {
        "its root": "Permission denied",
        "trace it": "Operation not permitted",
    }
