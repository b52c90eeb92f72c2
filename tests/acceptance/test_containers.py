"""What a container of an actor sees and does (abaco_contract.md 5), on the real cluster."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge.sandbox.demo import Client
from tests.cluster import Cluster, wait_for

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

MIB = 1024 * 1024
# What Apptainer and the image's shell set, and what the sample images have of their own.
OF_APPTAINER = ("APPTAINER_", "SINGULARITY_", "LD_LIBRARY_PATH", "PROMPT_COMMAND", "PS1", "SHLVL")
OF_IMAGE = ("PATH", "LANG", "PWD", "HOME", "FROM_IMAGE", "OVER_IMAGE")


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


def test_a_container_finds_what_abaco_gives_it_and_nothing_of_the_host(
    cluster: Cluster, actors: Callable[..., str]
) -> None:
    client = cluster.client()
    defaults = {"DEFAULT": "default", "OVER_IMAGE": "default", "OVER_DEFAULT": "default"}
    actor = actors("probe", name="a probe", defaultEnvironment=defaults, token=True)
    config = {"name": f"c-{actor}", "value": "it's", "isSecret": True, "actors": actor}
    client.call("POST", "/configs", json=config)
    message = {"exit": 3, "deep": [None, True, 'it\'s "quoted"']}
    query = {"QUERY": "of the message", "OVER_DEFAULT": "query", "_abaco_synchronous": "false"}
    execution = post(client, actor, json=message, params=query)
    seen, _ = probe(cluster, client, actor, execution)
    environment = seen["environment"]

    details = client.call("GET", f"/{actor}/executions/{execution}")
    shown = client.call("GET", f"/{actor}")
    token = environment.pop("_abaco_access_token")
    expected = {
        "MSG": repr(message),
        "_abaco_Content_Type": "application/json",
        "_abaco_Content-Type": "application/json",
        "_abaco_username": "alice",
        "_abaco_api_server": "http://login:8080",
        "_abaco_execution_id": execution,
        "_abaco_actor_revision": "1",
        "_abaco_actor_id": actor,
        "_abaco_actor_dbid": f"PHYSICS_{actor}",
        "_abaco_worker_id": details["workerId"],
        "_abaco_container_repo": shown["image"],
        "_abaco_actor_name": "a probe",
        "_abaco_actor_state": "{}",
        "_actor_configs": repr({f"c-{actor}": "it's"}),
        "_abaco_synchronous": "false",
        "FROM_IMAGE": "image",
        "OVER_IMAGE": "default",
        "DEFAULT": "default",
        "OVER_DEFAULT": "query",
        "QUERY": "of the message",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert ast.literal_eval(environment["MSG"]) == message
    others = [name for name in environment if name not in expected and name not in OF_IMAGE]
    assert [name for name in others if not name.startswith(OF_APPTAINER)] == []
    assert token.count(".") == 2
    assert details["exitCode"] == details["finalState"]["ExitCode"] == 3

    assert seen["argv"] == ["word", "two words"]
    assert seen["cwd"] == "/srv"
    assert environment["HOME"] == "/home/alice"
    assert (seen["name"], seen["uid"], seen["gid"]) == ("alice", 2001, 2001)
    assert 0 not in seen["groups"]
    assert seen["input"] == ""
    assert seen["descriptors"] == []
    assert all("probe.py" in line or line in ("appinit", "") for line in seen["processes"]), seen
    assert seen["listing"]["/tmp"] == seen["listing"]["/home"] == []
    writable = dict.fromkeys(("/", "/srv", "/opt", "/tmp", "/work", "/scratch"), True)
    assert seen["writable"] == {**writable, "/corral": False}
    assert {path: seen["mounts"][path] for path in ("/work", "/scratch", "/corral")} == {
        "/work": "rw", "/scratch": "rw", "/corral": "ro",
    }  # fmt: skip
    assert seen["kinds"] == {
        "/_abaco_binary_data": None, "/_abaco_results.sock": "socket", "/_abaco_state.json": None,
    }  # fmt: skip


def test_the_token_is_the_owners_and_no_more_than_that(
    cluster: Cluster, actors: Callable[..., str]
) -> None:
    alice, bob = cluster.client(), cluster.client("bob")
    actor = actors("probe", name="a probe", token=True)
    without = actors("probe", name="no token", token=False)
    reference = cluster.sandbox.ensure_image("probe")
    bobs = bob.call("POST", json={"image": reference})["id"]
    for one in (actor, without):
        alice.call("POST", f"/{one}/permissions", json={"user": "bob", "level": "EXECUTE"})
    calls = [
        ["GET", f"/actors/v2/{actor}", None],
        ["POST", f"/actors/v2/{actor}/permissions", {"user": "carol", "level": "READ"}],
        ["GET", f"/actors/v2/{bobs}", None],
        ["POST", f"/actors/v2/{actor}/workers", {"num": 1}],
    ]
    execution = post(bob, actor, json={"call": calls})
    bare = post(bob, without, json={})
    seen, (answers,) = probe(cluster, alice, actor, execution)
    assert seen["environment"]["_abaco_username"] == "bob"
    assert [status for status, _ in answers] == [200, 200, 400, 400]
    assert answers[0][1]["result"]["owner"] == "alice"
    assert answers[1][1]["result"]["carol"] == "READ"
    assert seen["uid"] == 2001
    seen, _ = probe(cluster, alice, without, bare)
    assert seen["environment"]["_abaco_access_token"] == ""
    bob.call("DELETE", f"/{bobs}")


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


# --- state (3.8) ---


def test_each_container_sees_the_state_that_the_one_before_left(
    cluster: Cluster, actors: Callable[..., str]
) -> None:
    client = cluster.client()
    actor = actors("state-counter", stateless=False, token=True)
    ids = cluster.post(client, actor, *["file"] * 10)
    assert [cluster.log(client, actor, one).strip() for one in ids] == [
        str(number) for number in range(1, 11)
    ]
    workers = {client.call("GET", f"/{actor}/executions/{one}")["workerId"] for one in ids}
    assert len(workers) == 1
    ids = cluster.post(client, actor, "http", "file", "http")
    assert [cluster.log(client, actor, one).strip() for one in ids] == ["11", "12", "13"]
    assert client.call("GET", f"/{actor}/state")["state"] == {"count": 13}


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


def test_a_message_that_takes_too_much_memory_ends_and_the_next_one_runs(
    cluster: Cluster, actors: Callable[..., str]
) -> None:
    client = cluster.client()
    actor = actors("memory-hog", batch={"memory": 300})
    too_much, enough = cluster.post(client, actor, "1000", "100")
    ended = cluster.end(client, actor, too_much)
    assert (ended["status"], ended["exitCode"]) == ("COMPLETE", 137)
    assert ended["finalState"]["OOMKilled"] is True
    ended = cluster.end(client, actor, enough)
    assert (ended["status"], ended["exitCode"]) == ("COMPLETE", 0)
    assert ended["finalState"]["OOMKilled"] is False


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


# --- events (4.7, 4.8) ---


def test_links_webhooks_and_schedules_start_containers(
    cluster: Cluster, actors: Callable[..., str]
) -> None:
    client = cluster.client()
    listener = actors("probe", name="listener")
    nonce = client.call("POST", f"/{listener}/nonces", json={"level": "EXECUTE"})["id"]
    speaker = actors(
        "exit-code",
        link=listener,
        webhook=f"http://login:8080/actors/v2/{listener}/messages?x-nonce={nonce}",
        cronSchedule="now + 1 hour",
    )
    post(client, speaker, data={"message": "7"})
    seen: list[dict[str, Any]] = []

    def environments() -> list[dict[str, Any]]:
        rows = client.call("GET", f"/{listener}/executions")["executions"][len(seen) :]
        found = [probe(cluster, client, listener, row["id"])[0] for row in rows]
        seen.extend(one["environment"] for one in found)
        return seen

    wait_for(lambda: len(environments()) >= 6, 90, "six events: two ways, three events")
    told = [ast.literal_eval(one["MSG"]) for one in seen]
    linked = [event for one, event in zip(seen, told, strict=True) if "x_nonce" not in one]
    assert linked[0]["event_type"] == "ACTOR_READY"
    ended = {(e["event_type"], e.get("exit_code")) for e in told if "execution_id" in e}
    assert ("EXECUTION_COMPLETE", 7) in ended
    assert {one["_abaco_username"] for one in seen} == {"Abaco Event", "alice"}
    assert all(event["actor_id"] == speaker for event in told)

    cron = client.call("GET", f"/{speaker}/executions")["executions"]
    details = [client.call("GET", f"/{speaker}/executions/{one['id']}") for one in cron]
    assert sorted(one["executor"] for one in details) == ["alice", "cron"]
