"""Hostile names, values and paths at the API: refused clearly or kept as they are, never a failure.

What each attack is answered with is in tests/attacks.md.
"""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from bridge.db import Database, Message
from bridge.logs import JsonFormatter
from tests.hostile import NAMES, OWNERS_NAMES, VALUES
from tests.unit.api.conftest import Caller

IMAGE = {"image": "registry.example.org/tool:1"}
UNSTORABLE = ["a\0b", "\0", "\ud800", "\udcff"]
# Fields of an actor's description that take words.
FIELDS = [
    "name", "description", "queue", "link", "webhook", "cron_schedule", "type", "mem_limit",
    "stateless", "token", "max_workers", "hints", "log_ex", "use_container_uid",
    "default_environment", "batch",
]  # fmt: skip
# ... any word: a webhook's is judged when it is posted to.
FREE = ("name", "description", "webhook", "stateless", "token", "hints")
BATCH = [
    "partition",
    "account",
    "qos",
    "constraint",
    "reuse",
    "time_limit",
    "memory",
    "cpus",
    "nodes",
]


WORDS = {**VALUES, **{repr(text): text for text in UNSTORABLE}}


@pytest.fixture
def actor(alice: Caller) -> str:
    actor_id: str = alice.post(json={**IMAGE, "name": "victim"}).json["result"]["id"]  # type: ignore[index]
    return actor_id


def refused(answer: TestResponse, *statuses: int) -> str:
    """Return the sentence of a refusal in Abaco's envelope."""
    assert answer.status_code in (statuses or (400,)), answer.text
    document = answer.json
    assert document is not None
    assert set(document) == {"message", "status", "version", "result"}
    assert document["status"] == "error"
    return str(document["message"])


def answered(answer: TestResponse) -> bool:
    """Whether it was taken; a refusal in the envelope is the other thing it may be."""
    if answer.status_code != 200:
        refused(answer, 400, 403, 404, 405, 409, 413)
    return answer.status_code == 200


def messages(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Message)) or 0


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_message_may_set(
    alice: Caller, actor: str, database: Database, name: str
) -> None:
    path = f"/{actor}/messages"
    refused(alice.post(f"{path}?{quote(name, safe='')}=x", data={"message": "m"}))
    item = {"message": "m", "environment": {name: "x"}}
    refused(alice.post(f"{path}/batch", json=[item]))
    assert messages(database) == 0


@pytest.mark.parametrize("name", OWNERS_NAMES)
def test_a_name_that_no_actor_may_set(alice: Caller, actor: str, name: str) -> None:
    body = {**IMAGE, "default_environment": {name: "x"}}
    refused(alice.post(json=body))
    refused(alice.put(f"/{actor}", json=body))


@pytest.mark.parametrize("text", UNSTORABLE)
def test_what_no_variable_can_hold(
    alice: Caller, actor: str, database: Database, text: str
) -> None:
    refused(alice.post(json={**IMAGE, "default_environment": {"A": text}}))
    refused(alice.post(f"/{actor}/messages", json={"message": text}))
    answered(alice.post(f"/{actor}/messages", json={"deep": [{text: None}]}))  # as its repr
    refused(
        alice.post(f"/{actor}/messages/batch", json=[{"message": "m", "environment": {"A": text}}])
    )
    assert messages(database) <= 1


@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)
def test_a_hostile_word_in_each_field(alice: Caller, actor: str, text: str) -> None:
    for field in FIELDS:
        if answered(alice.post(json={**IMAGE, field: text})):
            assert field in FREE or not text, field
    for key in BATCH:
        assert key in refused(alice.post(json={**IMAGE, "batch": {key: text}}))
    refused(alice.post(json={"image": text}))
    for image in (f"registry.example.org/tool:{text}x", f"registry.example.org/{text}/tool"):
        if text:
            refused(alice.post(json={"image": image}))
    refused(alice.post(f"/{actor}/permissions", json={"user": "bob", "level": text}))
    refused(alice.post(f"/{actor}/nonces", json={"level": text}))
    answered(alice.post(f"/{actor}/permissions", json={"user": text, "level": "READ"}))
    answered(alice.post(f"/{actor}/state", json={"s": text}))
    answered(
        alice.post(
            "/configs", json={"name": text, "value": text, "is_secret": False, "actors": actor}
        )
    )
    if answered(alice.post("/aliases", json={"alias": text, "actor_id": actor})):
        shown = alice.get(f"/aliases/{quote(text, safe='')}")
        assert shown.json["result"]["alias"] == text  # type: ignore[index]


@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)
def test_a_hostile_word_in_each_place_of_a_url(alice: Caller, actor: str, text: str) -> None:
    word = quote(text.encode("utf-8", "surrogatepass"), safe="")[:4000]
    for path in (
        f"/{word}", f"/{word}/messages", f"/{actor}/{word}", f"/{actor}/executions/{word}",
        f"/{actor}/executions/{word}/logs", f"/{actor}/executions/{word}/results",
        f"/{actor}/workers/{word}", f"/{actor}/nonces/{word}", f"/aliases/{word}",
        f"/configs/{word}", f"/search/{word}", f"?{word}={word}", f"?name={word}&limit=1",
        f"?limit={word}", f"/{actor}?x-nonce={word}", f"/search/actors?search={word}",
        f"/search/actors?name.like={word}", f"/search/actors?{word}.eq={word}",
    ):  # fmt: skip
        answer = alice.get(path)
        answered(answer)
        assert answer.headers["Content-Type"] == "application/json"
        assert "\n" not in str(answer.headers).replace("\r\n", "")


@pytest.mark.parametrize(
    "word",
    [
        "..", "%2e%2e", "%2e%2e%2f%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "a%00b", "a%2fb",
        "%252e%252e", "..;", "%5c..%5c", "%c0%ae%c0%ae", "%ff%fe", "a%0d%0aX-Injected: 1",
        "%u002e", ";/x", "@", "~root",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere(alice: Caller, actor: str, word: str) -> None:
    for path in (f"/{word}", f"/{actor}/{word}", f"/{actor}/executions/{word}", f"/aliases/{word}",
                 f"/{word}/{actor}", f"/docs/{word}"):  # fmt: skip
        answer = alice.get(path)
        assert answer.status_code in (400, 404, 405), path
        assert "X-Injected" not in answer.headers


@pytest.mark.parametrize("depth", [100, 500, 900, 990, 5000, 200_000])
@pytest.mark.parametrize("kind", ["[", '{"a":'])
def test_json_without_an_end_of_depth(alice: Caller, actor: str, depth: int, kind: str) -> None:
    deep = kind * depth + "1" + ("]" if kind == "[" else "}") * depth
    headers = {"Content-Type": "application/json"}
    for path, body in (
        (f"/{actor}/messages", deep),
        (f"/{actor}/messages", f'{{"message": {deep}}}'),
        (f"/{actor}/messages/batch", f"[{deep}]"),
        (f"/{actor}/messages/batch", f'[{{"message": {deep}}}]'),
        (f"/{actor}/state", f'{{"s": {deep}}}'),
        ("", f'{{"image": "a", "default_environment": {deep}}}'),
        ("", f'{{"image": "a", "hints": {deep}}}'),
        ("", f'{{"image": "a", "description": {deep}}}'),
        ("/aliases", f'{{"alias": "x{depth}", "actor_id": {deep}}}'),
    ):
        answered(alice.post(path, data=body, headers=headers))


@pytest.mark.parametrize("number", ["1" * 5000, "-1", "1e400", "NaN", "Infinity", "1.5", "9" * 19])
def test_numbers_beyond_every_column(alice: Caller, actor: str, number: str) -> None:
    headers = {"Content-Type": "application/json"}
    for field in ("max_workers", "log_ex", "max_cpus", "mem_limit", "state", "name", "uid", "gid"):
        answered(alice.post(data=f'{{"image": "a", "{field}": {number}}}', headers=headers))
    answered(alice.post(f"/{actor}/messages", data=f'{{"x": {number}}}', headers=headers))
    answered(alice.post(f"/{actor}/state", data=f'{{"x": {number}}}', headers=headers))
    body = f'{{"level": "READ", "max_uses": {number}}}'
    answered(alice.post(f"/{actor}/nonces", data=body, headers=headers))
    for query in (f"limit={number}", f"skip={number}", f"create_time.gt={number}"):
        answered(alice.get(f"?{query}"))


def test_what_a_user_wrote_stays_in_its_line_of_the_log() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "said %s", ("a\nb\r\u2028",), None)
    record.facts = {"path": '/x\n{"level": "error"}\x1b[2J\u2029\x85'}
    line = JsonFormatter().format(record)
    assert line.isprintable()
    assert json.loads(line)["path"] == record.facts["path"]
