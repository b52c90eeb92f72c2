"""The results socket: whole datagrams in order, bounded, and told of once."""

from __future__ import annotations

import base64
import os
import socket
import stat

import pytest

from bridge.node.results import BATCH, BATCH_BYTES, LEAST_BYTES, Results, ResultsSocket


@pytest.fixture
def make(tmp_path):
    """What makes the results of one execution, with `path` as their file."""

    def build(inline=100, limit=1 << 20):
        return Results(str(tmp_path / "results"), inline, limit)

    return build


def read_all(results, path):
    """Tell of everything; return the payloads as the bridge reads them."""
    payloads = []
    while (batch := results.next_batch()) is not None:
        assert batch["first"] == len(payloads)
        if "data" in batch:
            payloads += [base64.b64decode(one) for one in batch["data"]]
        else:
            data, end = (path / "results").read_bytes(), batch["offset"]
            for length in batch["lengths"]:
                payloads.append(data[end : end + length])
                end += length
        results.mark_told(batch)
    return payloads


def send(inbox, *payloads):
    """Send as a client does: connect, and one send for each."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        client.connect(inbox.path)
        for payload in payloads:
            client.send(payload)
            while inbox.take():
                pass


@pytest.fixture
def inbox(tmp_path, make):
    """A socket whose results may be 64 KiB inline."""
    results = make(inline=65536)
    opened = ResultsSocket(str(tmp_path), results)
    yield opened
    opened.close()


def test_small_ones_stay_in_memory(make, tmp_path):
    results = make()
    for payload in (b"one", b"\0\xff", b"3"):
        results.feed(payload)

    assert read_all(results, tmp_path) == [b"one", b"\0\xff", b"3"]
    assert results.notes == ()
    assert not (tmp_path / "results").exists()


def test_from_the_first_large_one_on_they_go_to_the_file_in_order(make, tmp_path):
    results = make(inline=10)
    sent = [b"12345", b"x" * 20, b"6", b"y" * 3_000_000, b"7"]
    results = make(inline=10, limit=1 << 30)
    for payload in sent:
        results.feed(payload)

    assert read_all(results, tmp_path) == sent
    assert stat.S_IMODE((tmp_path / "results").stat().st_mode) == 0o600


def test_what_is_told_between_is_told_once(make, tmp_path):
    results = make(inline=4)
    results.feed(b"ab")
    first = read_all(results, tmp_path)
    results.feed(b"cd")
    results.feed(b"ef")
    batch = results.next_batch()
    assert (batch["first"], batch["data"]) == (1, [base64.b64encode(b"cd").decode()])
    assert results.next_batch() == batch  # the journal could not be written: it comes again
    results.mark_told(batch)
    results.feed(b"gh")

    assert first == [b"ab"]
    assert results.next_batch() == {"first": 2, "offset": 0, "lengths": [2, 2]}


def test_a_batch_is_bounded(make):
    many, large = make(inline=0, limit=1 << 30), make(inline=0, limit=1 << 30)
    for _ in range(BATCH + 1):
        many.feed(b"1")
    for _ in range(3):
        large.feed(b"x" * (BATCH_BYTES // 2))

    assert len(many.next_batch()["lengths"]) == BATCH
    assert len(large.next_batch()["lengths"]) == 2


def test_what_is_beyond_the_limit_is_not_taken_and_said(inbox, make, tmp_path):
    inbox._results = results = make(inline=65536, limit=3 * LEAST_BYTES)
    send(inbox, b"1", b"x" * 3000, b"2" * LEAST_BYTES, b"3", b"4", b"")

    assert read_all(results, tmp_path) == [b"1", b"2" * LEAST_BYTES, b"3"]
    assert results.notes == (
        "Results that were empty and are left out: 1.",
        "Results that were not taken: 2 (3001 bytes); an execution's results may take so much and "
        "no more.",
    )


def test_more_than_a_socket_of_abaco_would_take(inbox, tmp_path):
    sent = [b"a" * 150_000, os.urandom(200_000), b"", b"end"]
    send(inbox, *sent)

    assert read_all(inbox._results, tmp_path) == [one for one in sent if one]


def test_many_come_in_their_order(inbox, tmp_path):
    sent = [b"%d" % number for number in range(1000)]
    send(inbox, *sent)

    assert read_all(inbox._results, tmp_path) == sent


def test_a_path_may_be_longer_than_an_address(tmp_path, make):
    place = tmp_path / ("x" * 200)
    place.mkdir()
    results = make()
    inbox = ResultsSocket(str(place), results)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        handle = os.open(place, os.O_RDONLY)
        client.connect(f"/proc/self/fd/{handle}/results.sock")
        client.send(b"hello")
        os.close(handle)
    inbox.drain()
    inbox.close()

    assert read_all(results, tmp_path) == [b"hello"]
    assert not list(place.iterdir())


def test_who_connected_to_the_last_one_reaches_no_other(tmp_path, make):
    first = ResultsSocket(str(tmp_path), make())
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.connect(first.path)
    first.close()
    second = ResultsSocket(str(tmp_path), make())

    with client, pytest.raises(ConnectionRefusedError):
        client.send(b"late")
    assert second.take() is False
    second.close()


def test_a_disk_that_is_full_costs_results_and_nothing_else(tmp_path):
    (tmp_path / "results").mkdir()  # neither a file nor to be replaced by one
    results = Results(str(tmp_path / "results"), 4, 1 << 20)
    for payload in (b"1234", b"large", b"larger"):
        results.feed(payload)

    assert read_all(results, tmp_path) == [b"1234"]
    assert results.room() == 0
    [note] = results.notes
    assert note.startswith("Results that were not taken: 2 (11 bytes); results/ cannot be written")
