"""What is done before and beside the containers; the real ones are tests/integration/node."""

from __future__ import annotations

import os

import pytest

from bridge.node import container, inside
from bridge.node.capture import Capture
from bridge.node.messages import Message
from bridge.node.results import Results
from bridge.node.signals import Signals
from bridge.node.spool import Spool
from bridge.node.start_image import Loan, StartImage
from bridge.node.template import Look, TemplateError


@pytest.fixture
def make(spool):
    """What makes a starter for a command, and says what it told."""
    starters = []

    def make(command, **fields):
        spool.write(command, **fields)
        folder = Spool(str(spool.root))
        starter = StartImage(
            folder.read_array(), folder, Signals(), {"_abaco_worker_id": "w"}, os.environ
        )
        starters.append(starter)
        told = []
        starter.tell = told.append
        return starter, told

    yield make
    for starter in starters:
        starter.close()


def run(starter, folder):
    log = Capture(str(folder / "log"), 65536, 1 << 20)
    results = Results(str(folder / "results"), 65536, 1 << 20)
    return starter.run(Message("m", {"MSG": "hi"}), log, results, lambda: None), log


def test_a_runtime_without_namespaces_is_gone_on_with_as_with_none(make, tmp_path):
    starter, told = make("echo $MSG; exit 4")

    starter.prepare()
    outcome, log = run(starter, tmp_path)

    [why] = told
    assert "namespace" in why
    assert (outcome.exit_code, outcome.runtime_error, log.text) == (4, None, "hi\n")


def test_an_old_python_goes_on_as_with_none(make, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_spawn")
    starter, told = make("echo $MSG")

    starter.prepare()

    assert told[0].startswith("it takes Python 3.8, this is 3.")
    assert run(starter, tmp_path)[1].text == "hi\n"


def test_an_image_that_is_not_the_bridges_is_never_started(make, spool, tmp_path):
    starter, told = make("echo $MSG", sif_bytes=5, sif_sha256="0" * 64)

    starter.prepare()
    outcome, _ = run(starter, tmp_path)

    [why] = told
    assert "its SHA-256 is" in why
    assert outcome.runtime_error == why
    assert spool.starts() == []


class DyingTemplate:
    """A template whose containers cannot be made."""

    look = Look({}, {"user": -1}, [], {}, [], 0o755, 0, 0, 0o77, 0, {})

    def __init__(self):
        self.is_closed = False

    def is_alive(self):
        return True

    def close(self):
        self.is_closed = True


def test_a_container_that_cannot_be_made_costs_no_message(make, tmp_path, monkeypatch):
    starter, told = make("echo $MSG")
    made = []

    def start_template():
        if len(made) == 2:
            raise TemplateError("no more of them")
        made.append(DyingTemplate())
        return made[-1]

    monkeypatch.setattr(starter, "_start_template", start_template)
    monkeypatch.setattr(starter, "_try_container", lambda: None)
    starter.prepare()
    outcome, log = run(starter, tmp_path)

    assert (outcome.exit_code, outcome.runtime_error, log.text) == (0, None, "hi\n")
    assert len(made) == 2
    assert all(template.is_closed for template in made)
    [why] = told
    assert "setns(user)" in why


def test_a_template_of_anothers_is_used_and_never_closed(make, tmp_path, monkeypatch):
    starter, told = make("echo $MSG")
    lent, own = DyingTemplate(), DyingTemplate()
    monkeypatch.setattr(starter, "_start_template", lambda: own)
    monkeypatch.setattr(starter, "_try_container", lambda: None)
    starter.borrow(Loan(lent, str(tmp_path), ""), "3")
    starter.prepare()

    assert starter._template is lent
    assert (tmp_path / "3").is_dir()
    assert starter._seen_at(starter._files() + "/state", "rw") == inside.FILES + "/3/state"
    outcome, log = run(starter, tmp_path)
    assert (outcome.exit_code, log.text, len(told)) == (0, "hi\n", 1)
    assert (lent.is_closed, own.is_closed) == (False, True)


def test_whom_no_template_can_be_lent_is_told_why(make, tmp_path):
    starter, told = make("echo $MSG")
    starter.borrow(Loan(None, str(tmp_path), "the kernel is old"), "3")
    starter.prepare()
    _, log = run(starter, tmp_path)

    assert (log.text, told) == ("hi\n", ["the kernel is old"])


def test_a_template_that_cannot_be_made_is_not_lent(make):
    starter, told = make("echo $MSG")

    loan = starter.lend()

    assert loan.template is None
    assert "namespace" in loan.why
    assert told == []


def test_the_environment_is_the_templates_and_the_messages(make):
    starter, _ = make(["run", "it"], workdir="/srv", environment={"A": "array", "B": "array"})
    look = DyingTemplate.look._replace(
        environment={
            b"A": b"image", b"I": b"image", b"_": b"/bin/sh", b"PWD": b"/",
            b"APPTAINER_BIND": b"/tmp/.bridge",
        }
    )  # fmt: skip
    starter._template = DyingTemplate()
    starter._template.look = look

    found = starter._build_environment(
        Message("m", {"B": "message", "x-nonce": "n"}), [("/h/s", "/_s", "ro")], ["run", "it"]
    )

    assert found == {
        b"A": b"array", b"B": b"message", b"I": b"image", b"_": b"run", b"PWD": b"/srv",
        b"APPTAINER_BIND": b"/_s", b"_abaco_worker_id": b"w", b"x-nonce": b"n", b"x_nonce": b"n",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path", "found"),
    [
        (b"tool", b"/no:{0}/bin", b"{0}/bin/tool"),
        (b"tool", b"{0}/data:{0}/bin", b"{0}/bin/tool"),
        (b"tool", b"", None),
        (b"folder", b"{0}/bin", None),
        (b"{0}/bin/tool", b"", b"{0}/bin/tool"),
        (b"{0}/data/tool", None, b"{0}/data/tool"),  # that it cannot be executed is found then
        (b"{0}/bin/none", b"{0}/bin", None),
    ],
)
def test_a_program_is_found_as_a_shell_finds_it(tmp_path, monkeypatch, name, path, found):
    for folder, mode in (("bin", 0o755), ("data", 0o644)):
        (tmp_path / folder / "folder").mkdir(parents=True)
        (tmp_path / folder / "tool").write_text("")
        (tmp_path / folder / "tool").chmod(mode)
    monkeypatch.chdir(tmp_path / "data" / "folder")
    here = os.fsencode(tmp_path)

    def fill(text):
        return None if text is None else text.replace(b"{0}", here)

    assert inside.find_program(fill(name), fill(path)) == fill(found)


def test_what_was_not_made_is_told_from_the_runtimes_failures():
    assert not container.UNMADE.startswith((container.STARTED, container.NOT_FOUND))
