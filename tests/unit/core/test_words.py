"""Ids, statuses, levels."""

from __future__ import annotations

import re

from bridge.core.ids import new_id, new_token
from bridge.core.statuses import ExecutionStatus, Level


def test_ids_look_like_abacos_and_survive_agavepy():
    ids = {new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(re.fullmatch(r"[A-Za-z0-9]{12}[A-Za-uw-z0-13-9]", one) for one in ids)


def test_tokens():
    assert re.fullmatch(r"[0-9a-f]{32}", new_token())


def test_levels():
    ordered = [Level.NONE, Level.READ, Level.EXECUTE, Level.UPDATE]
    for high, holding in enumerate(ordered):
        for low, wanted in enumerate(ordered):
            assert holding.allows(wanted) is (high >= low)


def test_final_statuses():
    assert [status for status in ExecutionStatus if status.is_final] == ["COMPLETE", "ERROR"]
