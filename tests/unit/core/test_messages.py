"""Contract 3.3, 5.1: what a message becomes."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.messages import (
    MAX_TEXT_BYTES,
    binary_message,
    json_message,
    text_message,
)
from bridge.errors import InvalidField, PayloadTooLarge

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@given(value=st.dictionaries(st.text(max_size=8), _JSON, max_size=5))
def test_a_json_message_can_be_read_as_clients_read_it(value):
    message = json_message(value)
    assert ast.literal_eval(message.payload.decode()) == value
    assert b"\0" not in message.payload


def test_shapes():
    assert text_message("é").payload == "é".encode()
    assert text_message("{}", shown={}).shown == {}
    assert binary_message(b"\0").shown == "binary - omitted"


def test_limits():
    assert len(text_message("x" * MAX_TEXT_BYTES).payload) == MAX_TEXT_BYTES
    with pytest.raises(PayloadTooLarge, match="send it as a binary message"):
        text_message("é" * (MAX_TEXT_BYTES // 2) + "x")
    with pytest.raises(InvalidField, match="NUL byte"):
        text_message("a\0b")
    with pytest.raises(InvalidField, match="surrogate"):
        text_message("\ud800")
