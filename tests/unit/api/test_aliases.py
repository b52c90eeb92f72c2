"""``/actors/aliases``: contract 3.11."""

from __future__ import annotations

import pytest

from bridge.core.names import RESERVED_ALIASES
from bridge.core.statuses import Level
from bridge.db import Alias, AliasPermission, ConfigTarget, Nonce
from bridge.services.aliases import MAX_PER_ACTOR
from tests.factories.rows import (
    add_actor,
    add_alias,
    add_alias_permission,
    add_config,
    add_nonce,
    add_permission,
)
from tests.unit.api.conftest import ADMIN

PREFIXES = ("/actors/v2", "/v3/actors")
ROOT = "https://bridge.example.org"


@pytest.fixture
def actor(database):
    with database.begin() as session:
        return add_actor(session)


@pytest.fixture
def alias(database, actor):
    with database.begin() as session:
        return add_alias(session, actor, "prod-1")


@pytest.mark.parametrize(
    ("prefix", "key", "profiles"),
    [("/actors/v2", "actorId", "/profiles/v2"), ("/v3/actors", "actor_id", "/v3/oauth2/profiles")],
)
def test_an_alias_is_made_shown_and_listed(caller, actor, prefix, key, profiles):
    alice = caller("alice", prefix=prefix)
    made = alice.post("/aliases", data={"alias": "my.tool", key: actor.id})
    assert made.status_code == 200
    assert made.json["message"] == "Actor alias created successfully."
    assert made.json["result"] == {
        "alias": "my.tool",
        key: actor.id,
        "owner": "alice",
        "_links": {
            "self": f"{ROOT}{prefix}/aliases/my.tool",
            "owner": f"{ROOT}{profiles}/alice",
            "actor": f"{ROOT}{prefix}/{actor.id}",
        },
    }
    shown = alice.get("/aliases/my.tool")
    assert shown.json["message"] == "Alias retrieved successfully."
    assert shown.json["result"] == made.json["result"]
    listed = alice.get("/aliases")
    assert listed.json["message"] == "Aliases retrieved successfully."
    assert listed.json["result"] == [made.json["result"]]


@pytest.mark.parametrize("key", ["actor_id", "actorId"])
@pytest.mark.parametrize("prefix", ["/actors", *PREFIXES])
def test_both_spellings_are_taken(caller, actor, prefix, key):
    alice = caller("alice", prefix=prefix)
    assert alice.post("/aliases", json={"alias": "a", key: actor.id}).status_code == 200


def test_the_actor_may_be_named_by_another_alias(alice, actor, alias):
    made = alice.post("/aliases", json={"alias": "second", "actor_id": alias.alias})
    assert made.json["result"]["actor_id"] == actor.id
    assert alice.get("/second").json["result"]["id"] == actor.id


def test_everything_of_the_actor_is_under_its_alias_and_links_have_the_id(alice, actor, alias):
    self = f"{ROOT}/actors/{actor.id}"
    assert alice.get("/prod-1").json["result"]["_links"]["self"] == self
    assert alice.get("/prod-1/messages").json["result"]["_links"]["self"] == f"{self}/messages"
    posted = alice.post("/prod-1/messages", data={"message": "x"}).json["result"]
    execution = posted["execution_id"]
    assert posted["_links"]["self"] == f"{self}/executions/{execution}"
    summary = alice.get("/prod-1/executions").json["result"]
    assert summary["_links"]["self"] == f"{self}/executions"
    assert summary["actor_id"] == actor.id
    shown = alice.get(f"/prod-1/executions/{execution}").json["result"]
    assert (shown["id"], shown["actor_id"]) == (execution, actor.id)
    assert alice.get(f"/prod-1/executions/{execution}/logs").status_code == 200
    nonce = alice.post("/prod-1/nonces").json["result"]
    assert nonce["actor_id"] == actor.id
    assert nonce["_links"]["self"] == f"{self}/nonces/{nonce['id']}"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("word", RESERVED_ALIASES)
def test_reserved_words_are_refused(caller, actor, prefix, word):
    response = caller("alice", prefix=prefix).post(
        "/aliases", json={"alias": word, "actor_id": actor.id}
    )
    assert response.status_code == 400
    assert response.json["message"].startswith(f"{word} is a reserved word")


def test_every_route_that_an_alias_could_hide_behind_is_reserved(app):
    """What stands in the place of an actor in a route can be nobody's alias."""
    firsts = {
        rule.rule.split("/")[2]
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/actors/") and not rule.rule.startswith("/actors/<")
    }
    assert firsts
    assert firsts <= set(RESERVED_ALIASES)


@pytest.mark.parametrize("word", ["my-admin-tool", "logs2", "aliases.old", "Admin"])
def test_words_that_contain_a_reserved_one_are_fine_for_everybody(alice, actor, word):
    made = alice.post("/aliases", json={"alias": word, "actor_id": actor.id})
    assert made.status_code == 200
    assert alice.get(f"/{word}").json["result"]["id"] == actor.id


@pytest.mark.parametrize("mark", list("\\ \":/?#[]@!$&'()*+,;="))
def test_forbidden_characters_are_refused(alice, actor, mark):
    response = alice.post("/aliases", json={"alias": f"a{mark}b", "actor_id": actor.id})
    assert response.status_code == 400
    assert response.json["message"].startswith(f"'{mark}' is a forbidden character.")


@pytest.mark.parametrize("word", ["", "x" * 256, ".", "..", "a\nb", "a\0b", "\ud800"])
def test_what_no_url_can_carry_is_refused(alice, actor, word):
    response = alice.post("/aliases", json={"alias": word, "actor_id": actor.id})
    assert response.status_code == 400
    assert response.json["message"].startswith("Invalid alias description")


def test_the_id_of_an_actor_is_no_alias_and_a_word_like_an_id_is(alice, actor, database):
    with database.begin() as session:
        other = add_actor(session)
        foreign = add_actor(session, tenant="BIOLOGY")
    alice.delete(f"/{other.id}")
    for word in (actor.id, other.id):  # also of a deleted one: its clients must not come elsewhere
        response = alice.post("/aliases", json={"alias": word, "actor_id": actor.id})
        assert response.status_code == 400
        assert response.json["message"] == (
            "Invalid alias description. Alias cannot be an Abaco hash id."
        )
    # Whether another tenant has such an actor is not told.
    for word in (foreign.id, "yP0PDpZWG38Bg", "alice"):
        assert alice.post("/aliases", json={"alias": word, "actor_id": actor.id}).status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "alias"), ({"alias": "a"}, "actor_id"), ({"actor_id": "x"}, "alias")],
)
def test_a_missing_field_is_named(caller, prefix, body, field):
    response = caller("alice", prefix=prefix).post("/aliases", json=body)
    assert response.status_code == 400
    spelled = "actorId" if (prefix, field) == ("/actors/v2", "actor_id") else field
    assert response.json["message"].startswith(
        f"Invalid alias description. Missing required field: {{'{spelled}': "
    )


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_actor_must_be_there_and_be_the_callers_to_change(caller, database, prefix):
    alice, bob = caller("alice", prefix=prefix), caller("bob", prefix=prefix)
    missing = alice.post("/aliases", json={"alias": "a", "actor_id": "nobody"})
    assert missing.status_code == 404
    assert missing.json["message"] == "No actor found with id: nobody."
    with database.begin() as session:
        actor = add_actor(session)
        add_permission(session, actor, "bob", Level.EXECUTE)
        foreign = add_actor(session, tenant="BIOLOGY")
    denied = bob.post("/aliases", json={"alias": "a", "actor_id": actor.id})
    assert denied.status_code == 400
    assert denied.json["message"].startswith("Not authorized -- you do not have access to this")
    assert alice.post("/aliases", json={"alias": "a", "actor_id": foreign.id}).status_code == 404
    admin = caller("root_admin", ADMIN, prefix=prefix)  # Abaco re-checks admins, by mistake
    assert admin.post("/aliases", json={"alias": "a", "actor_id": actor.id}).status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_alias_exists_once_in_a_tenant(caller, actor, alias, prefix):
    response = caller("alice", prefix=prefix).post(
        "/aliases", json={"alias": "prod-1", "actor_id": actor.id}
    )
    assert response.status_code == 400
    assert response.json["message"] == "Alias prod-1 already exists."


def test_tenants_have_aliases_of_their_own(caller, actor, alias, database):
    stranger = caller("alice", ADMIN, tenant="BIOLOGY")
    assert stranger.get("/aliases").json["result"] == []
    for response in (
        stranger.get("/aliases/prod-1"),
        stranger.get("/prod-1"),
        stranger.delete("/aliases/prod-1"),
        stranger.put("/aliases/prod-1", json={"actor_id": actor.id}),
    ):
        assert response.status_code == 404
    with database.begin() as session:
        theirs = add_actor(session, tenant="BIOLOGY")
    made = stranger.post("/aliases", json={"alias": "prod-1", "actor_id": theirs.id})
    assert made.status_code == 200
    assert stranger.get("/prod-1").json["result"]["id"] == theirs.id
    assert caller("alice").get("/prod-1").json["result"]["id"] == actor.id


def test_everybody_in_the_tenant_sees_the_list_and_pages_it(bob, actor, database):
    with database.begin() as session:
        for name in ("c", "a", "b"):
            add_alias(session, actor, name)
    assert [one["alias"] for one in bob.get("/aliases").json["result"]] == ["a", "b", "c"]
    page = bob.get("/aliases?limit=1&skip=1").json["result"]
    assert [one["alias"] for one in page] == ["b"]
    assert bob.get("/aliases?limit=x").status_code == 400


@pytest.mark.parametrize("prefix", PREFIXES)
def test_reading_one_needs_read_on_it(caller, alias, database, prefix):
    bob = caller("bob", prefix=prefix)
    denied = bob.get("/aliases/prod-1")
    assert denied.status_code == 400
    assert denied.json["message"] == "Not authorized -- you do not have access to this alias."
    with database.begin() as session:
        add_alias_permission(session, alias, "bob", Level.READ)
    assert bob.get("/aliases/prod-1").status_code == 200
    assert caller("root_admin", ADMIN, prefix=prefix).get("/aliases/prod-1").status_code == 200
    missing = bob.get("/aliases/nobody")
    assert missing.status_code == 404
    assert missing.json["message"] == "No alias found: nobody."


@pytest.mark.parametrize(("prefix", "key"), [("/actors/v2", "actorId"), ("/v3/actors", "actor_id")])
def test_pointing_it_elsewhere(caller, alias, database, prefix, key):
    with database.begin() as session:
        other = add_actor(session, owner="bob")
        add_alias_permission(session, alias, "bob", Level.UPDATE)
    bob = caller("bob", prefix=prefix)
    changed = bob.put("/aliases/prod-1", json={key: other.id})
    assert changed.status_code == 200
    assert changed.json["message"] == "Actor alias updated successfully."
    assert changed.json["result"][key] == other.id
    assert changed.json["result"]["owner"] == "alice"
    assert bob.get("/prod-1").json["result"]["id"] == other.id


def test_pointing_it_elsewhere_needs_update_on_both(alice, bob, admin, alias, database):
    with database.begin() as session:
        bobs = add_actor(session, owner="bob")
        add_permission(session, bobs, "alice", Level.EXECUTE)
    body = {"actor_id": bobs.id}
    no_actor = alice.put("/aliases/prod-1", json=body)
    assert no_actor.status_code == 400
    assert (
        "you do not have UPDATE access to the actor you want to associate with this alias"
        in no_actor.json["message"]
    )
    no_alias = bob.put("/aliases/prod-1", json=body)
    assert no_alias.status_code == 400
    assert no_alias.json["message"] == "Not authorized -- you do not have access to this alias."
    assert admin.put("/aliases/prod-1", json=body).status_code == 200
    with database.read() as session:  # the caller gets UPDATE on the alias
        key = ("PHYSICS", "prod-1", "root_admin")
        assert session.get(AliasPermission, key).level is Level.UPDATE


@pytest.mark.parametrize("kind", ["json", "data"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_alias_itself_stays(caller, actor, alias, prefix, kind):
    body = {"alias": "other", "actor_id": actor.id}
    response = caller("alice", prefix=prefix).put("/aliases/prod-1", **{kind: body})
    assert response.status_code == 400
    assert response.json["message"].endswith("The alias itself cannot be updated in a PUT request.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_put_fails_for_what_is_missing(caller, actor, alias, prefix):
    alice = caller("alice", prefix=prefix)
    assert alice.put("/aliases/prod-1", json={}).status_code == 400
    assert alice.put("/aliases/nobody", json={"actor_id": actor.id}).status_code == 404
    assert alice.put("/aliases/prod-1", json={"actor_id": "nobody"}).status_code == 404


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_shared_user_deletes_it_with_all_that_hangs_on_it(caller, actor, alias, database, prefix):
    bob = caller("bob", prefix=prefix)
    assert bob.delete("/aliases/prod-1").status_code == 400
    with database.begin() as session:
        add_alias_permission(session, alias, "bob", Level.UPDATE)  # and no right on the actor
        add_nonce(session, alias)
        add_config(session, "key", alias)
    gone = bob.delete("/aliases/prod-1")
    assert gone.status_code == 200
    assert gone.json["message"] == "Alias prod-1 deleted successfully."
    assert gone.json["result"] is None
    with database.read() as session:
        for model in (Alias, AliasPermission, Nonce, ConfigTarget):
            assert session.query(model).count() == 0
    assert bob.delete("/aliases/prod-1").status_code == 404
    assert caller("alice", prefix=prefix).get(f"/{actor.id}").status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/aliases"),
        ("DELETE", "/aliases"),
        ("POST", "/aliases/prod-1"),
        ("PUT", "/configs"),
        ("DELETE", "/configs"),
    ],
)
def test_other_methods_are_405(caller, alias, prefix, method, path):
    response = caller("alice", prefix=prefix)(method, path)
    assert response.status_code == 405
    assert response.json["message"] == "Invalid HTTP method on requested resource."
    assert "GET" in response.headers["Allow"]


def test_a_reserved_word_in_the_place_of_an_actor_is_nobodys_url(alice):
    for path in ("/aliases/a/b/c", "/admin/messages", "/configs/a/executions", "/v2/messages"):
        assert alice.get(path).status_code in (404, 405), path


def test_an_actor_has_so_many_aliases(alice, database, actor):
    with database.begin() as session:
        for number in range(MAX_PER_ACTOR):
            add_alias(session, actor, f"a{number}")
        other = add_actor(session)
        add_alias(session, other, "b")
    body = {"alias": "one-more", "actor_id": actor.id}
    assert alice.post("/aliases", json=body).status_code == 429
    assert alice.put("/aliases/b", json={"actor_id": actor.id}).status_code == 429
    assert alice.put("/aliases/a1", json={"actor_id": actor.id}).status_code == 200
