"""An array task with two workers on a node: real containers, side by side."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.node.cpus import parse_cpus
from tests.integration.node.conftest import Node

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

# Waits for the other, which another slot has to run meanwhile, and says on which CPUs.
MEET = """\
touch /meet/$MSG
until [ -e /meet/a ] && [ -e /meet/b ]; do sleep 0.1; done
grep Cpus_allowed_list /proc/self/status
"""


@pytest.mark.parametrize("reuse", ["none", "image"])
def test_two_messages_run_side_by_side_on_cpus_of_their_own(node: Node, reuse: str) -> None:
    root = node.next_root()
    messages: list[dict[str, Any]] = [{"id": name, "env": {}, "msg": name} for name in "ab"]
    node.spool(MEET, messages[:1], root, slots=2, workers=2, reuse=reuse,
               binds=[[f"{root}/meet", "/meet", "rw"]])  # fmt: skip
    node.write({f"{root}/meet/": None, f"{root}/inbox/000002.jsonl": json.dumps(messages[1])})

    node.run(*node.worker(root), timeout_s=120)

    [one], [other] = (node.finished(root, name).values() for name in ("0.0", "1.0"))
    assert (one["exit_code"], other["exit_code"]) == (0, 0)
    cpus = [parse_cpus(end["log"].split()[-1]) for end in (one, other)]
    allowed = parse_cpus(node.run("sh", "-c", "grep Cpus_allowed_list /proc/self/status | cut -f2"))
    assert set().union(*cpus) == allowed
    assert sum(map(len, cpus)) == len(allowed)
    for name in ("0.0", "1.0"):
        assert node.records(root, name)[-1]["why"] == "empty"
        assert "fell_back" not in {record["t"] for record in node.records(root, name)}
    assert node.left_running() == ""
