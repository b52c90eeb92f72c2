"""Contract 1.4, 0.10, 0.11."""

from __future__ import annotations

import pytest

from bridge.core.case import spell_keys, spell_object, to_camel


@pytest.mark.parametrize(
    ("snake", "camel"),
    [
        ("id", "id"),
        ("create_time", "createTime"),
        ("use_container_uid", "useContainerUid"),
        ("_links", "_links"),
        ("__x_y", "__xY"),
        ("x_", "x_"),
        ("a__b", "a_B"),
    ],
)
def test_to_camel(snake, camel):
    assert to_camel(snake) == camel


def test_only_a_single_object_loses_its_nulls_and_only_in_camel():
    values = {"start_time": None, "final_state": {"a_b": None}}
    assert spell_object(values, "camel") == {"finalState": {"a_b": None}}
    assert spell_object(values, "snake") == values
    assert spell_keys(values, "camel") == {"startTime": None, "finalState": {"a_b": None}}
