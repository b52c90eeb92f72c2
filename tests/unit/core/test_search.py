"""Reading a search's query: keys, operators, values by type, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.search import Kind, Operator, parse_search, read_moment
from bridge.errors import InvalidField

FIELDS = {
    "some_name": Kind.TEXT,
    "count": Kind.NUMBER,
    "is_on": Kind.TRUTH,
    "create_time": Kind.MOMENT,
    "final_state": Kind.JSON,
}


def read(key, text):
    (condition,) = parse_search([(key, text)], FIELDS).conditions
    return condition.field, condition.path, condition.operator, condition.values


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("some_name", "x", ("some_name", (), Operator.EQ, ("x",))),
        ("someName.neq", "x", ("some_name", (), Operator.NEQ, ("x",))),
        ("some_name", "123", ("some_name", (), Operator.EQ, ("123",))),
        ("some_name", '"none"', ("some_name", (), Operator.EQ, ("none",))),
        ("some_name", '"x', ("some_name", (), Operator.EQ, ('"x',))),
        ("some_name", "None", ("some_name", (), Operator.EQ, (None,))),
        ("some_name.in", '["a", 1, null]', ("some_name", (), Operator.IN, ("a", "1", None))),
        ("some_name.nin", "[]", ("some_name", (), Operator.NIN, ())),
        ("some_name.like", "^a.*b$", ("some_name", (), Operator.LIKE, ("^a.*b$",))),
        ("count.gte", "1.5", ("count", (), Operator.GTE, (1.5,))),
        ("count.between", "1, 2", ("count", (), Operator.BETWEEN, (1, 2))),
        ("is_on", "True", ("is_on", (), Operator.EQ, (True,))),
        ("isOn", "0", ("is_on", (), Operator.EQ, (False,))),
        ("final_state.ExitCode", "0", ("final_state", ("ExitCode",), Operator.EQ, (0,))),
        ("finalState.a.b.lt", "x", ("final_state", ("a", "b"), Operator.LT, ("x",))),
        ("final_state.a", "True", ("final_state", ("a",), Operator.EQ, (True,))),
        ("final_state.a", "NaN", ("final_state", ("a",), Operator.EQ, ("NaN",))),
        ("final_state.a", "[1]", ("final_state", ("a",), Operator.EQ, ("[1]",))),
        (
            "final_state.StartedAt.gt",
            "2020",
            ("final_state", ("StartedAt",), Operator.GT, ("2020-01-01T00:00:00.000Z",)),
        ),
    ],
)
def test_conditions(key, text, expected):
    assert read(key, text) == expected


def test_words_and_a_phrase():
    search = parse_search([("search", " b a  b "), ("exactsearch", "a  b")], FIELDS)
    assert search.words == ("b", "a")
    assert search.phrase == "a  b"
    assert search.conditions == ()


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("unknown", "x", "as its key one of: some_name, count"),
        ("_links", "x", "as its key one of"),
        ("", "x", "as its key one of"),
        ("some_name.x", "y", "some_name to be followed by nothing or one of .eq, .neq"),
        ("some_name.eq.eq", "y", "to be followed by nothing or one of"),
        ("count", "many", "a number"),
        ("count", "true", "a number"),
        ("count", "1e999", "a number of 64 bits"),
        ("count", str(2**63), "a number of 64 bits"),
        ("count", "9" * 5000, "a number"),
        ("count.like", "1", "no pattern, since the field is not text"),
        ("count.lt", "none", "something that has an order"),
        ("is_on", "maybe", "true or false"),
        ("is_on.gt", "true", "something that has an order"),
        ("create_time", "yesterday", "a date such as 2020-05-01T14:45:41.591Z"),
        ("create_time.between", "2020", "two values with a comma between them"),
        ("create_time.between", "2020,2021,2022", "two values with a comma between them"),
        ("count.in", "1,2", "a JSON list"),
        ("count.in", "1", "a JSON list"),
        ("count.in", "[" * 2000, "a JSON list"),
        ("count.in", '["x"]', "a number"),
        ("count.in", "[[1]]", "a number"),
        ("some_name.in", str(list(range(201))), "at most 200 values"),
        ("some_name.like", "(a", "a pattern that can be matched"),
        ("some_name", "a\0b", "text without NUL"),
        ("some_name", r'"\ud800"', "halves of surrogate pairs"),
        ("final_state..a", "1", "a path of at most 8 names"),
        ('final_state.a"b', "1", "a path of at most 8 names"),
        ("final_state" + ".a" * 9, "1", "a path of at most 8 names"),
        ("search", " ".join(map(str, range(21))), "at most 20 words"),
    ],
)
def test_what_is_refused_names_the_key_and_what_was_expected(key, text, expected):
    with pytest.raises(InvalidField) as refused:
        parse_search([(key, text)], FIELDS)
    message = refused.value.message
    assert message.startswith(f"Invalid query parameter {key[:64]}: got {text[:64]!r}, expected ")
    assert expected in message


def test_conditions_are_bounded_in_number():
    with pytest.raises(InvalidField, match="got 51 conditions, expected at most 50"):
        parse_search([("count", "1")] * 51, FIELDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020", datetime(2020, 1, 1, tzinfo=UTC)),
        ("2020-05", datetime(2020, 5, 1, tzinfo=UTC)),
        ("2020-05-02", datetime(2020, 5, 2, tzinfo=UTC)),
        ("2020-05-02T03", datetime(2020, 5, 2, 3, tzinfo=UTC)),
        ("2020-05-02 03:04", datetime(2020, 5, 2, 3, 4, tzinfo=UTC)),
        ("2020-05-02T03:04:05", datetime(2020, 5, 2, 3, 4, 5, tzinfo=UTC)),
        ("2020-05-02T03:04:05.6", datetime(2020, 5, 2, 3, 4, 5, 600_000, tzinfo=UTC)),
        ("2020-05-02T03:04:05.1234567Z", datetime(2020, 5, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2000-05:00", datetime(2000, 1, 1, 5, tzinfo=UTC)),
        ("2000-01+0530", datetime(1999, 12, 31, 18, 30, tzinfo=UTC)),
        ("2000Z", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_dates_of_any_precision(text, expected):
    assert read_moment(text) == expected
    assert read_moment(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "20", "2020-13", "2020-02-30", "2020-05-02T24", "0001+01:00", "9999-12-31T23-01:00",
     "2000-25:00", "2020-5", "2020 ", "\u0662\u0660\u0662\u0660"],
)  # fmt: skip
def test_what_is_no_date(text):
    with pytest.raises(ValueError, match="a date such as"):
        read_moment(text)


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
)
def test_what_isoformat_writes_is_read(moment, offset):
    zone = timezone(timedelta(minutes=offset // timedelta(minutes=1)))
    assert read_moment(moment.replace(tzinfo=zone).isoformat()) == moment.replace(tzinfo=zone)
