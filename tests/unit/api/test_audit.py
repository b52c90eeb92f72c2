"""The audit trail of requests: what is in it, and what never is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.api import create_app
from bridge.api.audit import ACTIONS
from bridge.api.describe import description_of
from bridge.audit import Entry, write
from bridge.audit.allowance import Allowance
from bridge.db import Actor, AuditRecord, Database
from bridge.logs import JsonFormatter
from tests.unit.api.conftest import ADMIN, Caller

MARK = "zQ7mark"
PATH = "/actors"
# Operations that change something for the caller alone: they take a result, or look for something.
NO_CHANGES = {"get_execution_result"}


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Every line of the log, as it would be written."""
    found: list[str] = []
    formatter = JsonFormatter()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(formatter.format(record))

    handler, root = Keep(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel("DEBUG")
    yield found
    root.setLevel(level)
    root.removeHandler(handler)


def rows(database: Database) -> list[dict[str, Any]]:
    with database.read() as session:
        records = session.scalars(select(AuditRecord).order_by(AuditRecord.id)).all()
    names = [column.name for column in AuditRecord.__table__.columns]
    return [{name: getattr(record, name) for name in names} for record in records]


def told(lines: list[str]) -> list[dict[str, Any]]:
    return [line for text in lines if (line := json.loads(text))["logger"] == "bridge.audit"]


def make_actor(user: Caller, **fields: Any) -> str:
    actor_id: str = user.post(json={"image": "debian", **fields}).json["result"]["id"]
    return actor_id


def test_every_route_that_changes_something_is_recorded(app: Flask) -> None:
    changing = set()
    for rule in app.url_map.iter_rules():
        about = description_of(app.view_functions[rule.endpoint])
        if about is not None and (rule.methods or set()) & {"POST", "PUT", "DELETE"}:
            changing.add(about.operation)
    reading = {operation for operation in ACTIONS if operation.startswith("admin_")}
    assert changing == set(ACTIONS) - reading


def test_what_was_done_is_there_with_who_and_where(
    alice: Caller, database: Database, lines: list[str]
) -> None:
    response = alice.post(json={"image": "debian"}, headers={"X-Request-Id": "chosen-by-me"})
    [row] = rows(database)
    del row["id"]
    at = row.pop("at")
    assert row == {
        "tenant": "PHYSICS",
        "username": "alice",
        "via": "token",
        "action": "actor.create",
        "object": f"actor {response.json['result']['id']}",
        "detail": "",
        "remote": "127.0.0.1",
        "request_id": response.headers["X-Request-Id"],
        "result": "ok",
        "code": "",
    }
    assert row["request_id"] != "chosen-by-me"
    assert at.tzinfo is not None
    [line] = told(lines)
    assert {key: line[key] for key in row if row[key]} == {k: v for k, v in row.items() if v}


def test_each_change_says_what_it_was(alice: Caller, database: Database) -> None:
    actor = make_actor(alice)
    path = f"/{actor}"
    alice.post(f"{path}/permissions", json={"user": "bob", "level": "READ"})
    alice.post("/aliases", json={"alias": "model", "actor_id": actor})
    alice.post("/aliases/model/permissions", json={"user": "bob", "level": "READ"})
    alice.post(f"{path}/nonces", json={"max_uses": 3, "level": "READ"})
    nonce = alice.post("/aliases/model/nonces", json={}).json["result"]["id"]
    alice.delete(f"/aliases/model/nonces/{nonce}")
    config = {"name": "c", "value": "v", "is_secret": False, "actors": actor}
    alice.post("/configs", json=config)
    alice.put("/configs/c", json={**config, "value": "w"})
    alice.post("/configs/c/permissions", json={"user": "bob", "level": "READ"})
    alice.delete("/configs/c")
    alice.delete(f"{path}/messages")
    alice.put(path, json={"image": "debian", "stateless": True})
    alice.delete("/aliases/model")
    alice.delete(path)
    found = [(row["action"], row["object"], row["detail"]) for row in rows(database)]
    assert found == [
        ("actor.create", f"actor {actor}", ""),
        ("permission.set", f"actor {actor}", "READ for bob"),
        ("alias.create", "alias model", f"to actor {actor}"),
        ("permission.set", "alias model", "READ for bob"),
        ("nonce.create", f"actor {actor}", "READ, 3 uses"),
        ("nonce.create", "alias model", "EXECUTE, -1 uses"),
        ("nonce.delete", "alias model", ""),
        ("config.create", "config c", ""),
        ("config.update", "config c", ""),
        ("permission.set", "config c", "READ for bob"),
        ("config.delete", "config c", ""),
        ("message.purge", f"actor {actor}", ""),
        ("actor.update", f"actor {actor}", ""),
        ("alias.delete", "alias model", ""),
        ("actor.delete", f"actor {actor}", ""),
    ]
    assert {row["result"] for row in rows(database)} == {"ok"}


def test_messages_are_in_the_log_alone(alice: Caller, database: Database, lines: list[str]) -> None:
    actor = make_actor(alice)
    alice.post(f"/{actor}/messages", json={"message": "x"})
    alice.post(f"/{actor}/messages/batch", json=["x", "y"])
    assert [row["action"] for row in rows(database)] == ["actor.create"]
    posts = [line for line in told(lines) if line["action"] == "message.post"]
    assert [(post["object"], post["detail"]) for post in posts] == [
        (f"actor {actor}", "1 messages"),
        (f"actor {actor}", "2 messages"),
    ]


def test_reading_is_not_recorded_but_where_it_is_refused(
    alice: Caller, bob: Caller, database: Database
) -> None:
    actor = make_actor(alice)
    for path in ("", f"/{actor}", f"/{actor}/messages", "/nothing-of-the-kind"):
        alice.get(path)
    assert len(rows(database)) == 1
    bob.get(f"/{actor}/state")
    row = rows(database)[-1]
    assert (row["username"], row["action"], row["object"], row["result"], row["code"]) == (
        "bob", "read.get_state", f"actor {actor}", "refused", "PermissionDenied",
    )  # fmt: skip


def test_refusals_are_recorded_with_their_reason(
    alice: Caller, bob: Caller, app: Flask, database: Database
) -> None:
    actor = make_actor(alice)
    bob.delete(f"/{actor}")
    bob.post(f"/{actor}/messages", json={"message": "x"})
    alice.post(json={"no": "image"})
    stranger = Caller(app, "/actors", {"Authorization": "Bearer not.a.token"})
    stranger.post(f"/{actor}/messages", json={"message": "x"})
    stranger.get(f"/{actor}")
    found = [
        (row["username"], row["via"], row["action"], row["code"]) for row in rows(database)[1:]
    ]
    assert found == [
        ("bob", "token", "actor.delete", "PermissionDenied"),
        ("bob", "token", "message.post", "PermissionDenied"),
        ("alice", "token", "actor.create", "InvalidField"),
        ("", "none", "message.post", "AuthenticationError"),
        ("", "none", "read.get_actor", "AuthenticationError"),
    ]


def test_a_change_and_its_record_are_both_there_or_neither(
    alice: Caller, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session, entry: Entry) -> None:
        if entry.result == "ok":
            raise RuntimeError("the record cannot be written")
        write(session, entry)

    monkeypatch.setattr("bridge.api.audit.write", fail)
    assert alice.post(json={"image": "debian"}).status_code == 500
    with database.read() as session:
        assert session.scalars(select(Actor)).all() == []
    [row] = rows(database)
    assert (row["result"], row["code"]) == ("failed", "RuntimeError")


def test_a_nonce_stands_for_its_owner(
    alice: Caller, app: Flask, database: Database, lines: list[str]
) -> None:
    actor = make_actor(alice)
    nonce = alice.post(f"/{actor}/nonces", json={"level": "UPDATE"}).json["result"]["id"]
    anybody = Caller(app, "/actors", {})
    anybody.post(f"/{actor}/permissions?x-nonce={nonce}", json={"user": "bob", "level": "READ"})
    anybody.get(f"/aliases/{nonce}")  # in a wrong place
    alice.delete(f"/{actor}/nonces/{nonce}")
    used = rows(database)[2]
    assert (used["username"], used["via"], used["action"]) == ("alice", "nonce", "permission.set")
    assert nonce not in str(rows(database)) + str(lines)


def test_an_admin_s_looks_at_others_things_are_recorded(admin: Caller, database: Database) -> None:
    admin.get("/admin")
    [row] = rows(database)
    assert (row["username"], row["action"]) == ("root_admin", "admin.list")


def test_refusals_beyond_what_is_allowed_are_in_the_log_alone(
    app: Flask, database: Database, lines: list[str]
) -> None:
    few = Allowance(burst=3, read_s=lambda: 0.0)
    app.extensions["bridge"] = replace(app.extensions["bridge"], refusals=few)
    stranger = Caller(app, "/actors", {})
    for _ in range(5):
        stranger.get()
    assert len(rows(database)) == 3
    assert len(told(lines)) == 5


def test_an_allowance_comes_back_with_time() -> None:
    now = [0.0]
    allowance = Allowance(burst=2, rate=0.5, read_s=lambda: now[0])
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now[0] += 1.9
    assert not allowance.take()
    now[0] += 0.1
    assert allowance.take()
    now[0] += 1000
    assert [allowance.take() for _ in range(3)] == [True, True, False]


def test_behind_a_trusted_proxy_the_client_counts(
    site: Any, database: Database, clock: Any, waits: Any, alice: Caller
) -> None:
    changed = type(site).model_validate({**site.model_dump(), "trusted_proxies": ["127.0.0.0/8"]})
    app = create_app(changed, database, clock, waits)
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "proxy-made-1"}
    response = Caller(app, "/actors", alice.headers).post(json={"image": "x"}, headers=headers)
    assert response.headers["X-Request-Id"] == "proxy-made-1"
    [row] = rows(database)
    assert (row["remote"], row["request_id"]) == ("203.0.113.9", "proxy-made-1")


class TestSecrets:
    def test_are_in_no_row_and_no_line(
        self,
        app: Flask,
        caller: Callable[..., Caller],
        database: Database,
        lines: list[str],
    ) -> None:
        """Marks in every body, query, header and secret, by every route, meant well or not."""
        user = caller("alice", ADMIN)
        actor = make_actor(
            user,
            default_environment={"KEY": MARK},
            webhook=f"https://u:{MARK}@hooks.example.org/{MARK}",
            description=MARK,
        )
        user.post("/aliases", json={"alias": "model", "actor_id": actor})
        for is_secret in (True, False):
            name = f"c{is_secret}"
            body = {"name": name, "value": MARK, "is_secret": is_secret, "actors": actor}
            assert user.post("/configs", json=body).status_code == 200
        nonce = user.post(f"/{actor}/nonces", json={"level": "UPDATE"}).json["result"]["id"]
        message = user.post(f"/{actor}/messages?KEY={MARK}", json={"message": MARK})
        known = {
            "actor_id": actor,
            "alias": "model",
            "name": "cTrue",
            "registry": "registry.example.org:5000",
            "nonce_id": nonce,
            "execution_id": message.json["result"]["execution_id"],
        }
        token = user.headers["Authorization"].removeprefix("Bearer ")
        anybody = Caller(app, PATH, {})
        strange = Caller(app, PATH, {"Authorization": f"Bearer {MARK}.{MARK}.{MARK}"})
        for method, path in _routes(app, known):
            for who in (user, anybody, strange):
                _send_marks(who, method, path)
            anybody(method, f"{path}?x-nonce={nonce}", json={"user": MARK, "level": MARK})
            anybody(method, f"{path}?x-nonce=PHYSICS_{MARK}")
        found = str(rows(database)) + "\n".join(lines)
        assert len(rows(database)) > 50
        for secret in (MARK, nonce, token, token.rpartition(".")[2]):
            assert secret not in found


def _routes(app: Flask, known: dict[str, str]) -> list[tuple[str, str]]:
    """Return every route with real names in its URL, deletions last."""
    found = []
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(PATH):
            continue
        words = {name: known.get(name, "unknown") for name in rule.arguments}
        _, path = rule.build(words) or ("", rule.rule)
        found += [
            (method, path.removeprefix(PATH))
            for method in (rule.methods or set()) & {"GET", "POST", "PUT", "DELETE"}
        ]
    return sorted(found, key=lambda one: (one[0] == "DELETE", -one[1].count("/"), one))


def _send_marks(who: Caller, method: str, path: str) -> None:
    headers = {
        "Idempotency-Key": MARK,
        "X-Forwarded-For": MARK,
        "X-Request-Id": f"{MARK}-1234",
        "X-Tapis-Hash": MARK,
    }
    body = {
        "message": MARK, "image": MARK, "name": MARK, "value": MARK, "actors": MARK, "alias": MARK,
        "actor_id": MARK, "username": MARK, "password": MARK, "user": f"{MARK} x", "level": MARK,
        "description": MARK, MARK: MARK,
    }  # fmt: skip
    where = f"{path}?A={MARK}&message={MARK}"
    who(method, where, json=body, headers=headers)
    who(method, where, data=f'{{"broken {MARK}', headers={**headers, "Content-Type": "text/json"})
    binary = {**headers, "Content-Type": "application/octet-stream"}
    who(method, path, data=MARK.encode(), headers=binary)
    who(method, where, json=[MARK, {"message": MARK, "environment": {"A": MARK}}], headers=headers)
