"""The `batch` object: its form."""

from __future__ import annotations

import re

import pytest

from bridge.core.batch import KEYS, parse_batch


def test_what_is_not_given_is_null():
    batch = parse_batch({"cpus": 4, "memory": 2048, "qos": "high", "gpus": None})
    assert list(batch) == list(KEYS)
    assert {key: value for key, value in batch.items() if value is not None} == {
        "cpus": 4,
        "memory": 2048,
        "qos": "high",
    }


@pytest.mark.parametrize("value", [{}, {"cpus": None}])
def test_nothing_asked_is_nothing(value):
    assert parse_batch(value) is None


def test_a_batch_that_was_shown_is_taken_again():
    batch = parse_batch({"nodes": 2, "ntasks": 8, "constraint": "skylake", "time_limit": 60})
    assert parse_batch(batch) == batch


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("cpus=4", "expected a JSON object"),
        ([], "expected a JSON object"),
        ({"timeLimit": 60}, "'timeLimit' is no key of it; expected time_limit, cpus, "),
        ({"walltime": 60}, "'walltime' is no key of it"),
        ({"cpus": "4"}, "cpus: got '4', expected an integer from 1."),
        ({"cpus": True}, "cpus: got 'True', expected an integer from 1."),
        ({"cpus": 0}, "cpus: got '0', expected an integer from 1."),
        ({"memory": 1.5}, "memory: got '1.5', expected an integer from 1."),
        ({"memory": 2**40}, "memory: "),
        ({"time_limit": 59}, "time_limit: got '59', expected an integer from 60."),
        ({"gpus": -1}, "gpus: got '-1', expected an integer from 0."),
        ({"retries": -1}, "retries: "),
        ({"partition": ""}, "partition: got '', expected one word"),
        ({"partition": "a b"}, "partition: "),
        ({"account": "x\n#SBATCH --uid=0"}, "account: "),
        ({"qos": "--uid=0"}, "qos: "),
        ({"constraint": ["a"]}, "constraint: "),
        ({"constraint": "x" * 65}, "constraint: "),
        ({"reuse": 1}, "reuse: "),
        ({"nodes": 2}, "nodes: got 2 with 1 ntasks, expected a task for each node at least."),
        ({"nodes": 3, "ntasks": 2}, "nodes: got 3 with 2 ntasks"),
        ({"reuse": "process", "ntasks": 2}, "reuse: got 'process' with 2 ntasks, expected 'none'"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(value, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_batch(value)
