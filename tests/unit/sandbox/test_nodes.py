"""Commands inside a node; the shell scripts are run here for real."""

import os
import pwd
import subprocess
import time
from pathlib import Path

from bridge.sandbox import nodes

ME = pwd.getpwuid(os.getuid()).pw_name


def test_a_user_gets_a_fresh_environment_and_all_groups() -> None:
    argv = nodes.build_user_argv(["id", "-u"], user="alice", env={"A": "x y"})
    assert argv == [
        *("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "--reset-env"),
        *("--inh-caps=-all", "--", "env", "--chdir=/home/alice", "A=x y", "id", "-u"),
    ]


def test_root_keeps_its_capabilities() -> None:
    assert "--inh-caps=-all" not in nodes.build_user_argv(["id"], user="root")


def test_put_writes_whole_files_with_mode(tmp_path: Path) -> None:
    target = tmp_path / "a file"
    target.write_text("old")
    argv = nodes.build_put_argv(str(target), ME, 0o640)
    subprocess.run(argv, input=b"new\0data", check=True)
    assert target.read_bytes() == b"new\0data"
    assert target.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [target]


def test_put_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    argv = nodes.build_put_argv(str(target), "no-such-user", 0o640)
    done = subprocess.run(argv, input=b"new", capture_output=True, check=False)
    assert done.returncode != 0
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_start_prints_the_number_of_the_very_process_and_returns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = ["sh", "-c", nodes.START_SCRIPT, "start", str(log), "sh", "-c", "echo $$ 'a  b'"]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=5)
    expected = f"{int(done.stdout)} a  b\n"
    deadline = time.monotonic() + 5
    while log.read_text() != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log.read_text() == expected


def test_start_without_a_writable_log_fails(tmp_path: Path) -> None:
    script = ["sh", "-c", nodes.START_SCRIPT, "start", str(tmp_path / "no" / "log"), "true"]
    assert subprocess.run(script, capture_output=True, check=False).returncode != 0


def test_limit_stands_around_the_command() -> None:
    argv = nodes.build_limited_argv(["sleep", "9"], 0.1)
    assert subprocess.run(argv, check=False).returncode == 124
