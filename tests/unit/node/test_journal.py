"""The journal and its fence."""

from __future__ import annotations

import json
import os

import pytest

from bridge.node.journal import Fenced, Journal
from tests.unit.node.conftest import names


@pytest.fixture
def journal(tmp_path):
    made = Journal(str(tmp_path), "0.0")
    made.create()
    return made


def read(tmp_path, ending="jsonl"):
    return [
        json.loads(line) for line in (tmp_path / f"0.0.{ending}").read_text().splitlines() if line
    ]


def test_records_are_lines_with_a_moment(journal, tmp_path):
    journal.write({"t": "a"}, {"t": "b", "text": "two\nlines"})
    journal.write({"t": "c"})

    records = read(tmp_path)
    assert [record["t"] for record in records] == ["a", "b", "c"]
    assert all(record["at"] > 1e9 for record in records)


def test_a_moment_that_is_given_stays(journal, tmp_path):
    journal.write({"t": "a", "at": 5.5})

    assert read(tmp_path) == [{"t": "a", "at": 5.5}]


def test_a_name_is_taken_once(journal, tmp_path):
    with pytest.raises(Fenced):
        Journal(str(tmp_path), "0.0").create()


def test_a_renamed_journal_is_never_made_again(journal, tmp_path):
    (tmp_path / "0.0.jsonl").rename(tmp_path / "0.0.fenced")

    with pytest.raises(Fenced):
        journal.write({"t": "a"})
    with pytest.raises(Fenced):
        journal.check()
    assert names(tmp_path) == ["0.0.fenced"]


@pytest.mark.parametrize("put_another", [False, True])
def test_a_fence_during_the_write_is_seen_after_it(journal, tmp_path, monkeypatch, put_another):
    sync = os.fsync

    def fence(handle):
        sync(handle)
        (tmp_path / "0.0.jsonl").rename(tmp_path / "0.0.fenced")
        if put_another:
            (tmp_path / "0.0.jsonl").touch()

    monkeypatch.setattr(os, "fsync", fence)
    with pytest.raises(Fenced):
        journal.write({"t": "started"})

    assert [record["t"] for record in read(tmp_path, "fenced")] == ["started"]


def test_a_link_is_not_followed(journal, tmp_path):
    (tmp_path / "0.0.jsonl").unlink()
    (tmp_path / "0.0.jsonl").symlink_to(tmp_path / "other")

    with pytest.raises(OSError, match="symbolic"):
        journal.write({"t": "a"})
    assert not (tmp_path / "other").exists()


def test_after_a_torn_write_a_new_line_begins(journal, tmp_path, monkeypatch):
    write = os.write
    room = [5, 0]

    def short(handle, data):
        length = room.pop(0)
        if not length:
            raise OSError(28, "No space left on device")
        return write(handle, bytes(data)[:length])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="space"):
        journal.write({"t": "x"})
    monkeypatch.undo()
    journal.write({"t": "b"})

    lines = (tmp_path / "0.0.jsonl").read_bytes().splitlines()
    assert lines[0] == b'{"t":'
    assert json.loads(lines[1])["t"] == "b"
