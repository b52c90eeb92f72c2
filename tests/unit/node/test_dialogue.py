"""The words that a worker and a process exchange."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.node.dialogue import (
    JSON,
    SHELL,
    build_request,
    build_script,
    explain,
    parse_done,
    parse_ready,
)
from bridge.node.usage import Usage, UsageOf

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SHELLS = [[name] for name in ("sh", "bash", "dash") if shutil.which(name)]
SHELLS += [["busybox", "sh"]] if shutil.which("busybox") else []
SHOW = """\
import json, os
json.dump({n: v for n, v in os.environ.items() if n in %r}, __import__("sys").stdout)
"""


@pytest.mark.parametrize(("line", "form"), [(b"ready json", JSON), (b"ready sh", SHELL)])
def test_a_process_says_how_it_wants_to_be_asked(line, form):
    assert parse_ready(line) == form
    for other in (line + b" ", b" " + line, line.upper(), line[:-1], b"", line + b"\0"):
        assert parse_ready(other) is None


@given(st.binary(max_size=40))
def test_whatever_a_process_says_is_an_answer_or_none(line):
    code = parse_done(line, "abc")
    assert code is None or line.split() == [b"done", b"abc", line.split()[2]]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"done abc 0", 0),
        (b"done abc 255", 255),
        (b"done abc 007", 7),
        (b"done abc 256", None),
        (b"done abc -1", None),
        (b"done abc", None),
        (b"done abd 0", None),
        (b"done abc 0 ", None),
        (b"done abc 0\r", None),
        (b"done  abc 0", None),
        (b"DONE abc 0", None),
        (b"", None),
    ],
)
def test_an_answer_names_the_message_and_its_exit_code(line, code):
    assert parse_done(line, "abc") == code


@given(st.dictionaries(TEXT, st.text()))
def test_a_request_is_one_line_whatever_is_in_it(env):
    request = build_request(JSON, "m", env)

    assert request.count(b"\n") == 1
    assert request.endswith(b"\n")
    assert json.loads(request) == {"id": "m", "env": env}
    assert build_request(SHELL, "m", env) == b"m\n"


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(TEXT | st.text("'\"\\$`\n\r !*?-=~# ()", max_size=9), min_size=1, max_size=9)
)
def test_a_shell_reads_every_value_and_runs_none(shell, values, tmp_path_factory):
    env = {f"V_{number}": value for number, value in enumerate(values)}
    path = tmp_path_factory.getbasetemp() / "message.sh"
    path.write_bytes(build_script(env))
    show = [sys.executable, "-IS", "-c", SHOW % sorted(env)]

    argv = [*shell, "-c", '. "$0" && exec "$@"', str(path), *show]
    given_env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(argv, env=given_env, capture_output=True, check=True, timeout=30)

    assert json.loads(ran.stdout) == env


def test_what_a_shell_keeps_for_itself_is_left_out():
    names = ["IFS", "PPID", "UID", "BASH_ENV", "BASHOPTS", "x-nonce", "1A", "a b", "A\n", "ENV"]
    assert build_script(dict.fromkeys(names, "x")) == b""
    assert build_script({"HOME": "/x", "_a": "1"}) == b"export HOME='/x'\nexport _a='1'\n"


def test_what_a_process_said_is_shown_in_one_short_line():
    text = explain(b"\xff\n" + b"x" * 5000, "'done'")

    assert "\n" not in text
    assert len(text) < 200


def test_usage_of_a_process_that_is_gone_is_what_was_read_last():
    with subprocess.Popen(["sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        usage = UsageOf(child.pid)
        while (before := usage.read()).cpu_ns == 0:  # the kernel may count a moment later
            time.sleep(0.01)
        child.kill()

    assert before.max_rss_kib > 0
    assert before.io_bytes > 0
    assert usage.read() == before
    assert UsageOf(child.pid).read() == UsageOf(0).read() == Usage()
    usage.close()
