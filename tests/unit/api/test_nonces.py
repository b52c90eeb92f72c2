"""Nonces: made, shown, taken back, and used as credentials. Contract 2.5, 3.10, 3.11, 4.6."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bridge.api import create_app
from bridge.auth import redeem_nonce
from bridge.core.statuses import Level
from bridge.db import Execution, Message, Nonce, Permission
from bridge.errors import BridgeError
from bridge.services.nonces import MAX_NONCES
from tests.factories.rows import (
    START,
    add_actor,
    add_alias,
    add_alias_permission,
    add_execution,
    add_nonce,
    add_permission,
)
from tests.factories.sites import make_site
from tests.unit.api.conftest import ADMIN, EVERYONE, Caller

PREFIXES = ("/actors/v2", "/v3/actors")
ROOT = "https://bridge.example.org"
FIELDS = [
    "id",
    "owner",
    "level",
    "description",
    "roles",
    "api_server",
    "actor_id",
    "max_uses",
    "current_uses",
    "remaining_uses",
    "create_time",
    "last_use_time",
    "_links",
]


@pytest.fixture
def actor(database):
    with database.begin() as session:
        return add_actor(session)


@pytest.fixture
def alias(database, actor):
    with database.begin() as session:
        return add_alias(session, actor, "prod-1")


@pytest.fixture
def anyone(app):
    """A caller without any header, under the bare prefix."""
    return Caller(app, "/actors", {})


@pytest.fixture
def make(database, actor):
    """Makes nonces of the actor, or of the alias given: returns the id."""

    def add(of=None, **changes):
        with database.begin() as session:
            return add_nonce(session, of or actor, **changes).id

    return add


def stored(database, nonce_id):
    with database.read() as session:
        return session.get(Nonce, nonce_id)


def message_of(response):
    assert response.status_code == 400
    return response.json["message"]


# Making and showing them ---------------------------------------------------------------------


def test_a_nonce_by_default(caller, actor):
    """An empty body is enough, and what was never set is the text None."""
    response = caller("alice", prefix="/v3/actors").post(f"/{actor.id}/nonces")
    assert response.status_code == 200
    assert response.json["message"] == "Actor nonce created successfully."
    nonce = response.json["result"]
    assert list(nonce) == FIELDS
    expected = {
        "owner": "alice",
        "level": "EXECUTE",
        "description": "",
        "roles": [EVERYONE],
        "api_server": ROOT,
        "actor_id": actor.id,
        "max_uses": -1,
        "current_uses": 0,
        "remaining_uses": -1,
        "create_time": "2026-01-01T00:00:00.000Z",
        "last_use_time": "None",
        "_links": {
            "self": f"{ROOT}/v3/actors/{actor.id}/nonces/{nonce['id']}",
            "owner": f"{ROOT}/v3/oauth2/profiles/alice",
            "actor": f"{ROOT}/v3/actors/{actor.id}",
        },
    }
    assert {key: nonce[key] for key in expected} == expected
    assert re.fullmatch(r"PHYSICS_[A-Za-z0-9]{23}[A-Za-uw-z0-13-9]", nonce["id"])


def test_a_nonce_in_camel_case(caller, actor):
    alice = caller("alice", prefix="/actors/v2")
    body = {"maxUses": "3", "level": "READ", "description": "for the poster"}
    nonce = alice.post(f"/{actor.id}/nonces", data=body).json["result"]
    expected = {
        "level": "READ",
        "description": "for the poster",
        "actorId": actor.id,
        "maxUses": 3,
        "currentUses": 0,
        "remainingUses": 3,
        "lastUseTime": "None",
        "apiServer": ROOT,
    }
    assert {key: nonce[key] for key in expected} == expected
    assert alice.get(f"/{actor.id}/nonces/{nonce['id']}").json["result"] == nonce


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_nonce_of_an_alias(caller, actor, alias, prefix):
    alice = caller("alice", prefix=prefix)
    response = alice.post("/aliases/prod-1/nonces", json={})
    assert response.json["message"] == "Alias nonce created successfully."
    nonce = response.json["result"]
    assert nonce["alias"] == "prod-1"
    assert nonce["_links"]["self"] == f"{ROOT}{prefix}/aliases/prod-1/nonces/{nonce['id']}"
    assert nonce["_links"]["actor"] == f"{ROOT}{prefix}/{actor.id}"
    if prefix == "/actors/v2":
        assert "actorId" not in nonce
    else:
        assert nonce["actor_id"] is None
    listed = alice.get("/aliases/prod-1/nonces")
    assert listed.json["message"] == "Alias nonces retrieved successfully."
    assert listed.json["result"] == [nonce]
    shown = alice.get(f"/aliases/prod-1/nonces/{nonce['id']}")
    assert shown.json["message"] == "Alias nonce retrieved successfully."
    assert shown.json["result"] == nonce
    # The actor's own nonces are others, by whatever word it is addressed.
    assert alice.get("/prod-1/nonces").json["result"] == []
    gone = alice.delete(f"/aliases/prod-1/nonces/{nonce['id']}")
    assert gone.json["message"] == "Alias nonce deleted successfully."
    assert alice.get("/aliases/prod-1/nonces").json["result"] == []


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_list_and_one_of_it(caller, actor, prefix):
    alice = caller("alice", prefix=prefix)
    assert alice.get(f"/{actor.id}/nonces").json["result"] == []
    made = [alice.post(f"/{actor.id}/nonces", json={}).json["result"] for _ in range(3)]
    listed = alice.get(f"/{actor.id}/nonces")
    assert listed.json["message"] == "Actor nonces retrieved successfully."
    assert sorted(one["id"] for one in listed.json["result"]) == sorted(one["id"] for one in made)
    page = alice.get(f"/{actor.id}/nonces?limit=1&skip=1").json["result"]
    assert page == listed.json["result"][1:2]
    one = alice.get(f"/{actor.id}/nonces/{made[0]['id']}")
    assert one.json["message"] == "Actor nonce retrieved successfully."
    assert one.json["result"] == made[0]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"level": "WRITE"}, "The level attribute must be one of: ('NONE', 'READ', 'EXECUTE'"),
        ({"level": ""}, "The level attribute must be one of:"),
        ({"max_uses": 0}, "must be a positive integer or -1 (to denote unlimited uses)."),
        ({"max_uses": "-2"}, "must be a positive integer or -1 (to denote unlimited uses)."),
        ({"max_uses": "many"}, "expected an integer"),
        ({"max_uses": 10**30}, "expected an integer"),
        ({"max_uses": True}, "expected an integer"),
        ({"description": "x" * 5000}, "expected at most 4096 characters"),
        ({"description": "a\0b"}, "NUL"),
    ],
)
def test_what_a_nonce_cannot_be(caller, actor, alias, prefix, body, words):
    alice = caller("alice", prefix=prefix)
    for path in (f"/{actor.id}/nonces", "/aliases/prod-1/nonces"):
        assert words in message_of(alice.post(path, json=body))
        assert alice.get(path).json["result"] == []


def test_nulls_are_the_defaults(alice, actor):
    body = {"level": None, "max_uses": None, "description": None}
    nonce = alice.post(f"/{actor.id}/nonces", json=body).json["result"]
    assert (nonce["level"], nonce["max_uses"], nonce["description"]) == ("EXECUTE", -1, "")


def test_an_alias_s_nonce_cannot_give_update(alice, actor, alias):
    body = {"level": "UPDATE"}
    message = message_of(alice.post("/aliases/prod-1/nonces", json=body))
    assert message == (
        "Invalid nonce description. The level attribute must be one of: ('NONE', 'READ', 'EXECUTE')"
    )
    assert alice.post(f"/{actor.id}/nonces", json=body).status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
def test_making_and_taking_back_need_update(caller, actor, database, make, prefix):
    bob = caller("bob", prefix=prefix)
    path, nonce_id = f"/{actor.id}/nonces", make()
    denied = "Not authorized -- you do not have access to this actor."
    for response in (bob.get(path), bob.post(path), bob.delete(f"{path}/{nonce_id}")):
        assert message_of(response) == denied
    with database.begin() as session:
        add_permission(session, actor, "bob", Level.EXECUTE)
    assert bob.get(path).status_code == 200
    for response in (bob.post(path), bob.delete(f"{path}/{nonce_id}")):
        assert message_of(response) == denied
    with database.begin() as session:
        session.get(Permission, (actor.id, "bob")).level = Level.UPDATE
    assert bob.post(path).status_code == 200
    gone = bob.delete(f"{path}/{nonce_id}")
    assert gone.json["message"] == "Actor nonce deleted successfully."
    assert gone.json["result"] is None


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("on", ["alias", "actor", "both"])
def test_an_aliass_nonces_need_the_level_on_alias_and_actor(
    caller, actor, alias, database, make, prefix, on
):
    bob, nonce_id = caller("bob", prefix=prefix), make(alias)
    with database.begin() as session:
        if on != "actor":
            add_alias_permission(session, alias, "bob", Level.UPDATE)
        if on != "alias":
            add_permission(session, actor, "bob", Level.UPDATE)
    path = "/aliases/prod-1/nonces"
    for response in (
        bob.get(path),
        bob.post(path),
        bob.get(f"{path}/{nonce_id}"),
        bob.delete(f"{path}/{nonce_id}"),
    ):
        if on == "both":
            assert response.status_code == 200
        else:
            assert message_of(response) == (
                "Not authorized -- you do not have access to this alias and actor."
            )


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_is_not_there(caller, actor, alias, make, prefix):
    alice = caller("alice", prefix=prefix)
    nonce_id, of_alias = make(), make(alias)
    for path in (
        f"/{actor.id}/nonces/PHYSICS_none",
        f"/{actor.id}/nonces/{of_alias}",
        f"/aliases/prod-1/nonces/{nonce_id}",
        f"/{actor.id}/nonces/a%00b",
    ):
        assert message_of(alice.get(path)) == "Nonce not found."
        assert message_of(alice.delete(path)) == "Nonce not found."
    assert alice.get("/nobody/nonces").status_code == 404
    assert alice.post("/nobody/nonces").status_code == 404
    assert alice.get("/aliases/nobody/nonces").status_code == 404
    assert alice.post("/aliases/nobody/nonces").status_code == 404


@pytest.mark.parametrize("prefix", PREFIXES)
def test_other_methods_are_405(caller, actor, alias, make, prefix):
    alice = caller("alice", prefix=prefix)
    for collection, nonce_id in ((f"/{actor.id}", make()), ("/aliases/prod-1", make(alias))):
        assert alice.put(f"{collection}/nonces").status_code == 405
        assert alice.delete(f"{collection}/nonces").status_code == 405
        assert alice.post(f"{collection}/nonces/{nonce_id}").status_code == 405
        assert alice.put(f"{collection}/nonces/{nonce_id}").status_code == 405


def test_another_tenants_nonces_do_not_exist(caller, actor, alias, make):
    stranger = caller("alice", ADMIN, tenant="BIOLOGY")
    for path in (f"/{actor.id}/nonces", "/aliases/prod-1/nonces"):
        assert stranger.get(path).status_code == 404
        assert stranger.post(path).status_code == 404
        assert stranger.delete(f"{path}/{make()}").status_code == 404


def test_others_credentials_are_not_for_readers(bob, admin, alice, actor, database, make):
    """In Abaco a READ permission is enough to find an admin's UPDATE nonce and use it."""
    secret = make(owner="root_admin", roles=[ADMIN], level=Level.UPDATE)
    own = make(owner="bob")
    with database.begin() as session:
        add_permission(session, actor, "bob", Level.EXECUTE)
    path = f"/{actor.id}/nonces"
    assert [one["id"] for one in bob.get(path).json["result"]] == [own]
    assert message_of(bob.get(f"{path}/{secret}")) == "Nonce not found."
    for user in (alice, admin):  # who may take them back must know them
        assert {one["id"] for one in user.get(path).json["result"]} == {secret, own}
        assert user.get(f"{path}/{secret}").status_code == 200


def test_there_is_a_bound(alice, actor, database):
    with database.begin() as session:
        for _ in range(MAX_NONCES):
            add_nonce(session, actor)
    assert alice.post(f"/{actor.id}/nonces").status_code == 429


# Using them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/actors", *PREFIXES])
def test_a_nonce_stands_for_its_owner(app, actor, database, make, prefix):
    anyone, nonce_id = Caller(app, prefix, {}), make()
    for path in (f"/{actor.id}", f"/{actor.id}/executions", f"/{actor.id}/messages"):
        assert anyone.get(f"{path}?x-nonce={nonce_id}").status_code == 200
    posted = anyone.post(f"/{actor.id}/messages?x-nonce={nonce_id}", data={"message": "x"})
    assert posted.status_code == 200
    with database.read() as session:
        assert session.query(Execution).one().executor == "alice"
        environment = session.query(Message).one().environment
    assert environment["x-nonce"] == nonce_id  # samples read it there
    assert "_abaco_jwt_header_name" not in environment
    nonce = stored(database, nonce_id)
    assert (nonce.current_uses, nonce.remaining_uses) == (4, -1)
    assert nonce.last_use_time == START


def test_uses_are_counted_down_and_the_time_is_noted(anyone, alice, actor, clock, make):
    nonce_id = make(remaining_uses=2)
    for count in (1, 2):
        clock.push(60)
        assert anyone.get(f"/{actor.id}?x-nonce={nonce_id}").status_code == 200
        shown = alice.get(f"/{actor.id}/nonces/{nonce_id}").json["result"]
        assert (shown["max_uses"], shown["current_uses"], shown["remaining_uses"]) == (
            2,
            count,
            2 - count,
        )
        assert shown["last_use_time"] == f"2026-01-01T00:0{count}:00.000Z"
    spent = anyone.get(f"/{actor.id}?x-nonce={nonce_id}")
    assert message_of(spent) == "No remaining uses left for this nonce."
    assert alice.get(f"/{actor.id}/nonces/{nonce_id}").json["result"]["current_uses"] == 2


@pytest.mark.parametrize(
    ("level", "read", "execute", "update"),
    [
        (Level.NONE, False, False, False),
        (Level.READ, True, False, False),
        (Level.EXECUTE, True, True, False),
        (Level.UPDATE, True, True, True),
    ],
)
@pytest.mark.parametrize("roles", [[EVERYONE], [ADMIN]])
def test_a_level_gives_what_it_says_to_admins_too(
    anyone, actor, database, make, level, read, execute, update, roles
):
    nonce_id = make(level=level, roles=roles)
    query = f"?x-nonce={nonce_id}"
    uses = 0
    for response, is_allowed in (
        (anyone.get(f"/{actor.id}{query}"), read),
        (anyone("HEAD", f"/{actor.id}{query}"), read),
        (anyone.get(f"/{actor.id}/permissions{query}"), read),
        (anyone.post(f"/{actor.id}/messages{query}", data={"message": "x"}), execute),
        (anyone.post(f"/{actor.id}/nonces{query}"), update),
        (
            anyone.post(
                f"/{actor.id}/permissions{query}", data={"user": "mallory", "level": "UPDATE"}
            ),
            update,
        ),
        (anyone.delete(f"/{actor.id}{query}"), update),
    ):
        assert response.status_code == (200 if is_allowed else 400)
        if is_allowed:
            uses += 1
        elif response.request.method != "HEAD":
            assert message_of(response) == "Nonce does not have sufficient permissions level."
    if not update:  # else it went with its actor
        assert stored(database, nonce_id).current_uses == uses  # a refusal counts nothing


def test_the_checks_come_in_their_order(anyone, actor, make):
    spent = make(level=Level.READ, max_uses=1, remaining_uses=0)
    path = f"/{actor.id}/messages?x-nonce="
    data = {"message": "x"}
    assert message_of(anyone.post(f"{path}PHYSICS_x", data=data)) == "Nonce does not exist."
    assert message_of(anyone.post(path + spent, data=data)) == (
        "Nonce does not have sufficient permissions level."
    )
    assert message_of(anyone.get(path + spent)) == "No remaining uses left for this nonce."


@pytest.mark.parametrize(
    "word", ["", "x", "PHYSICS_", "_x", "PHYSICS_a b", "%00", "%ff", "PHYSICS_%27", "x" * 5000]
)
def test_what_is_no_nonce(anyone, actor, word):
    assert message_of(anyone.get(f"/{actor.id}?x-nonce={word}")) == "Nonce does not exist."


def test_an_actors_nonce_counts_where_the_url_has_its_id(anyone, actor, alias, database, make):
    with database.begin() as session:
        other = add_actor(session)
    nonce_id = make()
    for path in (f"/{other.id}", "/prod-1", "/aliases/prod-1", "/aliases/prod-1/nonces", "/nobody"):
        assert message_of(anyone.get(f"{path}?x-nonce={nonce_id}")) == "Nonce does not exist."
    assert stored(database, nonce_id).current_uses == 0


def test_an_aliass_nonce_counts_where_the_url_has_that_alias(anyone, actor, database, make):
    with database.begin() as session:
        alias = add_alias(session, actor, "my.tool")
        add_alias(session, actor, "other")
    nonce_id = make(alias)
    for path in ("/my.tool", "/aliases/my.tool", "/my.tool/executions", "/aliases/my.tool/nonces"):
        assert anyone.get(f"{path}?x-nonce={nonce_id}").status_code == 200, path
    posted = anyone.post(f"/my.tool/messages?x-nonce={nonce_id}", data={"message": "x"})
    assert posted.status_code == 200
    for path in (f"/{actor.id}", "/other", "/aliases/other"):
        assert message_of(anyone.get(f"{path}?x-nonce={nonce_id}")) == "Nonce does not exist."
    denied = anyone.delete(f"/aliases/my.tool?x-nonce={nonce_id}")
    assert message_of(denied) == "Nonce does not have sufficient permissions level."
    assert stored(database, nonce_id).current_uses == 5


def test_an_aliass_nonce_follows_the_alias_as_far_as_its_owner_may(
    alice, anyone, database, alias, make
):
    nonce_id = make(alias)
    with database.begin() as session:
        theirs = add_actor(session, owner="bob")
        add_permission(session, theirs, "alice", Level.UPDATE)
    alice.put("/aliases/prod-1", json={"actor_id": theirs.id})
    assert anyone.get(f"/prod-1?x-nonce={nonce_id}").json["result"]["id"] == theirs.id
    with database.begin() as session:
        session.get(Permission, (theirs.id, "alice")).level = Level.NONE
    assert message_of(anyone.get(f"/prod-1?x-nonce={nonce_id}")).startswith("Not authorized")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("", "/actors"),
        ("/aliases", "/actors/aliases"),
        ("/configs", "/actors/configs"),
        ("/configs/key", "/actors/configs/{name}"),
        ("/configs/key/permissions", "/actors/configs/{name}/permissions"),
        ("/search/actors", "/actors/search/{database}"),
        ("/utilization", "/actors/utilization"),
    ],
)
def test_collections_and_configs_take_no_nonce(anyone, database, make, path, shown):
    nonce_id = make(roles=[ADMIN], level=Level.UPDATE)
    response = anyone.get(f"{path}?x-nonce={nonce_id}")
    assert response.status_code == 404
    assert response.json["message"] == (
        f"'x-nonce' query parameter on the '{shown}' endpoint does not resolve."
    )
    assert stored(database, nonce_id).current_uses == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Tapis-Token": "x"},
        {"Authorization": "Bearer x"},
        {"X-Jwt-Assertion-Physics": "x"},
        {"x-jwt-assertion-nowhere": ""},
    ],
)
def test_where_a_token_comes_no_nonce_counts(app, actor, database, make, headers):
    nonce_id = make()
    response = Caller(app, "/actors", headers).get(f"/{actor.id}?x-nonce={nonce_id}")
    assert message_of(response).startswith("Invalid JWT.")
    assert stored(database, nonce_id).current_uses == 0


def test_a_good_token_goes_before_a_nonce(bob, actor, database, make):
    nonce_id = make()
    denied = bob.get(f"/{actor.id}?x-nonce={nonce_id}")
    assert message_of(denied) == "Not authorized -- you do not have access to this actor."
    assert stored(database, nonce_id).current_uses == 0


def test_a_site_may_take_none(tmp_path, database, clock, actor, make):
    app = create_app(make_site(tmp_path, accept_nonce=False), database, clock)
    response = Caller(app, "/actors", {}).get(f"/{actor.id}?x-nonce={make()}")
    assert message_of(response) == "No JWT or nonce provided."


def test_roles_are_judged_by_what_the_site_says_of_them_now(
    tmp_path, database, clock, site, actor, make
):
    nonce_id = make(owner="root_admin", roles=[ADMIN])
    path = f"/{actor.id}?x-nonce={nonce_id}"
    assert Caller(create_app(site, database, clock), "/actors", {}).get(path).status_code == 200
    data = make_site(tmp_path).model_dump()
    data["tenants"]["PHYSICS"]["admin_role"] = "Internal/other"
    changed = create_app(type(site).model_validate(data), database, clock)
    response = Caller(changed, "/actors", {}).get(path)
    assert message_of(response) == "Not authorized -- missing required role."
    data["tenants"] = {"BIOLOGY": data["tenants"]["BIOLOGY"]}
    changed = create_app(type(site).model_validate(data), database, clock)
    assert message_of(Caller(changed, "/actors", {}).get(path)) == "Nonce does not exist."
    assert stored(database, nonce_id).current_uses == 1


def test_a_nonce_gives_no_more_than_its_owner_has_today(anyone, actor, database, make):
    nonce_id = make(level=Level.UPDATE)
    with database.begin() as session:
        session.get(Permission, (actor.id, "alice")).level = Level.READ
    assert anyone.get(f"/{actor.id}?x-nonce={nonce_id}").status_code == 200
    denied = anyone.post(f"/{actor.id}/messages?x-nonce={nonce_id}", data={"message": "x"})
    assert message_of(denied) == "Not authorized -- you do not have access to this actor."


@pytest.mark.parametrize("level", [Level.READ, Level.EXECUTE])
@pytest.mark.parametrize("roles", [[EVERYONE], [ADMIN]])
def test_a_nonce_shows_no_other_nonce(anyone, actor, alias, make, level, roles):
    """Else one of few uses would find one of many."""
    for subject, path in ((actor, f"/{actor.id}"), (alias, "/aliases/prod-1")):
        stronger = make(subject, roles=roles, owner="alice")
        nonce_id = make(subject, roles=roles, level=level, remaining_uses=9)
        listed = anyone.get(f"{path}/nonces?x-nonce={nonce_id}").json["result"]
        assert [one["id"] for one in listed] == [nonce_id]
        hidden = anyone.get(f"{path}/nonces/{stronger}?x-nonce={nonce_id}")
        assert message_of(hidden) == "Nonce not found."


def test_an_admins_nonce_opens_no_other_actor(anyone, alice, actor, database, make):
    """Not even where one request speaks of two: a link, a search."""
    with database.begin() as session:
        other = add_actor(session, owner="bob")
        add_alias(session, other, "bobs")
        add_execution(session, other)
        mine = add_execution(session, actor)
    nonce_id = make(owner="root_admin", roles=[ADMIN], level=Level.UPDATE)
    for path in ("/bobs", "/aliases/bobs", "/bobs/permissions"):
        assert message_of(anyone.get(f"{path}?x-nonce={nonce_id}")) == "Nonce does not exist."
    for target, words in ((other.id, "Invalid link parameter"), ("bobs", "Invalid link parameter")):
        body = {"image": "debian", "link": target}
        assert words in message_of(anyone.put(f"/{actor.id}?x-nonce={nonce_id}", json=body))
    body = {"alias": "mine", "actor_id": other.id}
    assert anyone.post(f"/aliases?x-nonce={nonce_id}", json=body).status_code == 404
    own = make()
    found = anyone.get(f"/{actor.id}/executions?x-nonce={own}&status=SUBMITTED").json["result"]
    assert [one["id"] for one in found["search"]] == [mine.id]


@pytest.mark.parametrize("way", ["actor", "alias", "alias of a deleted actor", "nonce"])
def test_what_is_deleted_takes_its_nonces_with_it(alice, anyone, actor, alias, database, make, way):
    nonce_id = make(actor if way in ("actor", "nonce") else alias)
    url = f"/{actor.id}" if way in ("actor", "nonce") else "/prod-1"
    assert anyone.get(f"{url}?x-nonce={nonce_id}").status_code == 200
    gone = {
        "actor": f"/{actor.id}",
        "alias": "/aliases/prod-1",
        "alias of a deleted actor": f"/{actor.id}",
        "nonce": f"/{actor.id}/nonces/{nonce_id}",
    }[way]
    assert alice.delete(gone).status_code == 200
    assert message_of(anyone.get(f"{url}?x-nonce={nonce_id}")) == "Nonce does not exist."
    assert stored(database, nonce_id) is None


def test_an_alias_made_again_does_not_wake_old_nonces(alice, anyone, actor, alias, make):
    nonce_id = make(alias)
    alice.delete("/aliases/prod-1")
    alice.post("/aliases", json={"alias": "prod-1", "actor_id": actor.id})
    assert message_of(anyone.get(f"/prod-1?x-nonce={nonce_id}")) == "Nonce does not exist."


# At the same moment --------------------------------------------------------------------------


def redeem_all(database, site, nonce_id, word, count, wanted=Level.READ):
    """Redeem it `count` times from eight threads; return how many times each answer came."""

    def redeem(_number):
        try:
            redeem_nonce(database, site, nonce_id, word, wanted, START)
        except BridgeError as error:
            return error.message
        return "redeemed"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(redeem, range(count)))
    return {answer: answers.count(answer) for answer in answers}


def test_no_use_is_given_twice(database, site, actor, make):
    nonce_id = make(remaining_uses=7)
    assert redeem_all(database, site, nonce_id, actor.id, 40) == {
        "redeemed": 7,
        "No remaining uses left for this nonce.": 33,
    }
    nonce = stored(database, nonce_id)
    assert (nonce.current_uses, nonce.remaining_uses) == (7, 0)


def test_no_use_is_lost(database, site, actor, make):
    nonce_id = make()
    assert redeem_all(database, site, nonce_id, actor.id, 40) == {"redeemed": 40}
    nonce = stored(database, nonce_id)
    assert (nonce.current_uses, nonce.remaining_uses) == (40, -1)


def test_refusals_count_nothing_beside_uses(database, site, actor, make):
    nonce_id = make(level=Level.READ, remaining_uses=5)
    assert redeem_all(database, site, nonce_id, actor.id, 20, Level.EXECUTE) == {
        "Nonce does not have sufficient permissions level.": 20
    }
    assert stored(database, nonce_id).remaining_uses == 5


# What is not told ----------------------------------------------------------------------------


def test_a_nonce_is_not_in_the_log(app, alice, actor, make, monkeypatch, caplog):
    def fail(*_arguments, **_named):
        raise RuntimeError("broken")

    nonce_id = make()
    monkeypatch.setattr("bridge.api.nonces.find_nonce", fail)
    with caplog.at_level(logging.DEBUG):
        assert alice.get(f"/{actor.id}/nonces/{nonce_id}").status_code == 500
        monkeypatch.setattr("bridge.api.credentials.redeem_nonce", fail)
        anyone = Caller(app, "/actors", {})
        assert anyone.get(f"/{actor.id}?x-nonce={nonce_id}").status_code == 500
    records = [{**vars(record), "text": caplog.handler.format(record)} for record in caplog.records]
    assert "broken" in str(records)
    assert f"/actors/{actor.id}/nonces/<nonce>" in str(records)
    assert nonce_id.partition("_")[2] not in str(records)


def test_a_failed_statement_is_told_without_its_parameters(database):
    query = text("SELECT * FROM no_such_table WHERE id = :id")
    with database.read() as session, pytest.raises(DBAPIError, match="no_such_table") as error:
        session.execute(query, {"id": "PHYSICS_secret"})
    assert "PHYSICS_secret" not in str(error.value)
