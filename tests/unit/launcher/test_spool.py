"""What the bridge writes is what the worker reads: both sides' own code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.messages import BINARY, JSON, TEXT
from bridge.db import Actor, Array, Execution, Image, Message
from bridge.launcher import build_array_json, build_message
from bridge.launcher.spool import INLINE_BYTES, chunk_name, chunk_number, chunk_owner, needs_file
from bridge.node.messages import parse_message
from bridge.node.spool import parse_array
from bridge.sites import Cluster, Limits

IMAGE = {"Entrypoint": ["/bin/tool"], "Cmd": ["--fast"], "WorkingDir": "/data", "Env": ["A=1"]}


def build(config: dict[str, Any] | None, **actor: Any) -> Any:
    values: dict[str, Any] = {
        "id": "a1", "tenant": "PHYSICS", "image": "debian", "name": None, "state": {},
        "default_environment": {}, "mounts": [],
    }  # fmt: skip
    document = build_array_json(
        Array(id="token", sif_path="/images/x.sif", request={"time_limit_s": 3600}),
        Actor(**values | actor),
        Image(config=config),
        Cluster(spool="/scratch/{username}", image_cache="/images"),  # type: ignore[arg-type]
        Limits(),
    )
    return parse_array(json.loads(document))


def test_the_worker_reads_what_the_bridge_wrote() -> None:
    array = build(IMAGE, mounts=[{"host_path": "/w", "container_path": "/work", "mode": "ro"}])
    assert (array.array, array.actor, array.sif) == ("token", "a1", "/images/x.sif")
    assert array.command == ["/bin/tool", "--fast"]
    assert array.workdir == "/data"
    assert [tuple(bind) for bind in array.binds] == [("/w", "/work", "ro")]
    assert (array.inline_log_bytes, array.time_limit_s) == (INLINE_BYTES, 3600)


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
    assert environment["_abaco_actor_state"] == "{'n': 1}"
    assert build(IMAGE).environment["_abaco_actor_name"] == "None"


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
