"""The shim in the shells there are, and mounts in CSV."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.node.container import build_mount, build_shim, mark_line_ends, split_environment

SHIM, MENDING_SHIM = build_shim(), build_shim(mends=True)
CARRYING_SHIM, MENDING_CARRYING_SHIM = (build_shim(carries=True, mends=m) for m in (False, True))
HIDING_SHIM = build_shim(carries=True, hides=True)
SHELLS = [
    argv
    for argv in (["dash"], ["bash", "--posix"], ["busybox", "sh"], ["ksh"], ["mksh"])
    if shutil.which(argv[0])
]


def run_shim(shell, script, *words, env=()):
    """Run a shim; return its exit status, output and what it said through the marker."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 3)
        environ = {"PATH": os.environ["PATH"], **dict(env)}
        os.dup2(os.open(os.environ["SHIM_OUT"], os.O_WRONLY | os.O_TRUNC), 1)
        os.execvpe(shell[0], [*shell, "-c", script, "bridge", *words], environ)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        said = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


@pytest.fixture
def output(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.touch()
    monkeypatch.setenv("SHIM_OUT", str(path))
    return path


@pytest.mark.parametrize("shell", SHELLS, ids=lambda argv: argv[0])
class TestShim:
    """Both shims in every shell of this machine."""

    def test_it_becomes_the_actor(self, shell, output):
        code, said = run_shim(shell, SHIM, "sh", "-c", 'echo "$0 $#"; exit 5', "a b", "", "c")

        assert (code, said, output.read_text()) == (5, b"started\n", "a b 2\n")

    def test_it_closes_the_marker(self, shell, output):
        _, said = run_shim(shell, SHIM, "sh", "-c", "echo forged >&3")

        assert said == b"started\n"

    @pytest.mark.parametrize("command", ["/no/such", "no-such-program", "", "-v"])
    def test_it_says_that_there_is_no_command(self, shell, output, command):
        for script, words in ((SHIM, [command]), (CARRYING_SHIM, ["0", command])):
            code, said = run_shim(shell, script, *words)

            assert (code, said) == (127, b"not found\n")

    def test_it_carries_what_a_shell_cannot_name(self, shell, output):
        env = {"_bridge_shim_1": "a-b=$(x)\n\n", "_bridge_shim_2": "HOME=q'\"", "plain": "1"}

        code, said = run_shim(shell, CARRYING_SHIM, "2", "env", "-0", env=env.items())

        assert (code, said) == (0, b"started\n")
        lines = set(output.read_text().split("\0"))
        assert {"a-b=$(x)\n\n", "HOME=q'\"", "plain=1"} <= lines
        assert not [line for line in lines if line.startswith("_bridge_shim")]

    @given(
        st.dictionaries(
            st.sampled_from(["A", "_b", "MSG"]), st.text("ab\r\n \x1f'$\\*", max_size=12)
        )
    )
    def test_it_mends_the_ends_of_lines(self, shell, values):
        env = {name: value.replace("\0", "") for name, value in values.items()}
        marked = dict(env)
        script = MENDING_SHIM if mark_line_ends(marked) else SHIM

        assert not any("\r\n" in value for value in marked.values())
        with tempfile.NamedTemporaryFile("r", newline="") as file:
            os.environ["SHIM_OUT"] = file.name
            code, said = run_shim(shell, script, "env", "-0", env=marked.items())
            found = dict(line.partition("=")[::2] for line in file.read().split("\0"))

        assert (code, said) == (0, b"started\n")
        assert {name: found[name] for name in env} == env
        assert not [name for name in found if name.startswith("_bridge") or name == "IFS"]

    def test_it_mends_a_large_one_soon(self, shell, output):
        marked = {"MSG": "x\r\n" * 30_000, "_bridge_shim_1": "IFS=\r\n"}
        wanted = dict(marked)
        assert mark_line_ends(marked)
        script = 'printf %s "$MSG" | wc -lc'

        code, _ = run_shim(
            shell, MENDING_CARRYING_SHIM, "1", "sh", "-c", script, env=marked.items()
        )

        assert code == 0
        assert output.read_text().split() == ["30000", str(len(wanted["MSG"]))]

    @pytest.mark.parametrize("nonce", ["n0nce", "a b $(x) ${y} 'q' \\ \"\n#", ""])
    def test_it_hands_a_nonce_on_in_no_command_line(self, shell, output, tmp_path, nonce):
        env = {"_bridge_shim_1": "HOME=h", "_bridge_shim_nonce": nonce}
        spy = tmp_path / "env"  # says what it is called with, and goes on; no shell, see above
        spy.write_text(
            f"#!{sys.executable}\nimport os, sys\n"
            f"open({str(tmp_path / 'seen')!r}, 'a').write(repr(sys.argv))\n"
            "os.execv('/usr/bin/env', ['env', *sys.argv[1:]])\n"
        )
        spy.chmod(0o755)
        env["PATH"] = f"{tmp_path}:{os.environ['PATH']}"

        code, _ = run_shim(shell, HIDING_SHIM, "1", "/usr/bin/env", "-0", env=env.items())

        assert code == 0
        lines = output.read_text().split("\0")
        assert {f"x-nonce={nonce}", "HOME=h"} <= set(lines)
        assert not [line for line in lines if line.startswith("_bridge")]
        assert not nonce or repr(nonce)[1:-1] not in (tmp_path / "seen").read_text()

    def test_without_gnu_s_env_a_nonce_has_another_name(self, shell, output, tmp_path):
        (tmp_path / "env").write_text(
            '#!/bin/sh\n[ "$1" != -S ] || exit 1\nexec /usr/bin/env "$@"\n'
        )
        (tmp_path / "env").chmod(0o755)
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "_bridge_shim_nonce": "n"}

        run_shim(shell, build_shim(hides=True), "/usr/bin/env", "-0", env=env.items())

        lines = output.read_text().split("\0")
        assert "x_nonce=n" in lines
        assert not [line for line in lines if line.startswith(("x-nonce", "_bridge"))]

    def test_it_does_without_where_the_image_has_no_env(self, shell, output, tmp_path):
        program = tmp_path / "actor"
        program.write_text("#!/bin/sh\necho $plain\n")
        program.chmod(0o755)
        found = shutil.which(shell[0])
        env = {"PATH": str(tmp_path), "_bridge_shim_1": "a-b=1", "plain": "1"}

        code, _ = run_shim([found, *shell[1:]], CARRYING_SHIM, "1", "actor", env=env.items())

        assert (code, output.read_text()) == (0, "1\n")


def test_there_is_a_plain_shell_to_try():
    assert SHELLS, "none of dash, bash, busybox, ksh and mksh is here"


def test_names_that_apptainer_takes_and_names_that_have_to_be_carried():
    environment = dict.fromkeys(["A", "_b", "a-b", "1a", "HOME", "a.b", "ž", "A\n"], "1")

    taken, carried = split_environment(environment)

    assert sorted(taken) == ["A", "_b"]
    assert [name for name, _ in carried] == ["a-b", "1a", "HOME", "a.b", "ž", "A\n"]


@given(st.text(), st.text(), st.sampled_from(["ro", "rw"]))
def test_any_path_can_be_mounted(source, target, mode):
    source, target = ("/" + text.replace("\r", "").replace("\0", "") for text in (source, target))

    fields = next(csv.reader([build_mount(source, target, mode)], strict=True))

    assert fields[:3] == ["type=bind", f"source={source}", f"destination={target}"]
    assert fields[3:] == (["ro"] if mode == "ro" else [])
