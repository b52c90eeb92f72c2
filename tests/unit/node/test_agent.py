"""The agent, spoken to as the bridge does: JSON lines through its stdin and stdout."""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import socket
import subprocess
import sys
import time

import pytest

from tests.unit.node.conftest import names


class Agent:
    """A running agent."""

    def __init__(self, program):
        argv = [sys.executable, "-I", str(program), "agent"]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"SECRET": "hunter2"}
        )

    def send(self, line):
        """Send a line as it is; return the answer."""
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def ask(self, verb, **fields):
        """Ask, and return the answer without its id."""
        fields = {name: str(v) if hasattr(v, "__fspath__") else v for name, v in fields.items()}
        answer = self.send(json.dumps({"id": 7, "verb": verb, **fields}).encode())
        assert answer.pop("id") == 7
        return answer

    def done(self, verb, **fields):
        """Ask for what must work."""
        answer = self.ask(verb, **fields)
        assert answer.pop("ok"), answer
        return answer

    def refused(self, verb, **fields):
        """Ask for what must not work; return the kind."""
        answer = self.ask(verb, **fields)
        assert answer["ok"] is False
        assert answer["message"]
        return answer["kind"]


@pytest.fixture
def agent(program):
    started = Agent(program)
    yield started
    started.process.stdin.close()
    assert started.process.wait(10) == 0
    started.process.stdout.close()


def encode(data):
    return base64.b64encode(data).decode()


def test_it_says_who_it_is(agent):
    found = agent.done("hello")
    assert len(found.pop("program")) == 64
    assert found == {
        "version": 1,
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "group_names": {str(number): grp.getgrgid(number).gr_name for number in os.getgroups()},
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "host": socket.gethostname(),
    }


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"id":1,"verb":"rm"}',
        b'{"id":1,"verb":["run"]}',
        b'{"id":1,"verb":"_take_path"}',
        b"[" * 100_000,
        b'{"id":1,"verb":"read"}',
        b'{"id":1,"verb":"read","path":5}',
        b'{"id":1,"verb":"read","path":"relative"}',
        b'{"id":1,"verb":"read","path":"/a\\u0000b"}',
        b'{"id":1,"verb":"read","path":"/etc/hostname","offset":-1}',
        b'{"id":1,"verb":"read","path":"/etc/hostname","offset":1.5}',
        b'{"id":1,"verb":"read","path":"/etc/hostname","limit":1e400}',
        b'{"id":1,"verb":"read_each"}',
        b'{"id":1,"verb":"read_each","files":["/etc/hostname"]}',
        b'{"id":1,"verb":"read_each","files":[["/etc/hostname",0]]}',
        b'{"id":1,"verb":"read_each","files":[["relative",0,1]]}',
        b'{"id":1,"verb":"put","path":"/tmp/x","data":"***"}',
        b'{"id":1,"verb":"put","path":"/tmp/x","data":5}',
        b'{"id":1,"verb":"begin"}',
        b'{"id":1,"verb":"append","draft":1,"data":""}',
        b'{"id":1,"verb":"append","draft":"x","data":""}',
        b'{"id":1,"verb":"finish"}',
        b'{"id":1,"verb":"drop","draft":-1}',
        b'{"id":1,"verb":"run","argv":[]}',
        b'{"id":1,"verb":"run","argv":"ls"}',
        b'{"id":1,"verb":"run","argv":["a\\u0000b"]}',
        b'{"id":1,"verb":"run","argv":["ls"],"env":{"A":1}}',
    ],
)
def test_no_line_ends_it(agent, line):
    answer = agent.send(line)

    assert (answer["ok"], answer["kind"]) == (False, "failed")
    assert agent.done("hello")["version"] == 1


def test_a_line_without_end_is_refused_and_passed_over(agent):
    answer = agent.send(b'{"id":1,"verb":"hello","x":"' + b"x" * (65 << 20) + b'"}')

    assert "longer than" in answer["message"]
    assert agent.done("hello")["version"] == 1


def test_run_gives_status_and_output(agent):
    answer = agent.done(
        "run",
        argv=["sh", "-c", "cat; echo err >&2; exit 3"],
        stdin=encode(b"in\0put"),
        env={"PATH": "/bin"},
    )

    assert answer == {
        "exit_status": 3,
        "stdout": encode(b"in\0put"),
        "stderr": encode(b"err\n"),
        "cut": False,
    }


def test_run_gives_the_environment_it_is_told_and_no_other(agent):
    answer = agent.done("run", argv=["/usr/bin/env"], env={"A": "1"})

    assert base64.b64decode(answer["stdout"]) == b"A=1\n"


def test_run_says_which_signal(agent):
    assert agent.done("run", argv=["/bin/sh", "-c", "kill -9 $$"])["exit_status"] == 137


def test_run_of_what_is_not_there_or_not_allowed(agent, tmp_path):
    (tmp_path / "plain").write_text("x")

    assert agent.refused("run", argv=["/no/such"]) == "missing"
    assert agent.refused("run", argv=[str(tmp_path / "plain")]) == "refused"


def test_run_kills_what_is_late_with_its_children(agent, tmp_path, wait_until):
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    begun = time.monotonic()

    kind = agent.refused("run", argv=["/bin/sh", "-c", script], timeout_s=0.5, env={"PATH": "/bin"})

    assert kind == "timeout"
    assert time.monotonic() - begun < 5
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(child))


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().split()[2] != "Z"
    except OSError:
        return False


def test_run_keeps_the_head_of_a_long_output(agent):
    answer = agent.done(
        "run", argv=["/usr/bin/head", "-c", "3000000", "/dev/zero"], limit_bytes=1000
    )

    assert (len(base64.b64decode(answer["stdout"])), answer["cut"]) == (1000, True)


def test_run_does_not_wait_for_what_is_left_in_the_background(agent):
    begun = time.monotonic()

    answer = agent.done("run", argv=["/bin/sh", "-c", "/bin/sleep 5 & echo done"])

    assert base64.b64decode(answer["stdout"]) == b"done\n"
    assert time.monotonic() - begun < 4


def test_run_survives_a_program_that_reads_no_input(agent):
    answer = agent.done("run", argv=["/bin/true"], stdin=encode(b"x" * 1_000_000))

    assert answer["exit_status"] == 0


def test_a_program_cannot_reach_the_conversation(agent):
    script = "echo '{}' >&1; read line; ls /proc/self/fd"

    answer = agent.done("run", argv=["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"})

    assert base64.b64decode(answer["stdout"]).split() == [b"{}", b"0", b"1", b"2", b"3"]


def test_put_writes_whole_and_private(agent, tmp_path):
    path = tmp_path / "file"
    agent.done("put", path=path, data=encode(b"one"))
    agent.done("put", path=path, data=encode(b"two"), mode=0o644)

    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(tmp_path) == ["file"]


def test_put_replaces_a_link_and_not_what_it_points_to(agent, tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to("target")

    agent.done("put", path=tmp_path / "link", data=encode(b"new"))

    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()


def test_put_of_a_new_file_replaces_nothing(agent, tmp_path):
    agent.done("put", path=tmp_path / "file", data=encode(b"one"), new=True)

    assert agent.refused("put", path=tmp_path / "file", data=encode(b"two"), new=True) == "refused"
    assert (tmp_path / "file").read_bytes() == b"one"
    assert names(tmp_path) == ["file"]


def test_put_without_a_directory_leaves_nothing(agent, tmp_path):
    assert agent.refused("put", path=tmp_path / "no" / "file", data="") == "missing"
    (tmp_path / "folder").mkdir()
    assert agent.ask("put", path=tmp_path / "folder", data="")["ok"] is False
    assert names(tmp_path) == ["folder"]


def test_read_gives_pieces(agent, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")

    assert agent.done("read", path=tmp_path / "file", offset=2, limit=3) == {
        "data": encode(b"234"),
        "size": 10,
    }
    assert agent.done("read", path=tmp_path / "file", offset=99, limit=3)["data"] == ""


def test_read_of_nothing_is_missing(agent, tmp_path):
    assert agent.refused("read", path=tmp_path / "file") == "missing"


def plant_link(path):
    path.with_name("target").write_text("secret")
    path.symlink_to("target")


def plant_hard_link(path):
    path.with_name("target").write_text("secret")
    path.hardlink_to(path.with_name("target"))


def plant_socket(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.close()


def plant_device(path):
    path.with_name("null").symlink_to("/dev/null")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


def plant_foreign(path):
    path.write_text("another's")
    os.chown(path, 12345, 12345)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to plant it")


@pytest.mark.parametrize(
    "plant",
    [
        plant_link,
        plant_hard_link,
        os.mkfifo,
        os.mkdir,
        plant_socket,
        pytest.param(plant_device, marks=needs_root),
        pytest.param(plant_foreign, marks=needs_root),
    ],
)
def test_read_refuses_what_is_no_plain_file_of_ours_and_never_hangs(agent, tmp_path, plant):
    plant(tmp_path / "file")

    assert agent.refused("read", path=tmp_path / "file") == "refused"


def test_a_sparse_file_costs_no_more_than_was_asked_for(agent, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 42)

    answer = agent.done("read", path=tmp_path / "file", offset=1 << 41, limit=1000)

    assert (answer["size"], answer["data"]) == (1 << 42, encode(bytes(1000)))


def test_list_names_in_order_with_kind_and_size(agent, tmp_path):
    (tmp_path / "b").write_text("12345")
    (tmp_path / "a").mkdir()
    (tmp_path / "c").symlink_to("b")
    os.mkfifo(tmp_path / "d")

    answer = agent.done("list", path=tmp_path)

    assert [(entry["name"], entry["kind"]) for entry in answer["entries"]] == [
        ("a", "directory"),
        ("b", "file"),
        ("c", "other"),
        ("d", "other"),
    ]
    assert answer["entries"][1]["size"] == 5
    assert [e["name"] for e in agent.done("list", path=tmp_path, limit=2)["entries"]] == ["a", "b"]


def test_list_of_no_directory(agent, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")

    assert agent.refused("list", path=tmp_path / "none") == "missing"
    assert agent.refused("list", path=tmp_path / "file") == "refused"
    assert agent.refused("list", path=tmp_path / "link") == "refused"


def test_rename(agent, tmp_path):
    (tmp_path / "a").write_text("x")

    agent.done("rename", source=tmp_path / "a", target=tmp_path / "b")

    assert names(tmp_path) == ["b"]
    assert agent.refused("rename", source=tmp_path / "a", target=tmp_path / "c") == "missing"


def test_mkdir_makes_parents_and_may_be_repeated(agent, tmp_path):
    path = tmp_path / "a" / "b"
    for _ in range(2):
        agent.done("mkdir", path=path, mode=0o755, parents=True)

    assert path.stat().st_mode & 0o777 == 0o755
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert agent.refused("mkdir", path=tmp_path / "c" / "d") == "missing"


def test_mkdir_refuses_what_is_not_ours(agent, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)

    assert agent.refused("mkdir", path=tmp_path / "file") == "refused"
    assert agent.refused("mkdir", path=tmp_path / "link") == "refused"
    if os.getuid() == 0:
        (tmp_path / "other").mkdir()
        os.chown(tmp_path / "other", 12345, 12345)
        assert agent.refused("mkdir", path=tmp_path / "other") == "refused"


def test_remove_follows_no_link(agent, tmp_path):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").touch()
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "keep")
    (tmp_path / "link").symlink_to(tmp_path / "keep")

    agent.done("remove", path=tmp_path / "tree")
    agent.done("remove", path=tmp_path / "link")

    assert names(tmp_path) == ["keep"]
    assert names(tmp_path / "keep") == ["file"]
    assert agent.refused("remove", path=tmp_path / "tree") == "missing"


def test_a_file_in_pieces(agent, tmp_path):
    draft = agent.done("begin", path=tmp_path / "x", mode=0o640)["draft"]
    agent.done("append", draft=draft, data=encode(b"a\0"))
    assert agent.ask("append", draft=draft, data="***")["kind"] == "failed"
    agent.done("append", draft=draft, data=encode(b"b"))
    assert not (tmp_path / "x").exists()
    agent.done("finish", draft=draft)

    assert (tmp_path / "x").read_bytes() == b"a\0b"
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["x"]
    assert agent.refused("append", draft=draft, data="") == "failed"


def test_files_in_pieces_are_few_at_a_time(agent, tmp_path):
    drafts = [agent.done("begin", path=tmp_path / str(n))["draft"] for n in range(4)]

    assert agent.refused("begin", path=tmp_path / "more") == "refused"
    agent.done("drop", draft=drafts[0])
    agent.done("begin", path=tmp_path / "more")
    assert len(names(tmp_path)) == 4


def test_what_was_not_finished_goes_when_the_agent_ends(program, tmp_path):
    agent = Agent(program)
    draft = agent.done("begin", path=tmp_path / "x")["draft"]
    agent.done("append", draft=draft, data=encode(b"half"))
    gone = agent.done("begin", path=tmp_path / "y")["draft"]
    hidden = next(name for name in names(tmp_path) if name.startswith(".y."))
    (tmp_path / hidden).unlink()
    assert gone != draft

    agent.process.stdin.close()
    assert agent.process.wait(10) == 0
    agent.process.stdout.close()

    assert names(tmp_path) == []


def test_a_file_that_cannot_be_finished_can_be_dropped(agent, tmp_path):
    (tmp_path / "x").mkdir()
    draft = agent.done("begin", path=tmp_path / "x")["draft"]

    assert agent.refused("finish", draft=draft) == "refused"
    agent.done("drop", draft=draft)
    assert names(tmp_path) == ["x"]
