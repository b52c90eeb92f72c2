"""``.../permissions`` of actors, aliases and configs: contract 2.4, 3.9."""

from __future__ import annotations

import pytest

from bridge.core.statuses import Level
from bridge.services.permissions import MAX_ENTRIES
from tests.factories.rows import (
    add_actor,
    add_alias,
    add_alias_permission,
    add_config,
    add_permission,
)

PREFIXES = ("/actors/v2", "/v3/actors")
KINDS = ("actor", "alias", "config")
DENIED = {
    "actor": "Not authorized -- you do not have access to this actor.",
    "alias": "Not authorized -- you do not have access to this alias.",
    "config": "You do not have sufficient access to this actor config.",
}


@pytest.fixture
def actor(database):
    with database.begin() as session:
        return add_actor(session)


@pytest.fixture
def paths(database, actor):
    """The URL of the permissions of a thing of each kind; all are alice's."""
    with database.begin() as session:
        add_alias(session, actor, "prod-1")
        add_config(session, "key", actor)
    return {
        "actor": f"/{actor.id}/permissions",
        "alias": "/aliases/prod-1/permissions",
        "config": "/configs/key/permissions",
    }


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def path(paths, kind):
    return paths[kind]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_permission_is_added_and_replaced(caller, path, prefix):
    alice = caller("alice", prefix=prefix)
    added = alice.post(path, json={"user": "test_user", "level": "READ"})
    assert added.status_code == 200
    assert added.json["message"] == "Permission added successfully."
    # In camelCase too a user's name is a name.
    assert added.json["result"] == {"alice": "UPDATE", "test_user": "READ"}
    changed = alice.post(path, data={"user": "test_user", "level": "NONE"})
    assert changed.json["result"] == {"alice": "UPDATE", "test_user": "NONE"}
    shown = alice.get(path)
    assert shown.json["message"] == "Permissions retrieved successfully."
    assert shown.json["result"] == changed.json["result"]


@pytest.mark.parametrize("user", ["a.b.c", "$alice", "ABACO_WORLD", "ü", "x" * 64, "a b"])
def test_names_that_broke_abaco_are_names(alice, path, user):
    assert alice.post(path, json={"user": user, "level": "READ"}).json["result"][user] == "READ"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("user", ["x" * 65, "", "a\0b", "a\nb", "\ud800"])
def test_a_name_that_no_user_can_have_is_a_400(caller, path, prefix, user):
    alice = caller("alice", prefix=prefix)
    response = alice.post(path, json={"user": user, "level": "READ"})
    assert response.status_code == 400
    assert response.json["message"].startswith("Invalid permissions description: {'user': ")
    assert alice.get(path).json["result"] == {"alice": "UPDATE"}


@pytest.mark.parametrize("level", ["WRITE", "read", "", "2", "UPDATE "])
def test_a_level_that_is_none_is_a_400_and_changes_nothing(alice, path, level):
    response = alice.post(path, data={"user": "alice", "level": level})
    assert response.status_code == 400
    assert response.json["message"].startswith(f"Invalid permission level: {level}.")
    assert alice.get(path).json["result"] == {"alice": "UPDATE"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "{'user': "),
        ({"level": "READ"}, "{'user': "),
        ({"user": "bob"}, "{'level': "),
        ({"user": "bob", "level": None}, "{'level': "),
        ({"user": None, "level": "READ"}, "{'user': "),
    ],
)
def test_a_missing_field_is_a_400_that_names_it(alice, path, body, word):
    response = alice.post(path, json=body)
    assert response.status_code == 400
    assert response.json["message"].startswith(f"Invalid permissions description: {word}")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_reading_needs_read_and_writing_needs_update(caller, path, kind, prefix):
    alice, bob = caller("alice", prefix=prefix), caller("bob", prefix=prefix)
    for level, may_read, may_write in (
        (None, False, False),
        ("NONE", False, False),
        ("READ", True, False),
        ("EXECUTE", True, False),
        ("UPDATE", True, True),
    ):
        if level:
            alice.post(path, json={"user": "bob", "level": level})
        body = {"user": "carol", "level": "READ"}
        for response, is_allowed in (
            (bob.get(path), may_read),
            (bob.post(path, json=body), may_write),
        ):
            assert response.status_code == (200 if is_allowed else 400), level
            if not is_allowed:
                assert response.json["message"] == DENIED[kind]


@pytest.mark.parametrize("level", ["NONE", "READ", "EXECUTE", "UPDATE"])
def test_the_world_has_the_stated_level_and_no_more(alice, bob, path, level):
    alice.post(path, json={"user": "ABACO_WORLD", "level": level})
    assert bob.get(path).status_code == (400 if level == "NONE" else 200)
    written = bob.post(path, json={"user": "bob", "level": "UPDATE"})
    assert written.status_code == (200 if level == "UPDATE" else 400)


def test_ones_own_last_update_can_be_given_up_and_an_admin_gives_it_back(alice, admin, path):
    assert alice.post(path, json={"user": "alice", "level": "NONE"}).status_code == 200
    assert alice.get(path).status_code == 400
    assert admin.post(path, json={"user": "alice", "level": "UPDATE"}).json["result"] == {
        "alice": "UPDATE"
    }
    assert alice.get(path).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_other_methods_are_405(caller, path, method, prefix):
    assert caller("alice", prefix=prefix)(method, path).status_code == 405


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nobody/permissions", "No actor found with id: nobody."),
        ("/aliases/nobody/permissions", "No alias found: nobody."),
        ("/configs/nobody/permissions", "No config found: nobody."),
    ],
)
def test_what_is_not_there_is_a_404_for_an_admin_too(caller, prefix, path, words):
    for user in (caller("alice", prefix=prefix), caller("root", "Internal/abaco-admin")):
        body = {"user": "bob", "level": "READ"}
        for response in (user.get(path), user.post(path, json=body)):
            assert response.status_code == 404
            assert response.json["message"] == words


def test_another_tenants_things_do_not_exist(caller, path):
    stranger = caller("alice", "Internal/abaco-admin", tenant="BIOLOGY")
    assert stranger.get(path).status_code == 404
    assert stranger.post(path, json={"user": "alice", "level": "UPDATE"}).status_code == 404


def test_an_actor_may_be_addressed_by_its_alias(alice, paths, actor):
    alice.post("/prod-1/permissions", json={"user": "bob", "level": "READ"})
    assert alice.get(paths["actor"]).json["result"] == {"alice": "UPDATE", "bob": "READ"}
    assert alice.get(paths["alias"]).json["result"] == {"alice": "UPDATE"}


def test_rights_on_an_alias_and_on_its_actor_are_apart(bob, database, actor):
    with database.begin() as session:
        add_alias_permission(session, add_alias(session, actor, "mine"), "bob", Level.UPDATE)
    assert bob.get("/aliases/mine/permissions").status_code == 200
    assert bob.get("/mine").status_code == 400
    assert bob.get("/mine/permissions").json["message"] == DENIED["actor"]
    with database.begin() as session:
        add_permission(session, actor, "bob", Level.UPDATE)
        add_alias(session, actor, "not-mine")
    assert bob.get("/mine").status_code == 200
    assert bob.get("/aliases/not-mine/permissions").status_code == 400


def test_there_is_a_bound(alice, database, actor):
    with database.begin() as session:
        for number in range(MAX_ENTRIES - 1):
            add_permission(session, actor, f"u{number}", Level.READ)
    path = f"/{actor.id}/permissions"
    assert alice.post(path, json={"user": "one-more", "level": "READ"}).status_code == 429
    assert alice.post(path, json={"user": "u1", "level": "NONE"}).status_code == 200
