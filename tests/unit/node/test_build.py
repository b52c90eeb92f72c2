"""The packed program: one file, the same each time, old Python, the standard library alone."""

from __future__ import annotations

import ast
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bridge.node
from bridge.node.build import build_zipapp

PACKED = sorted(p for p in Path(bridge.node.__file__).parent.glob("*.py") if p.name != "build.py")


def test_the_same_sources_give_the_same_bytes():
    data, digest = build_zipapp()

    assert build_zipapp() == (data, digest)
    assert hashlib.sha256(data).hexdigest() == digest


def test_it_holds_what_it_needs_and_nothing_else():
    names = zipfile.ZipFile(io.BytesIO(build_zipapp()[0])).namelist()

    packed = {f"bridge/node/{path.name}" for path in PACKED}
    assert set(names) == {"__main__.py", "bridge/__init__.py", *packed}


@pytest.mark.parametrize("path", PACKED, ids=lambda path: path.stem)
def test_every_module_is_python_3_6_and_imports_the_standard_library_alone(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 6))

    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
    foreign = {
        name
        for name in imported
        if name.partition(".")[0] not in sys.stdlib_module_names
        and name.split(".")[:2] != ["bridge", "node"]
    }
    assert foreign == set()
    assert "__future__" not in imported


def old_pythons():
    """The oldest interpreters there are: what parses may still call what is not there yet."""
    found = {shutil.which(f"python3.{minor}") for minor in range(6, 10)}
    found |= {str(path) for path in Path.home().glob(".pyenv/versions/3.[6-9].*/bin/python")}
    return sorted(name for name in found if name and runs(name))


def runs(python):
    answer = subprocess.run([python, "-I", "-c", "pass"], capture_output=True, check=False)
    return answer.returncode == 0


@pytest.mark.parametrize("python", old_pythons() or [sys.executable])
def test_it_runs_isolated(python, program, spool, make_message):
    spool.write('echo "$MSG"')
    spool.add(1, make_message("a", "žluťoučký"), make_message("b"))
    argv = [python, "-I", str(program)]

    agent = subprocess.run(
        [*argv, "agent"], input=b'{"id":1,"verb":"hello"}\n', capture_output=True, check=True
    )
    worker = subprocess.run([*argv, "worker", str(spool.root)], env={}, check=False)

    assert b'"ok": true' in agent.stdout
    assert worker.returncode == 0
    logs = [r["log"] for r in spool.records() if r["t"] == "finished"]
    assert logs == ["žluťoučký\n", "hello\n"]


@pytest.mark.parametrize("python", old_pythons() or [sys.executable])
def test_it_asks_a_process_that_stays_which_is_as_old(python, program, spool, make_message):
    helpers = Path(bridge.node.__file__).parents[1] / "image_helpers"
    code = (
        f"import os, sys; sys.path.insert(0, {str(helpers)!r}); import abaco_process; "
        "abaco_process.serve(lambda: print(os.environ['MSG'], os.getpid()))"
    )
    environment = {"LC_ALL": "C.UTF-8"}  # a Python of today needs none to print what is not ASCII
    spool.write([python, "-B", "-c", code], reuse="process", environment=environment)
    spool.add(1, make_message("a", "žluťoučký"), make_message("b"), make_message("c"))

    argv = [python, "-I", str(program), "worker", str(spool.root)]
    worker = subprocess.run(argv, env={}, check=False)

    assert worker.returncode == 0
    ends = [record for record in spool.records() if record["t"] == "finished"]
    assert [end["log"] for end in ends] == [
        f"{text} {ends[0]['pid']}\n" for text in ("žluťoučký", "hello", "hello")
    ]
    assert all(end["cpu_ns"] > 0 for end in ends)


def test_other_words_are_refused(program):
    argv = [sys.executable, "-I", str(program), "x"]
    answer = subprocess.run(argv, capture_output=True, check=False)

    assert answer.returncode == 64
    assert answer.stderr.startswith(b"use:")
