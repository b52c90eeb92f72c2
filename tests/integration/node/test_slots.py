"""An array task with two workers on a node: real containers, side by side."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from bridge.node.cpus import parse_cpus
from tests.integration.node.conftest import Node

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

# Waits for the other, which another slot has to run meanwhile, and says on which CPUs.
MEET = """\
touch /meet/$NAME
until [ -e /meet/a ] && [ -e /meet/b ]; do sleep 0.1; done
cat /_abaco_binary_data
grep Cpus_allowed_list /proc/self/status
"""


@pytest.mark.parametrize("reuse", ["none", "image"])
def test_two_messages_run_side_by_side_on_cpus_of_their_own(node: Node, reuse: str) -> None:
    root = node.next_root()
    messages = [
        {"id": name, "env": {"NAME": name}, "data": b64encode(f"I am {name}\n".encode()).decode()}
        for name in "ab"
    ]
    node.spool(MEET, messages[:1], root, slots=2, workers=2, reuse=reuse,
               binds=[[f"{root}/meet", "/meet", "rw"]])  # fmt: skip
    node.write({f"{root}/meet/": None, f"{root}/inbox/000002.jsonl": json.dumps(messages[1])})

    node.run(*node.worker(root), timeout_s=120)

    ends = [end for name in ("0.0", "1.0") for end in node.finished(root, name).values()]
    assert [end["exit_code"] for end in ends] == [0, 0]
    assert [end["log"].splitlines()[0] for end in ends] == [f"I am {end['id']}" for end in ends]
    cpus = [parse_cpus(end["log"].split()[-1]) for end in ends]
    allowed = parse_cpus(node.run("sh", "-c", "grep Cpus_allowed_list /proc/self/status | cut -f2"))
    assert set().union(*cpus) == allowed
    assert sum(map(len, cpus)) == len(allowed)
    for name in ("0.0", "1.0"):
        assert node.records(root, name)[-1]["why"] == "empty"
        assert "fell_back" not in {record["t"] for record in node.records(root, name)}
    assert node.left_running() == ""
