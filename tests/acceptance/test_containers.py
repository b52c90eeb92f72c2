"""What a container of an actor sees and does (abaco_contract.md 5), on the real cluster."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge.sandbox.demo import Client
from tests.cluster import Cluster

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def actors(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Registers an actor of a sample image once and returns its id: tests share them."""
    made: dict[str, str] = {}
    client = cluster.client()

    def actor(image: str, **fields: Any) -> str:
        key = json.dumps([image, fields], sort_keys=True)
        if key not in made:
            made[key] = cluster.actor(client, image, **fields)
        return made[key]

    yield actor
    for one in made.values():
        client.call("DELETE", f"/{one}")


def probe(cluster: Cluster, client: Client, actor: str, execution: str) -> tuple[dict, list]:
    """Return what the probe said of itself, and what came of each thing it was asked to do."""
    first, *others = cluster.log(client, actor, execution).splitlines()
    return json.loads(first), [json.loads(line) for line in others]


def post(client: Client, actor: str, **options: Any) -> str:
    execution: str = client.call("POST", f"/{actor}/messages", **options)["executionId"]
    return execution


def results(client: Client, actor: str, execution: str) -> list[bytes]:
    """Read results until there is none."""
    found = []
    while one := read_result(client, actor, execution):
        found.append(one)
    return found


def read_result(client: Client, actor: str, execution: str) -> bytes:
    answer = client.send("GET", f"/{actor}/executions/{execution}/results")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/octet-stream"
    return answer.content


# --- what it finds (5.1, 5.4, 5.5) ---


def test_messages_of_each_kind_as_the_container_has_them(
    cluster: Cluster, actors: Callable[..., str]
) -> None:
    client = cluster.client()
    actor = actors("probe", name="a probe", token=True)
    text = "line one\nline $two `three` 'four' \\ ü €"
    by_form = post(client, actor, data={"message": text})
    as_json = post(client, actor, json={"message": {"a": None}})
    listed = post(client, actor, json=["not", {"an": "object"}])
    binary = post(client, actor, data=b"\0\xff\n", headers=OCTETS)
    seen, _ = probe(cluster, client, actor, by_form)
    assert seen["environment"]["MSG"] == text
    assert seen["environment"]["_abaco_Content_Type"] == "str"
    seen, _ = probe(cluster, client, actor, as_json)
    assert seen["environment"]["MSG"] == "{'a': None}"
    assert seen["environment"]["_abaco_Content-Type"] == "str"
    seen, _ = probe(cluster, client, actor, listed)
    assert seen["environment"]["MSG"] == "['not', {'an': 'object'}]"
    seen, _ = probe(cluster, client, actor, binary)
    assert "MSG" not in seen["environment"]
    assert seen["environment"]["_abaco_Content_Type"] == "application/octet-stream"
    assert seen["kinds"]["/_abaco_binary_data"] == "file"
    assert seen["binary"] == [3, hashlib.sha256(b"\0\xff\n").hexdigest()]


# --- binary messages (5.2) ---

OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.mark.parametrize("size", [5 * MIB, 200 * MIB], ids=["5 MiB", "200 MiB"])
def test_a_large_binary_message_arrives_whole(
    cluster: Cluster, actors: Callable[..., str], size: int
) -> None:
    client = cluster.client()
    actor = actors("binary-digest")
    data = os.urandom(MIB) * (size // MIB - 1) + os.urandom(MIB)
    execution = post(client, actor, data=data, headers=OCTETS)
    shown = cluster.log(client, actor, execution)
    assert shown.split() == [str(size), hashlib.sha256(data).hexdigest()]


# --- results (5.3) ---


def test_results_come_whole_in_order_and_once(cluster: Cluster, actors: Callable[..., str]) -> None:
    client = cluster.client()
    actor = actors("probe", name="a probe", token=True)
    wanted = ["text", 1, 131_072, 131_073, 200_000, "\0binary\n", *range(100, 140), "last"]
    execution = post(client, actor, json={"send": [*wanted, 4 * MIB]})
    _, (sent,) = probe(cluster, client, actor, execution)
    assert sent.pop() == "Message too long"  # the kernel's limit, and the sender is told
    listed = client.call("GET", f"/{actor}/executions/{execution}/results/all")
    assert client.call("GET", f"/{actor}/executions/{execution}/results/all") == listed
    found = results(client, actor, execution)
    assert [hashlib.sha256(one).hexdigest() for one in found] == sent
    assert (found[0], found[5], found[-1]) == (b"text", b"\0binary\n", b"last")
    assert read_result(client, actor, execution) == b""


# --- how it ends (4.2, 5.5, 5.6) ---


def test_what_ran_is_complete_whatever_its_exit_code(
    cluster: Cluster, actors: Callable[..., str]
) -> None:
    client = cluster.client()
    actor = actors("exit-code")
    codes = [0, 1, 126, 127, 137, 255]
    ids = cluster.post(client, actor, *map(str, codes))
    ended = [cluster.end(client, actor, one) for one in ids]
    assert [one["status"] for one in ended] == ["COMPLETE"] * len(codes)
    assert [one["exitCode"] for one in ended] == codes
    logs = client.call("GET", f"/{actor}/executions/{ids[-1]}/logs")["logs"]
    assert logs == "exit 255\n"


def test_a_message_that_takes_too_long_is_ended(cluster: Cluster) -> None:
    """The site's limit for one execution; the scheduler reads it when it starts."""
    client = cluster.client()
    cluster.service.stop("scheduler")
    cluster.start(max_run_time_s=3, kill_grace_s=2)
    actor = cluster.actor(client, "sleep-loop")
    try:
        execution = post(client, actor, json={"sleep": 0.5, "iterations": 100})
        ended = cluster.end(client, actor, execution)
    finally:
        cluster.service.stop("scheduler")
        cluster.start()
    assert ended["status"] == "COMPLETE"
    assert ended["exitCode"] in (137, 143)
    assert 3 <= ended["runtime"] <= 20
    logs = client.call("GET", f"/{actor}/executions/{execution}/logs")["logs"]
    assert logs.startswith("iteration 1 of 100\n")
    client.call("DELETE", f"/{actor}")
