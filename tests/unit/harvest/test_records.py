"""Journals are written by the owner's workers, and by the owner."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.harvest import (
    FellBack,
    Finished,
    Joined,
    Left,
    Progress,
    Record,
    Results,
    Started,
    parse_records,
)
from bridge.harvest.records import State
from tests.unit.scheduler.world import finished

AT = 1_767_225_600.25
MOMENT = datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)


def line(record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


def parse_one(**record: Any) -> Record | None:
    records, taken, bad = parse_records(data := line({"at": AT, **record}))
    assert taken == len(data)
    assert len(records) + bad <= 1
    return records[0] if records else None


def end(**changes: Any) -> dict[str, Any]:
    return {"at": AT, **finished("m1", AT), **changes}


def test_every_kind() -> None:
    data = b"".join(
        [
            line({"t": "joined", "worker": "0.0", "host": "c1", "pid": 1, "job": 7,
                  "array_job": 7, "at": AT}),
            line({"t": "started", "id": "m1", "at": AT}),
            line(end(exit_code=3, log="hi", cpu_ns=5, max_rss_kib=6, io_bytes=7)),
            line({"t": "progress", "id": "m1", "log": "h", "at": AT,
                  "results": {"first": 2, "data": ["AAE=", ""]}}),
            line({"t": "progress", "id": "m1", "log": "", "at": AT,
                  "results": {"first": 4, "offset": 10, "lengths": [7, 8]}}),
            line({"t": "bad_line", "error": "x", "at": AT}),
            line({"t": "fell_back", "to": "none", "why": "no FUSE", "at": AT}),
            line({"t": "left", "why": "empty", "remaining": [], "at": AT}),
        ]
    )  # fmt: skip
    assert parse_records(data) == (
        [
            Joined(MOMENT, "c1", 7),
            Started(MOMENT, "m1"),
            Finished(MOMENT, "m1", MOMENT, 3, None, None, 5, 6, 7, "hi", False),
            Progress(MOMENT, "m1", "h", Results(2, (b"\0\1", b""))),
            Progress(MOMENT, "m1", "", Results(4, (), 10, (7, 8))),
            FellBack(MOMENT, "none", "no FUSE"),
            Left(MOMENT, "empty"),
        ],
        len(data),
        0,
    )


def test_a_line_that_is_not_whole_is_left_for_the_next_time() -> None:
    whole = line({"t": "started", "id": "m1", "at": AT})
    for cut in range(len(whole)):
        records, taken, bad = parse_records(whole + whole[:cut])
        assert (len(records), taken, bad) == (1, len(whole), 0)


def test_a_torn_write_costs_its_own_line_alone() -> None:
    whole = line({"t": "started", "id": "m1", "at": AT})
    records, _, bad = parse_records(whole + whole[:9] + b"\n" + whole)
    assert (len(records), bad) == (2, 1)


@pytest.mark.parametrize("separator", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_line(separator: str) -> None:
    data = json.dumps(end(log=f"a{separator}b"), ensure_ascii=False).encode() + b"\n"
    [record], _, bad = parse_records(data)
    assert isinstance(record, Finished)
    assert (record.log, bad) == (f"a{separator}b", 0)


NUMBERS = [True, "1", None, -1, 1.5, 2**63, 10**400, float("nan"), float("inf"), [], {}]


@pytest.mark.parametrize("field", ["cpu_ns", "max_rss_kib", "io_bytes", "exit_code"])
@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: str(value)[:9])
def test_what_is_no_count(field: str, value: object) -> None:
    assert parse_one(**end(**{field: value})) is None


@pytest.mark.parametrize("field", ["at", "started_at"])
@pytest.mark.parametrize(
    "value",
    [
        True,
        "now",
        None,
        float("nan"),
        float("inf"),
        -float("inf"),
        1e300,
        10**400,
        1e12,
        -1e12,
        1e18,
        -1e18,
    ],
    ids=lambda value: str(value)[:9],
)
def test_what_is_no_moment(field: str, value: object) -> None:
    assert parse_one(**end(**{field: value})) is None


def test_an_exit_code_is_a_byte() -> None:
    record = parse_one(**end(exit_code=70_000))
    assert isinstance(record, Finished)
    assert record.exit_code == 255


@pytest.mark.parametrize("field", ["id", "log", "runtime_error", "ended_by"])
def test_texts_can_be_stored(field: str) -> None:
    record = parse_one(**end(**{field: "a\0b\ud800c\udfff"}))
    assert isinstance(record, Finished)
    for value in (record.execution_id, record.log, record.runtime_error, record.ended_by):
        assert value is None or "\0" not in value.encode().decode()


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"null\n",
        b"[]\n",
        b'"x"\n',
        b"7\n",
        b"{}\n",
        b'{"t": null}\n',
        b'{"t": []}\n',
        b'{"t": {}}\n',
        b'{"t": "new"}\n',
        b'{"t": "started"}\n',
        b'{"t": "started", "id": 7, "at": 1}\n',
        b"[" * 100_000 + b"\n",
        b'{"t":' * 100_000 + b"\n",
        b"9" * 10_000 + b"\n",
        b"\xff\xfe\x00\n",
    ],
    ids=range(16),
)
def test_another_form_is_counted_and_passed_over(data: bytes) -> None:
    good = line({"t": "started", "id": "m1", "at": AT})
    records, taken, bad = parse_records(data + good)
    assert (records, taken, bad) == ([Started(MOMENT, "m1")], len(data + good), 1)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc"])),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children),
    max_leaves=5,
)
FIELDS = st.sampled_from([*finished("m1", AT), "at", "host", "job", "why", "to"])
KINDS = st.sampled_from(["joined", "started", "finished", "left", "bad_line", "fell_back", "x"])


@given(KINDS, st.dictionaries(FIELDS, VALUES, max_size=4))
def test_whatever_stands_in_a_record(kind: str, fields: dict[str, Any]) -> None:
    record = {
        "at": AT,
        "host": "c1",
        "job": 7,
        "why": "x",
        "to": "y",
        **finished("m1", AT),
        **fields,
    }
    records, _, bad = parse_records(line({**record, "t": kind}))
    assert len(records) + bad <= 1
    for found in records:
        for value in vars(found).values():
            if isinstance(value, str):
                assert "\0" not in value.encode().decode()
            elif isinstance(value, int):
                assert 0 <= value < 2**63
            elif isinstance(value, datetime):
                assert value.astimezone(UTC) == value


@given(st.binary())
def test_whatever_bytes_come(data: bytes) -> None:
    _, taken, _ = parse_records(data)
    assert taken == data.rfind(b"\n") + 1


@given(st.lists(st.sampled_from([line(end()), b"x\n", b"\n"]), max_size=6), st.integers(0, 400))
def test_pieces_give_what_the_whole_gives(lines: list[bytes], cut: int) -> None:
    data = b"".join(lines)
    records, taken, bad = parse_records(data[:cut])
    more, _, more_bad = parse_records(data[taken:])
    whole, _, all_bad = parse_records(data)
    assert records + more == whole
    assert bad + more_bad == all_bad


def test_a_piece_ends_where_enough_log_files_are_named() -> None:
    with_file, without = line(end(log=None)), line(end(log="x"))
    data = with_file + without + with_file + without + with_file
    records, taken, _ = parse_records(data, most_files=2)
    assert taken == len(with_file + without + with_file)
    assert len(records) == 3


BAD_RESULTS = [
    7, [], "x", {}, {"first": 0}, {"first": -1, "data": []}, {"first": 2**62, "data": []},
    {"first": 0, "data": "AAE="}, {"first": 0, "data": [7]}, {"first": 0, "data": ["?"]},
    {"first": 0, "data": ["AAE="] * 1001}, {"first": 0, "offset": 0},
    {"first": 0, "offset": -1, "lengths": [1]}, {"first": 0, "offset": 0, "lengths": [-1]},
    {"first": 0, "offset": 0, "lengths": [2**40]}, {"first": 0, "offset": 0, "lengths": [1.5]},
    {"first": 0, "offset": 2**63, "lengths": [1]}, {"first": 0, "offset": 0, "lengths": [1] * 9999},
]  # fmt: skip


@pytest.mark.parametrize("results", BAD_RESULTS, ids=range(len(BAD_RESULTS)))
def test_results_of_another_form(results: object) -> None:
    assert parse_one(**end(results=results)) is None
    assert parse_one(t="progress", id="m1", log="", results=results) is None


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ('{"n": 1}', State({"n": 1})),
        ("null", State(None)),
        (None, None),
        ("{", None),
        ("NaN", None),
        ("1e999", None),
        ("[" * 50_000, None),
        ('"' + "x" * 200_000 + '"', None),
        ("9" * 90_000, None),
    ],
    ids=lambda value: str(value)[:9],
)
def test_a_state_that_is_none_costs_no_record(text: str | None, state: State | None) -> None:
    record = parse_one(**end(state=text))
    assert isinstance(record, Finished)
    assert record.state == state


def test_what_a_piece_brings_into_memory_is_bounded() -> None:
    run = {"first": 0, "offset": 0, "lengths": [1000] * 10}
    one = line({"t": "progress", "id": "m1", "log": "", "at": AT, "results": run})
    assert len(parse_records(one * 100, most_files=3)[0]) == 3
    assert len(parse_records(one * 100, most_bytes=45_000)[0]) == 5
