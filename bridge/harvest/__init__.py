"""Reading results back: what a worker's journal says, and what that makes of executions.

A journal is written by the owner's worker and may be forged by the owner: every record is checked
for form, and believed for executions that were given to that array and for nothing else.
"""

from bridge.harvest.apply import Report, apply_reports, left_reason
from bridge.harvest.endings import end_lost, has_open, has_started, requeue
from bridge.harvest.records import (
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

__all__ = [
    "FellBack",
    "Finished",
    "Joined",
    "Left",
    "Progress",
    "Record",
    "Report",
    "Results",
    "Started",
    "apply_reports",
    "end_lost",
    "has_open",
    "has_started",
    "left_reason",
    "parse_records",
    "requeue",
]
