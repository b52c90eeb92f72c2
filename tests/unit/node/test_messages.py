"""Lines of a chunk, and array.json, from whoever wrote them."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.node.messages import parse_message
from bridge.node.spool import Spool, SpoolError, parse_array


def test_a_message_has_its_text_in_msg():
    message = parse_message(b'{"id":"a","env":{"A":"1"},"msg":"hi"}')

    assert (message.id, message.env) == ("a", {"A": "1", "MSG": "hi"})
    assert (message.data, message.in_file, message.problem) == (None, False, None)


def test_a_binary_message_has_none():
    assert parse_message(b'{"id":"a","data":"AAE="}').data == b"\0\1"
    assert parse_message(b'{"id":"a","file":true}').in_file
    assert "MSG" not in parse_message(b'{"id":"a","file":true}').env


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "x" * 129, "a\n", ".", None, 5, []])
def test_an_id_that_is_no_file_name_is_none(name):
    with pytest.raises(ValueError, match="id"):
        parse_message(json.dumps({"id": name}).encode())


@given(st.binary(max_size=200))
def test_no_line_gets_further_than_an_error(line):
    with contextlib.suppress(ValueError):
        parse_message(line)


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_no_field_gets_further_than_a_problem(value):
    for name in ("env", "msg", "data", "file"):
        assert parse_message(json.dumps({"id": "a", name: value}).encode()).id == "a"


@pytest.mark.parametrize("text", ["", "[]", "{", "\udcff", "[" * 100_000])
def test_an_array_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "array.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(SpoolError, match=r"array\.json"):
        Spool(str(tmp_path)).read_array()


def test_a_missing_field_is_named(spool):
    for name in spool.array:
        if name in ("version", "workdir", "sif_bytes", "sif_sha256"):
            continue
        with pytest.raises(SpoolError, match=name):
            parse_array({key: value for key, value in spool.array.items() if key != name})


def test_a_claim_that_worked_although_it_failed_is_ours(spool, make_message, monkeypatch):
    """A file server repeats a rename whose answer was lost, and then answers ENOENT."""
    spool.add(1, make_message("a"))
    (spool.root / "inbox" / "000001.jsonl").rename(spool.root / "claimed" / "000001.0.0.jsonl")
    monkeypatch.setattr("bridge.node.spool._list_fresh", lambda path: ["000001.jsonl"])

    chunk = Spool(str(spool.root)).claim("0.0")

    assert [message.id for message in chunk.messages] == ["a"]
    assert Spool(str(spool.root)).claim("0.1") is None


def test_a_chunk_s_first_line_is_for_all_of_its_messages(spool, make_message):
    spool.add(1, {"shared": {"A": "1", "B": "1"}}, make_message("a", B="2"),
              make_message("b"))  # fmt: skip

    chunk = Spool(str(spool.root)).claim("0.0")

    assert chunk.bad_lines == []
    assert [(message.env["A"], message.env["B"]) for message in chunk.messages] == [
        ("1", "2"), ("1", "1"),
    ]  # fmt: skip


def test_only_the_first_line_is(spool, make_message):
    spool.add(1, make_message("a"), {"shared": {"A": "1"}})

    chunk = Spool(str(spool.root)).claim("0.0")

    assert len(chunk.bad_lines) == 1
    assert "A" not in chunk.messages[0].env


def test_names_that_are_no_chunks_are_left_alone(spool):
    for name in (".1", "000001.tmp", "x"):
        (spool.root / "inbox" / name).touch()

    assert Spool(str(spool.root)).claim("0.0") is None


def test_an_array_belongs_to_the_first_job(spool):
    folder = Spool(str(spool.root))

    assert folder.take_ownership(5, "0.0")
    assert folder.take_ownership(5, "1.0")
    assert not folder.take_ownership(6, "0.0")
    assert (spool.root / "owner").read_text() == "5"
