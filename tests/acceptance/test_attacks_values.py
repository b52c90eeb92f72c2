"""Hostile values through the real cluster: they arrive byte for byte and are evaluated nowhere.

What each attack is answered with is in tests/attacks.md.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.sandbox.demo import Client
from tests.cluster import Cluster
from tests.hostile import CANARY, VALUES

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

NODES = ("head", "login", "c1", "c2")
QUERY = {f"Q{number}": text for number, text in enumerate(VALUES.values()) if len(text) < 1000}
FIRST, SECOND = ({name: QUERY[name] for name in list(QUERY)[start::2]} for start in (0, 1))
DEFAULTS = {f"D{number}": text for number, text in enumerate(VALUES.values())}
# Names that Apptainer or a shell would make something of, and that an owner may set nonetheless.
OWNERS = dict.fromkeys(
    [
        "UID", "GID", "EUID", "PPID", "OPTIND", "IFS", "PREPEND_PATH", "APPEND_PATH", "PS4", "ENV",
        "BASH_ENV", "HTTP_PROXY",
    ],
    "$(id) 'x' \"y\", z",
)  # fmt: skip
TEXT = "\n".join(VALUES[name] for name in VALUES if name != "long")
OBJECT = {**VALUES, **{text: name for name, text in VALUES.items() if name != "long"}}
BINARY = TEXT.encode() + bytes(range(256)) * 3
RESULTS = [text for text in VALUES.values() if text]


@pytest.fixture(scope="module")
def alice(cluster: Cluster) -> Client:
    return cluster.client()


@pytest.fixture(scope="module")
def since(cluster: Cluster) -> str:
    """When this file's tests began: other files' submit jobs themselves."""
    return cluster.now()


@pytest.fixture(scope="module")
def actor(cluster: Cluster, alice: Client, since: str) -> Iterator[str]:
    """A probe that was registered with hostile words wherever words are taken."""
    fields = {"name": TEXT, "description": TEXT, "defaultEnvironment": {**DEFAULTS, **OWNERS}}
    actor = cluster.actor(alice, "probe", **fields)
    shown = alice.call("GET", f"/{actor}")
    assert (shown["name"], shown["description"]) == (TEXT, TEXT)
    config = {"name": f"c-{actor}", "value": TEXT, "isSecret": True, "actors": actor}
    alice.call("POST", "/configs", json=config)
    yield actor
    alice.call("DELETE", f"/configs/c-{actor}")
    alice.call("DELETE", f"/{actor}")


@pytest.fixture(scope="module")
def seen(cluster: Cluster, alice: Client, actor: str) -> dict[str, dict[str, Any]]:
    """What the container of each message said of itself, by kind of message."""
    binary = {"data": BINARY, "headers": {"Content-Type": "application/octet-stream"}}
    posts = {
        "text": {"data": {"message": TEXT}, "params": FIRST},
        "results": {"data": {"message": repr({"send": RESULTS})}, "params": SECOND},
        "json": {"json": OBJECT},
        "binary": binary,
    }
    sent = {
        kind: alice.call("POST", f"/{actor}/messages", **options)["executionId"]
        for kind, options in posts.items()
    }
    said = {}
    for kind, execution in sent.items():
        first, *others = cluster.log(alice, actor, execution).splitlines()
        said[kind] = {**json.loads(first), "execution": execution, "others": others}
    return said


def test_a_text_and_what_its_query_sets(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["text"]["environment"]["MSG"] == TEXT
    for kind, query in (("text", FIRST), ("results", SECOND)):
        assert {name: seen[kind]["environment"].get(name) for name in query} == query


def test_a_json_message(seen: dict[str, dict[str, Any]]) -> None:
    message = ast.literal_eval(seen["json"]["environment"]["MSG"])
    assert message == OBJECT


def test_a_binary_message(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["binary"]["binary"] == [len(BINARY), hashlib.sha256(BINARY).hexdigest()]


def test_what_the_actor_has(seen: dict[str, dict[str, Any]], actor: str) -> None:
    for one in seen.values():
        environment = one["environment"]
        assert {name: environment.get(name) for name in DEFAULTS} == DEFAULTS
        assert {name: environment.get(name) for name in OWNERS} == OWNERS
        assert environment["_abaco_actor_name"] == TEXT
        assert ast.literal_eval(environment["_actor_configs"]) == {f"c-{actor}": TEXT}
        assert one["environment"]["PATH"].startswith("/usr/local/sbin:")


def test_results(seen: dict[str, dict[str, Any]], alice: Client, actor: str) -> None:
    [sent] = map(json.loads, seen["results"]["others"])
    assert sent == [hashlib.sha256(text.encode()).hexdigest() for text in RESULTS]
    for text in RESULTS:
        answer = alice.send("GET", f"/{actor}/executions/{seen['results']['execution']}/results")
        assert answer.content == text.encode()
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_was_evaluated_anywhere(
    cluster: Cluster, seen: dict[str, dict[str, Any]], since: str
) -> None:
    """A file would lie on a node, or below what the nodes share; a second job in the queue."""
    assert seen
    find = ["find", "/", "-xdev", "-name", f"{CANARY}*"]
    shared = ["find", "/scratch", "/work", "/corral", "-name", f"{CANARY}*"]
    for node in NODES:
        for argv in (find, shared):
            assert cluster.sandbox.run(node, argv, check=False).stdout == "", (node, argv)
    argv = ["sacct", "-aXnPD", "-S", since, "-o", "JobName,Comment,User,Submit"]
    rows = [line.split("|") for line in cluster.sandbox.run("login", argv).stdout.splitlines()]
    jobs = [row[:-1] for row in rows if row[-1] >= since]
    assert jobs
    for name, comment, user in jobs:
        assert name.startswith("bridge-")
        assert comment == ""
        assert user in ("alice", "bob", "carol")
