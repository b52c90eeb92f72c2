"""What the bridge writes is what the worker reads: both sides' own code."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.messages import BINARY, JSON, TEXT
from bridge.db import Actor, Array, Execution, Image, Message
from bridge.launcher import build_array_json, build_message
from bridge.launcher.spool import (
    INLINE_BYTES,
    build_fingerprint,
    build_shape,
    build_shared,
    chunk_name,
    chunk_number,
    chunk_owner,
    needs_file,
)
from bridge.node.messages import parse_message, parse_shared
from bridge.node.spool import parse_array
from bridge.sites import Cluster, Limits

REQUEST = {"time_limit_s": 3600, "message_memory_mib": 500, "ntasks": 4, "gpus": 1}
ARRAY = Array(
    id="token", sif_path="/images/x.sif", username="alice", is_standing=False, request=REQUEST,
    task_count=3,
)  # fmt: skip
CLUSTER = Cluster(spool="/scratch/{username}", image_cache="/images")  # type: ignore[arg-type]
IMAGE = {"Entrypoint": ["/bin/tool"], "Cmd": ["--fast"], "WorkingDir": "/data", "Env": ["A=1"]}


def build(config: dict[str, Any] | None, **actor: Any) -> Any:
    values: dict[str, Any] = {
        "id": "a1", "tenant": "PHYSICS", "image": "debian", "name": None, "state": {},
        "default_environment": {}, "mounts": [], "revision": 1, "stateless": True,
    }  # fmt: skip
    mounts = actor.get("mounts", [])
    document = build_array_json(
        ARRAY, Actor(hints=[], **values | actor), Image(config=config), CLUSTER, Limits(), mounts
    )
    return parse_array(json.loads(document))


def fingerprint(array: Array = ARRAY, **actor: Any) -> str:
    values: dict[str, Any] = {
        "id": "a1", "tenant": "PHYSICS", "image": "debian", "name": None, "state": {},
        "default_environment": {}, "mounts": [], "revision": 1, "stateless": True,
    }  # fmt: skip
    row = Actor(**values | actor)
    shape = build_shape(array, row, Image(config=IMAGE), CLUSTER, Limits(), row.mounts)
    return build_fingerprint(shape, array, row)


def test_the_worker_reads_what_the_bridge_wrote() -> None:
    array = build(IMAGE, mounts=[{"host_path": "/w", "container_path": "/work", "mode": "ro"}])
    assert (array.array, array.actor, array.sif) == ("token", "a1", "/images/x.sif")
    assert array.command == ["/bin/tool", "--fast"]
    assert array.workdir == "/data"
    assert [tuple(bind) for bind in array.binds] == [("/w", "/work", "ro")]
    assert (array.inline_log_bytes, array.time_limit_s) == (INLINE_BYTES, 3600)
    assert (array.memory_mib, array.ntasks, array.gpus) == (500, 4, True)
    assert (array.workers, array.slots) == (3, 1)


@pytest.mark.parametrize(
    "config", [None, {}, dict.fromkeys(IMAGE), {"Entrypoint": [], "Cmd": [], "WorkingDir": ""}]
)
def test_an_image_that_says_nothing(config: dict[str, Any] | None) -> None:
    array = build(config)
    assert (array.command, array.workdir) == ([], None)


def test_the_variables_that_all_messages_share() -> None:
    environment = build(
        IMAGE, name="tool", state={"n": 1}, default_environment={"A": "x", "_abaco_actor_id": "y"}
    ).environment
    assert environment["A"] == "x"
    assert environment["_abaco_actor_id"] == "a1"
    assert environment["_abaco_actor_dbid"] == "PHYSICS_a1"
    assert environment["_abaco_actor_name"] == "tool"
    assert build(IMAGE).environment["_abaco_actor_name"] == "None"


def test_what_its_messages_share_comes_with_a_chunk() -> None:
    state = {"quote": "'", "n": None}
    line = build_shared(Actor(state=state), {"key": "a'b"}, "a token")
    shared = parse_shared(line.encode())
    assert shared is not None
    assert ast.literal_eval(shared["_abaco_actor_state"]) == state
    assert ast.literal_eval(shared["_actor_configs"]) == {"key": "a'b"}
    assert shared["_abaco_access_token"] == "a token"
    found = parse_message(build_line(make_message(TEXT, b"hi")).encode(), shared)
    assert found.env.items() >= {**shared, "MSG": "hi"}.items()


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'{"id":"a"}', b'{"shared":1}', b'{"shared":{"A":1}}', b"[" * 10_000]
)
def test_a_line_of_another_kind_shares_nothing(line: bytes) -> None:
    assert parse_shared(line) is None


@pytest.mark.parametrize("state", [{}, {"n": 1}, None, "text", [1, 2], 0])
def test_a_stateful_actor_s_message_brings_the_state(state: object) -> None:
    execution = Execution(id="e1", executor="bob", actor_revision=3)
    line = json.loads(build_message(make_message(TEXT, b""), execution, "https://x", state))
    assert json.loads(line["state"]) == state
    assert "state" not in json.loads(build_line(make_message(TEXT, b"")))


def test_two_arrays_are_alike_when_a_message_may_go_to_either() -> None:
    other = Array(id="x", sif_path="/images/x.sif", username="alice", is_standing=True,
                  request=dict(REQUEST))  # fmt: skip
    assert fingerprint(other) == fingerprint()
    assert fingerprint(state={"n": 1}, max_workers=7, description="x") == fingerprint()


@pytest.mark.parametrize(
    "actor",
    [{"revision": 2}, {"stateless": False}, {"default_environment": {"A": "1"}}, {"name": "x"},
     {"image": "other"}, {"mounts": [{"host_path": "/a", "container_path": "/b", "mode": "ro"}]}],
    ids=str,
)  # fmt: skip
def test_what_a_change_of_the_actor_makes_of_it(actor: dict[str, Any]) -> None:
    assert fingerprint(**actor) != fingerprint()


@pytest.mark.parametrize(
    "array",
    [{"username": "bob"}, {"sif_path": "/images/y.sif"}, {"request": {**REQUEST, "gpus": 0}},
     {"request": {**REQUEST, "partition": "long"}}],
    ids=str,
)  # fmt: skip
def test_what_another_place_makes_of_it(array: dict[str, Any]) -> None:
    values = {"id": "x", "sif_path": "/images/x.sif", "username": "alice", "request": REQUEST}
    assert fingerprint(Array(**values | array)) != fingerprint()


@pytest.mark.parametrize(
    ("cluster", "is_standing", "hints", "expected_s"),
    [
        ({}, False, ["fast"], 90),
        ({}, True, [], 660),
        ({"idle_timeout_s": 0}, False, [], 0),
        ({"idle_timeout_s": 0}, False, ["fast", "sync"], 660),
        ({"sync_idle_timeout_s": 0}, False, ["sync"], 90),
    ],
)
def test_a_worker_waits_a_while_longer_than_the_bridge_lets_it(
    cluster: dict[str, Any], is_standing: bool, hints: list[str], expected_s: float
) -> None:
    array = Array(
        id="x", sif_path="/x", username="alice", is_standing=is_standing, request=REQUEST,
        task_count=1,
    )  # fmt: skip
    actor = Actor(
        id="a", tenant="T", image="i", default_environment={}, batch={"reuse": None}, hints=hints
    )
    site = CLUSTER.model_copy(update=cluster)
    document = json.loads(build_array_json(array, actor, Image(config={}), site, Limits(), []))
    assert document["idle_timeout_s"] == expected_s
    assert document["reuse"] == "image"


def make_message(
    content_type: str,
    payload: bytes,
    environment: dict[str, str] | None = None,
    size: int | None = None,
) -> Message:
    return Message(
        execution_id="e1",
        content_type=content_type,
        payload=payload,
        size=len(payload) if size is None else size,
        environment=environment or {},
    )


def build_line(message: Message, executor: str = "bob") -> str:
    execution = Execution(id=message.execution_id, executor=executor, actor_revision=3)
    return build_message(message, execution, "https://bridge.example.org/")


OURS = {
    "_abaco_api_server": "https://bridge.example.org",
    "_abaco_actor_revision": "3",
    "_abaco_username": "bob",
}


def test_the_variables_of_one_message() -> None:
    message = make_message(JSON, b"{}", {"A": "1", "x-nonce": "N"})
    line = build_line(message)
    assert parse_message(line.encode()).env == {
        "MSG": "{}",
        "A": "1",
        "x-nonce": "N",
        "_abaco_Content_Type": JSON,
        "_abaco_Content-Type": JSON,
        "_abaco_execution_id": "e1",
        **OURS,
    }
    cron = parse_message(build_line(message, executor="cron").encode()).env
    assert "_abaco_username" not in cron


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="=\0"), min_size=1, max_size=9)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(TEXTS, st.dictionaries(NAMES.filter(lambda name: name != "MSG"), TEXTS, max_size=3))
def test_a_text_comes_through(text: str, environment: dict[str, str]) -> None:
    line = build_line(make_message(TEXT, text.encode(), environment))
    assert "\n" not in line
    found = parse_message(line.encode())
    assert (found.id, found.problem, found.in_file) == ("e1", None, False)
    assert found.env.items() >= {**environment, "MSG": text}.items()


@given(st.binary())
def test_bytes_come_through(data: bytes) -> None:
    found = parse_message(build_line(make_message(BINARY, data)).encode())
    assert (found.data, found.problem) == (data, None)
    assert "MSG" not in found.env


@pytest.mark.parametrize(("size", "in_file"), [(INLINE_BYTES, False), (INLINE_BYTES + 1, True)])
def test_many_bytes_come_in_a_file(size: int, in_file: bool) -> None:
    message = make_message(BINARY, b"x" * size)
    assert parse_message(build_line(message).encode()).in_file is in_file
    assert needs_file(message) is in_file


def test_what_lies_in_parts_comes_in_a_file() -> None:
    message = make_message(BINARY, b"", size=5_000_000)
    assert parse_message(build_line(message).encode()).in_file


def test_a_json_message_is_a_text() -> None:
    message = make_message(JSON, b"{'a': 1}")
    assert parse_message(build_line(message).encode()).env["MSG"] == "{'a': 1}"


@pytest.mark.parametrize("number", [1, 42, 999_999])
def test_chunks_are_numbered(number: int) -> None:
    name = chunk_name(number)
    assert chunk_number(name) == number
    assert chunk_number(name.replace(".jsonl", ".3.1.jsonl")) == number
    assert chunk_owner(name.replace(".jsonl", ".3.1.jsonl")) == "3.1"


def test_chunks_are_in_their_order_by_name() -> None:
    names = [chunk_name(number) for number in range(1, 2000)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "x.jsonl",
        "1.jsonl",
        "0000001.jsonl",
        "-00001.jsonl",
        "\u0660" * 6,
        "\u00b2" * 6,
        ".000001",
    ],
)
def test_other_names_are_no_chunks(name: str) -> None:
    assert chunk_number(name) is None


@given(st.text())
def test_whatever_lies_in_a_user_s_directory(name: str) -> None:
    number = chunk_number(name)
    assert number is None or 0 <= number <= 999_999
    chunk_owner(name)
