"""Contract 1.7: types of fields."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.actors import MISSING, ActorDescription, parse_description
from bridge.core.fields import read_boolean, read_integer, read_object, read_text, read_texts
from bridge.errors import InvalidField


@pytest.mark.parametrize("value", [True, "true", "True", "TRUE", "1", 1])
def test_true(value):
    assert read_boolean(value) is True


@pytest.mark.parametrize("value", [False, "false", "False", "0", 0])
def test_false(value):
    assert read_boolean(value) is False


@pytest.mark.parametrize("value", ["", "yes", 2, None, [], {}, "t"])
def test_no_boolean(value):
    with pytest.raises(ValueError, match="expected true or false"):
        read_boolean(value)


def test_integers():
    assert read_integer("-1") == -1
    assert read_integer(7) == 7
    for value in (True, 1.5, "1.5", "", None, [], 2**63, "9" * 30, "x"):
        with pytest.raises(ValueError, match="expected an integer"):
            read_integer(value)


def test_texts_and_objects():
    assert read_text({"a": None}) == "{'a': None}"
    assert read_texts("a") == ["a"]
    assert read_texts(["a", 1]) == ["a", "1"]
    assert read_object({}) == {}
    with pytest.raises(ValueError, match="expected a JSON object"):
        read_object("{}")


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from([item.name for item in fields(ActorDescription) if item.name != "image"])


@given(values=st.dictionaries(_NAMES, _ANYTHING, max_size=4))
def test_any_value_is_taken_or_refused_by_name(values):
    sent = {"image": "debian", **values}
    try:
        parse_description(lambda name, _many: sent.get(name, MISSING), str)
    except InvalidField as error:
        refusals = ("Invalid actor description: ", "Cannot set both ")
        assert error.message.startswith(refusals)  # noqa: PT017
