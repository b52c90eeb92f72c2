"""What a journal says at any moment, and the orders that a worker looks at between messages."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.harvest import Finished, Started, parse_records
from bridge.launcher.spool import FOLDERS
from bridge.node import orders
from bridge.node.deadline import Deadline
from bridge.node.identity import read_identity
from bridge.node.journal import Journal
from bridge.node.orders import Orders
from bridge.node.signals import Signals
from bridge.node.spool import Spool
from bridge.node.starter import Outcome, Starter
from bridge.node.worker import Worker
from tests.unit.node.conftest import SpoolFolder, message


class Recorder(Starter):
    """Starts nothing; notes what the journal on the disk has when a container would start."""

    def __init__(self, spool):
        self._spool = spool
        self.begun = []

    def prepare(self):
        """Nothing to get ready."""

    def run(self, message, log, results, watch):
        """Note, and leave what the message asks for."""
        journal = Path(self._spool.path("journal", "0.0.jsonl"))
        self.begun.append((message.id, journal.stat().st_size))
        log.feed(message.env["MSG"].encode())
        for _ in range(len(message.env["MSG"]) % 3):
            results.feed(b"a result")
        return Outcome(0)

    def close(self):
        """Nothing to leave behind."""


def work(root, chunks, cancelled):
    """Run the chunks' messages; return the journal, and what began at which of its lengths."""
    folder = SpoolFolder(Path(root) / "spool", Path(), Path())
    folder.write()
    for number, texts in enumerate(chunks, 1):
        folder.add(number, *(message(f"m{number}-{n}", text) for n, text in enumerate(texts)))
    for name in cancelled:
        (folder.root / "cancel" / name).touch()
    spool = Spool(str(folder.root))
    journal = Journal(spool.path("journal"), "0.0")
    journal.create()
    starter = Recorder(spool)
    identity = read_identity({"SLURM_JOB_ID": "100"}).worker(0)
    deadline = Deadline({}, 3600, 0)
    array = spool.read_array()
    Worker(spool, array, identity, journal, starter, Signals(), deadline).work()
    return (folder.root / "journal" / "0.0.jsonl").read_bytes(), starter.begun


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.text('a\u00e9\n"', max_size=5), max_size=4), max_size=3),
    st.sets(st.sampled_from(["m1-0", "m1-1", "m2-0", "m2-3"])),
)
def test_a_journal_that_is_cut_anywhere_tells_what_began_and_never_more_than_one_besides(
    chunks, cancelled
):
    """Whatever of it a crash leaves on the disk: what ran is known, and not given out again."""
    with tempfile.TemporaryDirectory() as root:
        data, begun = work(root, chunks, cancelled)
    everything = {f"m{n}-{i}" for n, texts in enumerate(chunks, 1) for i in range(len(texts))}
    assert [name for name, _ in begun] == sorted(everything - cancelled)

    for cut in range(len(data) + 1):
        records, _, bad = parse_records(data[:cut])
        started = [r.execution_id for r in records if isinstance(r, Started)]
        ended = [r.execution_id for r in records if isinstance(r, Finished)]
        ran = [name for name, length in begun if length <= cut]
        assert bad == 0
        assert started in (ran, [name for name, _ in begun][: len(ran) + 1])
        assert len(set(started)) == len(started)
        assert len(set(ended)) == len(ended)
        assert set(ended) <= set(started) | cancelled
        assert len(set(started) - set(ended)) <= 1  # the one that ran, or was to run next


@pytest.fixture
def folder(tmp_path):
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def now(monkeypatch):
    """The time, which a test sets."""
    time = [100.0]
    monkeypatch.setattr(orders.time, "monotonic", lambda: time[0])
    return time


def test_orders_are_looked_at_now_and_then(folder, now):
    told = Orders(Spool(str(folder)), "3", every_s=0.1)
    assert (told.why_leave(), told.is_cancelled("a")) == ("", False)

    (folder / "cancel" / "a").touch()
    (folder / "leave" / "3").touch()
    now[0] += 0.09
    assert (told.why_leave(), told.is_cancelled("a")) == ("", False)
    now[0] += 0.02
    assert (told.why_leave(), told.is_cancelled("a")) == ("leave", True)
    assert not told.is_cancelled("b")


@pytest.mark.parametrize(
    ("given_orders", "why"),
    [([], ""), (["leave/4"], ""), (["leave/3"], "leave"), (["leave/3", "stop"], "stop")],
)
def test_an_order_is_for_those_whom_it_names(folder, given_orders, why):
    for name in given_orders:
        (folder / name).touch()
    assert Orders(Spool(str(folder)), "3").why_leave() == why


def test_a_file_server_that_hiccups_gives_no_orders(folder, monkeypatch):
    (folder / "cancel" / "a").touch()

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "open", fail)
    told = Orders(Spool(str(folder)), "3", every_s=0)
    assert (told.why_leave(), told.is_cancelled("a")) == ("", False)
    monkeypatch.undo()
    assert told.is_cancelled("a")


def test_a_message_costs_one_write_and_one_flush(tmp_path, monkeypatch):
    flushes: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (flushes.append(handle), sync(handle)))
    data, begun = work(tmp_path, [["x"] * 20, ["y"] * 10], ())
    assert len(begun) == 30
    assert len(flushes) == 30 + 2 + 1  # two chunks end, one worker leaves
    assert json.loads(data.splitlines()[-1])["t"] == "left"
