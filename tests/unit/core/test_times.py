"""Contract 1.6: always milliseconds, always Z."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from bridge.core.times import format_moment, format_optional


def test_moments():
    moment = datetime(2020, 5, 1, 14, 45, 41, 591_999, tzinfo=UTC)
    assert format_moment(moment) == "2020-05-01T14:45:41.591Z"
    assert format_moment(moment.replace(microsecond=0)) == "2020-05-01T14:45:41.000Z"
    elsewhere = moment.astimezone(timezone(timedelta(hours=-6)))
    assert format_moment(elsewhere) == "2020-05-01T14:45:41.591Z"
    assert format_optional(None) is None
    assert format_optional(moment) == format_moment(moment)
