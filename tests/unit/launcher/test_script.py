"""The batch script: what it says, and that no value says anything else."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.launcher import ArrayContext, render_script
from bridge.launcher.filters import directive, sh, slurm_time
from bridge.launcher.render import templates_folder

GOLDEN = Path(__file__).parent / "golden"
FULL = ArrayContext(
    job_name="bridge-0123456789abcdef0123456789abcdef",
    task_count=12,
    time_limit_s=93_784,
    signal_s=20,
    nodes=2,
    ntasks=8,
    cpus=2,
    memory_mib=4096,
    gpus=1,
    exclusive=True,
    partition="normal",
    account="physics",
    qos="high",
    constraint="avx512",
    spool="/scratch/alice/.bridge/alpha/0123456789abcdef0123456789abcdef",
    program="/scratch/alice/.bridge/alpha/node-0011223344556677.pyz",
    python="/usr/bin/python3",
)
PLAIN = dataclasses.replace(
    FULL, task_count=1, nodes=None, ntasks=1, gpus=0, exclusive=False, partition=None, account=None,
    qos=None, constraint=None,
)  # fmt: skip
SAMPLES = {"full": FULL, "plain": PLAIN}


@pytest.mark.parametrize("name", SAMPLES)
def test_golden(name: str) -> None:
    """To accept a change: BRIDGE_WRITE_GOLDEN=1, then read the diff."""
    path = GOLDEN / f"{name}.sh"
    script = render_script(SAMPLES[name])
    if os.environ.get("BRIDGE_WRITE_GOLDEN"):
        path.write_text(script)
    assert script == path.read_text()


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "busybox"])
def test_every_shell_can_read_it(name: str, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run(
        [*words, "-n"],
        input=render_script(SAMPLES[name]).encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", SAMPLES)
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", "-"], input=render_script(SAMPLES[name]), text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == ""


def test_the_directives_come_before_any_command() -> None:
    lines = render_script(FULL).splitlines()
    assert lines[0] == "#!/bin/sh"
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]


def test_nothing_is_left_to_the_submitter_s_surroundings() -> None:
    script = render_script(PLAIN)
    for option in ("--export=NIL", "--chdir=/", "--open-mode=append", "--output="):
        assert f"#SBATCH {option}" in script


def test_it_becomes_the_worker(tmp_path: Path) -> None:
    """The shell is replaced, so that Slurm's signal reaches the worker."""
    program = tmp_path / "odd name; touch pwned.pyz"
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PPID $0" "$@"; umask\n')
    python.chmod(0o755)
    context = dataclasses.replace(
        PLAIN, program=str(program), python=str(python), spool=f"{tmp_path}/spool"
    )
    done = subprocess.run(
        ["/bin/sh", "-s"], input=render_script(context), text=True, capture_output=True, check=True,
        cwd=tmp_path,
    )  # fmt: skip
    said, mask = done.stdout.splitlines()
    assert said.split(" ", 1) == [
        str(os.getpid()), f"{python} -I {program} worker {tmp_path}/spool",
    ]  # fmt: skip
    assert mask == "0077"
    assert not (tmp_path / "pwned.pyz").exists()


HOSTILE = [
    "a b", "a\nb", "a\n#SBATCH --uid=0", "", "a;b", "$(id)", "`id`", "a'b", 'a"b', "a\\b", "a%j",
    "a\0b", "ä", "a\tb", "a#b", "a,b", "a*", "\u2028", "a\r",
]  # fmt: skip
OPTIONAL = ("partition", "account", "qos", "constraint")
FIELDS = ["job_name", "spool", *OPTIONAL]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_becomes_another_directive(field: str, value: str) -> None:
    if value == "" and field in OPTIONAL:
        return  # not given
    with pytest.raises(ValueError, match="plain word"):
        render_script(dataclasses.replace(FULL, **{field: value}))


@pytest.mark.parametrize("field", ["program", "python"])
@pytest.mark.parametrize("value", ["a\nb", "a\0b"])
def test_no_value_becomes_another_line(field: str, value: str) -> None:
    with pytest.raises(ValueError, match="line break or NUL"):
        render_script(dataclasses.replace(FULL, **{field: value}))


@pytest.mark.parametrize(
    "field", ["cpus", "memory_mib", "signal_s", "task_count", "nodes", "ntasks", "gpus"]
)
def test_numbers_stand_as_numbers(field: str) -> None:
    script = render_script(dataclasses.replace(FULL, **{field: 7}))
    assert re.search(rf"^#SBATCH \S*{6 if field == 'task_count' else 7}", script, re.MULTILINE)


@given(st.text())
def test_a_shell_reads_a_quoted_value_as_it_was(value: str) -> None:
    if "\n" in value or "\0" in value:
        with pytest.raises(ValueError, match="line break or NUL"):
            sh(value)
    else:
        assert shlex.split(sh(value)) == [value]


@given(st.text())
def test_a_directive_is_a_plain_word_or_refused(value: str) -> None:
    try:
        word = directive(value)
    except ValueError:
        return
    assert word == value
    assert re.fullmatch(r"[!-~]+", word)
    assert not set(word) & set("%#;&|<>()$`\\\"'*?[]!~{},")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "0-00:00:01"), (60, "0-00:01:00"), (3599, "0-00:59:59"), (86_400, "1-00:00:00"),
     (93_784, "1-02:03:04"), (10**7, "115-17:46:40")],
)  # fmt: skip
def test_time_limits(seconds: int, text: str) -> None:
    assert slurm_time(seconds) == text


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_limit_is_no_time_limit(seconds: int) -> None:
    with pytest.raises(ValueError, match="time limit"):
        slurm_time(seconds)


def readme() -> str:
    return (templates_folder() / "README.md").read_text()


def test_the_readme_lists_every_variable() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", readme(), re.MULTILINE)
    assert listed == [field.name for field in dataclasses.fields(ArrayContext)]


def test_the_docstring_describes_every_variable() -> None:
    described = re.findall(r"^        (\w+): ", ArrayContext.__doc__ or "", re.MULTILINE)
    assert described == [field.name for field in dataclasses.fields(ArrayContext)]


def test_every_value_passes_a_filter() -> None:
    template = (templates_folder() / "array_task.sh.j2").read_text()
    for expression in re.findall(r"\{\{(.*?)\}\}", template):
        assert re.search(r"\| *(sh|directive) *$", expression), expression
