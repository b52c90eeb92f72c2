"""Abaco's cron schedules: ``2026-11-20 15 + 2 hours`` (abaco_contract.md 4.7).

A schedule has a resolution of one hour, in UTC.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta

from bridge.errors import InvalidField

_FORM = re.compile(r"(?P<start>.+?) \+ (?P<count>[0-9]{1,6}) (?P<unit>[A-Za-z]+)\Z")
_START = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2}) ([0-9]{1,2})\Z")
UNITS = ("hour", "day", "week", "month")
_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}


@dataclass(frozen=True)
class CronSchedule:
    """When a schedule first runs, and what is added to come to the next time."""

    start: datetime
    count: int
    unit: str


def parse_cron(text: str, now: datetime) -> CronSchedule:
    """Return the schedule that `text` writes down.

    Raises:
        InvalidField: it has another form, begins in a past hour, or its unit is unknown (Abaco
            answers 500 to the last, which is not copied: Appendix B).
    """
    form = _match(text)
    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    start = this_hour if form["start"].lower() == "now" else _parse_start(form["start"])
    if start < this_hour:
        raise InvalidField(
            f"The starting datetime is old. The current UTC time is {this_hour:%Y-%m-%d %H}."
        )
    return CronSchedule(start, *_step(form))


def next_time(text: str, start: datetime, after: datetime) -> datetime | None:
    """Return the first time after `after` of the schedule `text`, or None past the last year.

    Months are those of the calendar, counted from `start`: a schedule that starts on the 31st runs
    on the last day of shorter months, and on the 31st again in the next long one.

    Args:
        text: a schedule that `parse_cron` took once; what it starts with is not looked at.
        start: when it first runs.
        after: a moment not before `start`.

    Raises:
        InvalidField: `text` is no schedule.
    """
    count, unit = _step(_match(text))
    length = _LENGTHS.get(unit)
    if length is None:
        passed = (after.year - start.year) * 12 + after.month - start.month
        steps = max(0, passed) // count
        moment = _add_months(start, steps * count)
        if moment is None or moment > after:
            return moment
        return _add_months(start, (steps + 1) * count)
    steps = (after - start) // (length * count) + 1
    try:
        return start + length * count * steps
    except OverflowError:
        return None


def _add_months(start: datetime, months: int) -> datetime | None:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if year > MAXYEAR:
        return None
    last_day = calendar.monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last_day))


def format_hour(moment: datetime) -> str:
    """Return `moment` as Abaco shows cron times: ``2026-1-5 7``, without zeros before."""
    return f"{moment.year}-{moment.month}-{moment.day} {moment.hour}"


def _match(text: str) -> re.Match[str]:
    form = _FORM.match(text)
    if not form:
        raise InvalidField(
            "The cron is not in the correct format: expected '<yyyy-mm-dd hh> + <n> <unit>' or "
            f"'now + <n> <unit>', got {text[:100]!r}."
        )
    return form


def _step(form: re.Match[str]) -> tuple[int, str]:
    unit = form["unit"].removesuffix("s")
    if unit not in UNITS or int(form["count"]) == 0:
        raise InvalidField(
            f"{form['count']} {form['unit']} is an invalid unit of time; expected a number from 1 "
            "of hours, days, weeks or months."
        )
    return int(form["count"]), unit


def _parse_start(text: str) -> datetime:
    match = _START.match(text)
    try:
        if match:
            year, month, day, hour = map(int, match.groups())
            return datetime(year, month, day, hour, tzinfo=UTC)
    except ValueError:
        pass  # such as a 30th of February: the same answer as another form
    raise InvalidField(
        f"The starting date {text[:100]} is not in the correct format; expected yyyy-mm-dd hh."
    )
