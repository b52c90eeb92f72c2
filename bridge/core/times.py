"""Moments as the API shows them: ISO 8601 with milliseconds and a ``Z`` (abaco_contract.md 1.6)."""

from __future__ import annotations

from datetime import UTC, datetime


def format_moment(moment: datetime) -> str:
    """Return `moment` as e.g. ``2020-05-01T14:45:41.591Z``, also for whole seconds.

    Abaco itself prints whole seconds without fraction and without ``Z``; that is not copied
    (abaco_contract.md Appendix B).
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_optional(moment: datetime | None) -> str | None:
    """Return `moment` as `format_moment` does, or None."""
    return None if moment is None else format_moment(moment)
