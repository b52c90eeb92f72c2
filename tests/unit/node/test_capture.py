"""Logs: what is kept, where, and what is only counted."""

from __future__ import annotations

import pytest

from bridge.node.capture import Capture


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def test_a_short_log_costs_no_file(path):
    log = Capture(str(path), 10, 100)
    log.feed(b"01234")
    log.feed(b"56789")

    assert (log.text, log.total_bytes, log.is_truncated) == ("0123456789", 10, False)
    assert not path.exists()


def test_a_longer_log_is_in_the_file_from_its_beginning(path):
    log = Capture(str(path), 10, 100)
    for _ in range(3):
        log.feed(b"01234")
    log.close()

    assert log.text is None
    assert path.read_bytes() == b"01234" * 3


@pytest.mark.parametrize("inline_bytes", [5, 100])
def test_beyond_the_limit_it_is_only_counted(path, inline_bytes):
    log = Capture(str(path), inline_bytes, 12)
    for _ in range(100):
        log.feed(b"01234")
    log.close()

    assert (log.total_bytes, log.is_truncated) == (500, True)
    kept = log.text.encode() if log.text is not None else path.read_bytes()
    assert kept == b"012340123401"


def test_a_character_that_the_limit_cuts_is_left_out(path):
    log = Capture(str(path), 100, 4)
    log.feed("aéé".encode())

    assert log.text == "aé"


def test_bytes_that_are_no_text_are_shown_as_such(path):
    log = Capture(str(path), 100, 100)
    log.feed(b"a\xffb\xc3")

    assert log.text == "a\ufffdb\ufffd"


def test_no_log_at_all_may_be_wanted(path):
    log = Capture(str(path), 0, 0)
    log.feed(b"x")

    assert (log.text, log.is_truncated) == ("", True)


def test_a_disk_that_is_full_cuts_the_log(tmp_path):
    log = Capture(str(tmp_path / "no" / "such" / "place"), 4, 100)
    log.feed(b"0123")
    log.feed(b"4567")
    log.feed(b"89")

    assert (log.text, log.total_bytes, log.is_truncated) == ("0123", 10, True)
