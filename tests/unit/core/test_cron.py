"""Contract 4.7."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.core.cron import CronSchedule, format_hour, parse_cron
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
