"""Contract 4.7."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bridge.core.cron import UNITS, CronSchedule, format_hour, next_time, parse_cron
from bridge.errors import InvalidField

NOW = datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
HOUR = datetime(2026, 1, 5, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now + 1 hour", CronSchedule(HOUR, 1, "hour")),
        ("Now + 3 weeks", CronSchedule(HOUR, 3, "week")),
        ("2026-01-05 07 + 2 days", CronSchedule(HOUR, 2, "day")),
        ("2026-1-5 7 + 2 months", CronSchedule(HOUR, 2, "month")),
        ("2027-12-31 23 + 1 day", CronSchedule(datetime(2027, 12, 31, 23, tzinfo=UTC), 1, "day")),
    ],
)
def test_schedules(text, expected):
    assert parse_cron(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "The cron is not in the correct format"),
        ("now", "The cron is not in the correct format"),
        ("now + many hours", "The cron is not in the correct format"),
        ("now + 1 hour\n", "The cron is not in the correct format"),
        ("soon + 1 hour", "The starting date soon is not in the correct format"),
        ("2026-02-30 1 + 1 hour", "The starting date 2026-02-30 1 is not in the correct format"),
        ("2026-01-05 06 + 1 hour", "The starting datetime is old. The current UTC time is"),
        ("now + 1 fortnight", "1 fortnight is an invalid unit of time"),
        ("now + 0 hours", "is an invalid unit of time"),
    ],
)
def test_what_is_no_schedule(text, words):
    with pytest.raises(InvalidField) as error:
        parse_cron(text, NOW)
    assert words in error.value.message


def test_hours_are_shown_without_zeros_before():
    assert format_hour(NOW) == "2026-1-5 7"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + ":00:00+00:00")


@pytest.mark.parametrize(
    ("text", "start", "after", "expected"),
    [
        ("now + 1 hour", "2026-01-05T07", "2026-01-05T07", "2026-01-05T08"),
        ("now + 1 hour", "2026-01-05T07", "2026-01-09T22", "2026-01-09T23"),
        ("now + 5 hours", "2026-01-05T07", "2026-01-05T11", "2026-01-05T12"),
        ("now + 2 days", "2026-02-27T07", "2026-02-27T07", "2026-03-01T07"),
        ("now + 1 week", "2026-01-05T07", "2026-01-12T07", "2026-01-19T07"),
        ("now + 1 month", "2026-01-31T07", "2026-01-31T07", "2026-02-28T07"),
        ("now + 1 month", "2026-01-31T07", "2026-02-28T07", "2026-03-31T07"),
        ("now + 1 month", "2027-12-31T07", "2028-02-03T00", "2028-02-29T07"),
        ("now + 1 month", "2026-01-31T07", "2026-04-30T06", "2026-04-30T07"),
        ("now + 5 months", "2026-10-15T23", "2027-08-15T22", "2027-08-15T23"),
        ("now + 12 months", "2028-02-29T07", "2028-02-29T07", "2029-02-28T07"),
        ("now + 12 months", "2028-02-29T07", "2031-12-31T07", "2032-02-29T07"),
    ],
)
def test_the_next_time(text, start, after, expected):
    assert next_time(text, at(start), at(after)) == at(expected)


@pytest.mark.parametrize("unit", UNITS)
def test_a_step_beyond_the_last_year_is_none(unit):
    start = datetime(9999, 12, 31, 23, tzinfo=UTC)
    assert next_time(f"now + 999999 {unit}s", start, start) is None


@given(
    count=some.integers(1, 40),
    unit=some.sampled_from(UNITS),
    start=some.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    hours=some.integers(0, 10**6),
)
def test_the_next_time_is_the_first_after(count, unit, start, hours):
    """The times of a schedule rise, and none is left out between one and the next."""
    begin = start.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
    text, after = f"now + {count} {unit}s", begin + timedelta(hours=hours)
    first = next_time(text, begin, after)
    assert first is not None
    assert first > after
    assert next_time(text, begin, first - timedelta(microseconds=1)) == first
    if first - timedelta(hours=1) > after:
        assert next_time(text, begin, first - timedelta(hours=1)) == first


def test_only_schedules_have_a_next_time():
    with pytest.raises(InvalidField):
        next_time("hourly", HOUR, NOW)
