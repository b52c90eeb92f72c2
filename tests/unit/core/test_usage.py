"""Usage that is reported: three integers, each required."""

from __future__ import annotations

import pytest

from bridge.core.actors import MISSING
from bridge.core.case import to_camel
from bridge.core.usage import Usage, parse_usage
from bridge.errors import InvalidField


def parse(**sent):
    return parse_usage(lambda name: sent.get(name, MISSING), to_camel)


def test_integers_and_their_digits():
    assert parse(runtime="60", cpu=5, io="0") == Usage(60, 5, 0)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"cpu": 1, "io": 1}, "{'runtime': 'The runtime of the execution: it is required.'}"),
        ({"runtime": 1, "cpu": "much", "io": 1}, "'cpu': 'The cpu of the execution: expected an"),
        ({"runtime": 1, "cpu": 1, "io": None}, "'io'"),
        ({"runtime": -1, "cpu": 1, "io": 1}, "expected an integer from 0 to 2147483647"),
        ({"runtime": 2**31, "cpu": 1, "io": 1}, "'runtime'"),
        ({"runtime": 1, "cpu": 2**62 + 1, "io": 1}, "'cpu'"),
        ({"runtime": 1.5, "cpu": 1, "io": 1}, "'runtime'"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(sent, words):
    with pytest.raises(InvalidField) as refusal:
        parse(**sent)
    assert refusal.value.message.startswith("Invalid execution description: ")
    assert words in refusal.value.message
