"""What is copied into images, as it stands there: alone, under whatever Python or shell."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bridge
from bridge.node import dialogue

HELPERS = Path(bridge.__file__).parent / "image_helpers"
README = HELPERS.parents[1] / "README.md"
LOOP = """\
import os
import abaco_process
for message in abaco_process.messages():
    print(message.id, os.environ["MSG"])
    message.done(3)
"""


def run(code, *requests, **env):
    """Run a program with the helper; with requests as a process, else for one message."""
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HELPERS), **env}
    argv = [sys.executable, "-B", "-c", code]
    how = {"capture_output": True, "text": True, "timeout": 30}
    if not requests:
        return subprocess.run(argv, check=False, env=given, **how), ""
    request, request_write = os.pipe()
    reply, reply_write = os.pipe()
    os.write(request_write, "".join(json.dumps(one) + "\n" for one in requests).encode())
    os.close(request_write)
    given |= {"_abaco_request_fd": str(request), "_abaco_reply_fd": str(reply_write)}
    ran = subprocess.run(argv, check=False, env=given, pass_fds=(request, reply_write), **how)
    os.close(request)
    os.close(reply_write)
    with os.fdopen(reply) as answers:
        return ran, answers.read()


@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        ("None", 0, ""),
        ("7", 7, ""),
        ("True", 1, ""),
        ("256", 0, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_the_same_program_serves_one_message_and_many(body, code, error):
    program = f"import sys, abaco_process\nabaco_process.serve(lambda: {body})"

    alone, _ = run(program, MSG="x")
    served, said = run(program, {"id": "a", "env": {}}, {"id": "b", "env": {}})

    assert alone.returncode == code
    assert alone.stderr.endswith(error)
    assert served.returncode == 0
    assert said == f"ready json\ndone a {code}\ndone b {code}\n"
    assert served.stderr.count(error or "Traceback") == (2 if error else 0)


def test_messages_one_by_one():
    alone, _ = run(LOOP, MSG="x", _abaco_execution_id="e")
    served, said = run(LOOP, {"id": "a", "env": {"MSG": "1"}}, {"id": "b", "env": {"MSG": "2"}})

    assert (alone.returncode, alone.stdout) == (0, "e x\n")
    assert served.stdout == "a 1\nb 2\n"
    assert said == "ready json\ndone a 3\ndone b 3\n"


def test_programs_that_it_starts_know_nothing_of_the_descriptors():
    program = (
        "import os, abaco_process\n"
        "abaco_process.serve(lambda: os.system('env; ls /proc/self/fd | wc -l'))"
    )
    ran, said = run(program, {"id": "a", "env": {}})

    assert said == "ready json\ndone a 0\n"
    assert "_fd" not in ran.stdout
    assert ran.stdout.splitlines()[-1] == "4"  # stdin, stdout, stderr and the directory


def test_it_is_python_3_6_and_needs_the_standard_library_alone():
    tree = ast.parse((HELPERS / "abaco_process.py").read_text(), feature_version=(3, 6))

    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names


def test_both_sides_know_the_same_names():
    text = (HELPERS / "abaco_process.py").read_text()

    assert all(f'"{name}"' in text for name in dialogue.ENVIRONMENT)
    for place in (HELPERS / "abaco_process.py", HELPERS / "serve.sh", README):
        assert f"{dialogue.LABEL}=process" in place.read_text(), place


def test_the_readme_shows_the_example_as_it_is():
    shown = README.read_text().partition("```sh\n[ -n")[2].partition("```")[0]
    lines = ("[ -n" + shown).splitlines()
    example = (HELPERS / "serve.sh").read_text().splitlines()

    assert len(lines) == 7
    assert [line for line in example if line in lines] == lines


def test_shellcheck_has_nothing_to_say():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    argv = ["shellcheck", str(HELPERS / "serve.sh")]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert ran.stdout == ""
