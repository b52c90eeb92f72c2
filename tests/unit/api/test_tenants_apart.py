"""What another tenant has does not exist: every route answers so, and changes nothing.

The routes are those that the application has, so that none is forgotten. Each is asked twice with a
good token of another tenant: about what there is, and about what there is not.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from bridge.api.describe import description_of
from bridge.api.openapi import described_routes
from bridge.core.ids import new_id
from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Base, Log, RegistryLogin, Result
from bridge.node.names import worker_id
from bridge.services.search import NAMES
from tests.factories.rows import (
    START,
    add_account,
    add_actor,
    add_alias,
    add_array,
    add_config,
    add_execution,
    add_nonce,
    add_permission,
    add_worker,
)
from tests.unit.api.conftest import ADMIN, EVERYONE, Caller

WORLD = "ABACO_WORLD"
# What each operation that takes a body is sent: enough to be done, were it one's own.
BODIES = {
    "update_actor": {"image": "debian"},
    "update_actor_alias": {"actor_id": "ACTOR"},
    "update_config": {"name": "a-config", "value": "x", "actors": "ACTOR"},
    "add_execution": {"cpu": 1, "io": 1, "runtime": 1},
    "send_message": {"message": "hello"},
    "send_message_batch": {"messages": [{"message": "hello"}]},
    "create_nonce": {"level": "READ"},
    "create_alias_nonce": {"level": "READ"},
    "update_permissions": {"user": "carol", "level": "UPDATE"},
    "update_alias_permissions": {"user": "carol", "level": "UPDATE"},
    "update_config_permissions": {"user": "carol", "level": "UPDATE"},
    "update_state": {"a": 1},
    "manage_worker_pool_size": {"num": 1},
}

# What is named here is the caller's own, whoever else has one of the name.
MAKE_OWN = {"put_registry_login"}


@pytest.fixture
def things(database):
    """Everything that PHYSICS has, by the name of the variable that stands for it in a route."""
    with database.begin() as session:
        actor = add_actor(session, name="secret-name")
        add_permission(session, actor, "carol", Level.UPDATE)  # of PHYSICS, who is another
        add_permission(session, actor, WORLD, Level.UPDATE)
        alias = add_alias(session, actor, "secret-alias")
        config = add_config(session, "secret-config", actor, value="secret-value")
        array = add_array(session, actor)
        worker = add_worker(session, array, id=worker_id(array.id, "0.0"))
        execution = add_execution(
            session, actor, status=ExecutionStatus.COMPLETE, finish_time=START, start_time=START,
            array_id=array.id, worker_id=worker.id, chunk=1,
        )  # fmt: skip
        later = START + timedelta(days=1)
        session.add(Log(execution_id=execution.id, text="secret-log", expires_at=later))
        session.add(
            Result(execution_id=execution.id, number=0, payload=b"secret-result", expires_at=later)
        )
        for username in ("alice", "carol"):
            login = RegistryLogin(
                tenant="PHYSICS", username=username, host="secret-registry", login="secret-login",
                password="ciphertext", create_time=START, last_update_time=START,
            )  # fmt: skip
            session.add(login)
        add_account(session, "carol", tenant="BIOLOGY", uid=2003, gid=2003)
        return {
            "actor_id": actor.id,
            "alias": alias.alias,
            "name": config.name,
            "execution_id": execution.id,
            "worker_id": worker.id,
            "registry": login.host,
            "nonce_id": add_nonce(session, actor, level=Level.UPDATE).id,
            "alias_nonce_id": add_nonce(session, alias, level=Level.UPDATE).id,
        }


@pytest.fixture
def ghosts(things):
    """The same in form, of which nothing is there."""
    ghosts = {name: new_id() for name in things}
    ghosts |= {name: f"PHYSICS_{new_id()}" for name in ("nonce_id", "alias_nonce_id")}
    return ghosts | {"alias": "no-alias", "name": "no-config", "registry": "no-registry"}


def routes(app):
    """Every route that names something, with its method and the name of its operation."""
    for rule, method, _ in described_routes(app):
        about = description_of(app.view_functions[rule.endpoint])
        is_of_a_thing = rule.arguments and "search_type" not in rule.arguments
        if is_of_a_thing and not about.is_public and about.operation not in MAKE_OWN:
            yield rule.rule, method, about.operation


def fill(rule, things):
    """Return the route's path with the things in it; an alias has nonces of its own."""
    path = rule.removeprefix("/actors")
    if "/aliases/" in path:
        path = path.replace("<nonce_id>", things["alias_nonce_id"])
    for name, thing in things.items():
        path = path.replace(f"<{name}>", thing)
    assert "<" not in path, f"{rule}: a variable of which this test has none"
    return path


def send(caller, method, path, operation, things):
    body = BODIES.get(operation)
    if body is None:
        return caller(method, path)
    return caller(
        method, path, json=json.loads(json.dumps(body).replace("ACTOR", things["actor_id"]))
    )


def told(response, things):
    """Return what an answer says, with the same words for things and ghosts."""
    text = response.get_data(as_text=True)
    for name, thing in things.items():
        text = text.replace(thing, name)
    return response.status_code, response.content_type, text


def rows_of(database):
    """Return all that there is, but for the record of who asked for what."""
    with database.read() as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table)).all()))
            for table in Base.metadata.sorted_tables
            if table.name != "audit"
        }


@pytest.mark.parametrize("roles", [(EVERYONE,), (ADMIN,)], ids=["user", "admin"])
def test_another_tenants_things_do_not_exist(app, caller, database, things, ghosts, roles):
    carol = caller("carol", *roles, tenant="BIOLOGY")
    before = rows_of(database)
    for rule, method, operation in routes(app):
        real, ghost = (
            told(send(carol, method, fill(rule, which), operation, which), which)
            for which in (things, ghosts)
        )
        assert real == ghost, f"{method} {rule}"
        # Deleting what is not there is no mistake of an admin's (abaco_contract.md 3.2).
        is_nothing = operation == "delete_actor" and roles == (ADMIN,)
        assert is_nothing or 400 <= real[0] < 500, f"{method} {rule}: {real}"
    assert rows_of(database) == before


def test_an_alias_leads_nobody_else_there(app, caller, database, things, ghosts):
    carol = caller("carol", tenant="BIOLOGY")
    before = rows_of(database)
    for which in (things, ghosts):
        which["actor_id"] = which["alias"]
    for rule, method, operation in routes(app):
        real, ghost = (
            told(send(carol, method, fill(rule, which), operation, which), which)
            for which in (things, ghosts)
        )
        assert real == ghost, f"{method} {rule}"
        assert real[0] >= 400
    assert rows_of(database) == before


def test_another_tenants_token_does_not_make_a_nonce_good(app, caller, database, things, ghosts):
    """With a token the nonce is not looked at; the nonce of one thing is none of another's."""
    carol = caller("carol", tenant="BIOLOGY")
    nonce = f"?x-nonce={things['nonce_id']}"
    before = rows_of(database)
    real, ghost = (
        told(carol.get(f"/{which['actor_id']}{nonce}"), which) for which in (things, ghosts)
    )
    assert real == ghost
    anyone = Caller(app, "/actors", {})
    with database.begin() as session:
        biology = add_actor(session, tenant="BIOLOGY", owner="carol").id
    answer = anyone.get(f"/{biology}{nonce}")
    assert (answer.status_code, answer.json["message"]) == (400, "Nonce does not exist.")
    after = rows_of(database)
    assert after["nonces"] == before["nonces"]


def test_the_owner_finds_them_all(app, alice, things):
    """Otherwise the above would be true of anything."""
    for rule, method, operation in routes(app):
        if method == "GET":
            answer = send(alice, method, fill(rule, things), operation, things)
            assert answer.status_code == 200, f"{method} {rule}: {answer.json}"


def test_every_operation_with_a_body_is_sent_one(app):
    taking = {operation for rule, method, operation in routes(app) if method in ("POST", "PUT")}
    assert taking == set(BODIES)


SEARCHES = ["?name=secret-name", "/search/logs?search=secret-log", "/aliases?limit=10"]


def lists(app):
    """Every path that names nothing, the searches among them."""
    for rule, method, about in described_routes(app):
        if method == "GET" and not about.is_public and rule.rule.startswith("/actors"):
            if rule.arguments == {"search_type"}:
                yield from (f"/search/{name}" for name in NAMES)
            elif not rule.arguments:
                yield rule.rule.removeprefix("/actors")


@pytest.mark.parametrize("roles", [(EVERYONE,), (ADMIN,)], ids=["user", "admin"])
def test_lists_and_searches_have_nothing_of_them(app, caller, things, roles):
    carol = caller("carol", *roles, tenant="BIOLOGY")
    owner = caller("alice", *roles)
    found = set()
    for path in [*lists(app), *SEARCHES]:
        answer, own = carol.get(path), owner.get(path)
        assert answer.status_code == own.status_code
        for thing in (*things.values(), "secret-", "alice"):
            assert thing not in answer.get_data(as_text=True), path
            found |= {thing} if thing in own.get_data(as_text=True) else set()
    assert found >= {things["actor_id"], things["execution_id"], "secret-", "secret-alias"}


def test_nothing_new_refers_to_them(caller, database, things, ghosts):
    carol = caller("carol", tenant="BIOLOGY")
    before = rows_of(database)

    def requests(of):
        yield "/aliases", {"alias": "mine", "actor_id": of["actor_id"]}
        for word in (of["actor_id"], of["alias"]):
            yield "", {"image": "debian", "link": word}
            yield "/configs", {"name": "mine", "value": "x", "is_secret": False, "actors": word}

    for (path, real), (_, ghost) in zip(requests(things), requests(ghosts), strict=True):
        answers = [
            told(carol.post(path, json=body), which)
            for body, which in ((real, things), (ghost, ghosts))
        ]
        assert answers[0] == answers[1], path
        assert answers[0][0] >= 400, answers[0]
    assert rows_of(database) == before


def test_a_config_of_the_same_name_is_ones_own(caller, things):
    carol, alice = caller("carol", tenant="BIOLOGY"), caller("alice")
    body = {"name": "secret-config", "value": "hers", "is_secret": False, "actors": ""}
    carol.post("/configs", json=body)
    assert alice.get("/configs/secret-config").json["result"]["value"] == "secret-value"
    carol.delete("/configs/secret-config")
    assert alice.get("/configs/secret-config").json["result"]["value"] == "secret-value"


def test_a_login_of_the_same_registry_is_ones_own(caller, database, things):
    carol, before = caller("carol", tenant="BIOLOGY"), rows_of(database)["registry_logins"]
    body = {"username": "x", "password": "y"}
    assert carol.put("/registries/secret-registry", json=body).status_code == 200
    assert set(rows_of(database)["registry_logins"]) > set(before)
    carol.delete("/registries/secret-registry")
    assert rows_of(database)["registry_logins"] == before
