"""The state file: JSON of a size, or it is as if the actor had left none."""

from __future__ import annotations

import json
import os

import pytest

from bridge.node.state import MAX_STATE_BYTES, read_state, write_state

BEFORE = '{"n": 1}'


@pytest.fixture
def path(tmp_path):
    """The file as the container finds it."""
    where = tmp_path / "state"
    write_state(str(where), BEFORE)
    return where


def test_what_was_not_changed_is_not_reported(path):
    assert read_state(str(path), BEFORE) == (None, "")


@pytest.mark.parametrize("value", [{"n": 2}, [], None, 0, "", "žluťoučký \U0001f40e", {"": [1.5]}])
def test_any_json_is_a_state(path, value):
    path.write_text(json.dumps(value, indent=4))

    text, note = read_state(str(path), BEFORE)
    assert json.loads(text) == value
    assert note == ""


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b"[" * 200_000,
        b'"' + b"x" * MAX_STATE_BYTES + b'"',
        b" " * (1 << 20) + b"1",
        b"9" * 200_000,
    ],
)
def test_what_is_none_is_said_and_left_out(path, left):
    path.write_bytes(left)

    text, note = read_state(str(path), BEFORE)
    assert text is None
    assert note.startswith("The state was not taken: ")
    assert len(note) < 400


def test_nothing_is_followed(path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('"secret"')
    path.unlink()
    path.symlink_to(secret)
    assert read_state(str(path), BEFORE)[0] is None

    path.unlink()
    os.mkfifo(path)
    assert read_state(str(path), BEFORE)[0] is None

    path.unlink()
    text, note = read_state(str(path), BEFORE)
    assert (text, note) == (None, "The state was not taken: No such file or directory.")


def test_a_state_fits_into_a_record_of_the_journal():
    worst = ["\x7f" * 24_000, '"' * 49_000, "\\" * 49_000, "é" * 49_000, "\U0001f40e" * 24_000]
    for text in worst:
        left = json.dumps(text, ensure_ascii=False)
        assert len(json.dumps(left)) < 400_000
