"""``/actors/configs``: contract 3.12. Which container gets which is in services/test_configs."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from bridge.api import create_app
from bridge.auth import load_secret_box
from bridge.db import Config, ConfigPermission, ConfigTarget
from bridge.services.configs import (
    MASK,
    MAX_PER_AUTHOR,
    MAX_TARGETS,
    MAX_VALUE_BYTES,
    PAGE,
    configs_of,
)
from tests.factories.rows import add_actor, add_alias, add_config
from tests.factories.sites import make_site
from tests.unit.api.conftest import ADMIN, Caller

PREFIXES = ("/actors/v2", "/v3/actors")
DENIED = "You do not have sufficient access to this actor config."


@pytest.fixture
def actor(database):
    with database.begin() as session:
        found = add_actor(session)
        add_alias(session, found, "prod-1")
    return found


@pytest.fixture
def body(actor):
    """A body that is fine; changed by the tests."""
    return {"name": "key", "value": "v", "is_secret": False, "actors": actor.id}


def stored(database, name="key"):
    with database.read() as session:
        return session.get(Config, ("PHYSICS", name))


def given(database, site, actor):
    with database.read() as session:
        return configs_of(session, actor, load_secret_box(site))


def message_of(response):
    assert response.status_code == 400
    return response.json["message"]


@pytest.mark.parametrize(
    ("prefix", "secret"), [("/actors/v2", "isSecret"), ("/v3/actors", "is_secret")]
)
@pytest.mark.parametrize("kind", ["json", "data"])
def test_a_config_is_made_shown_and_listed(
    caller, database, site, actor, body, prefix, secret, kind
):
    alice = caller("alice", prefix=prefix)
    actors = f" {actor.id} ,prod-1"
    del body["is_secret"]
    sent = {**body, secret: False, "actors": actors, "image": "ignored"}
    made = alice.post("/configs", **{kind: sent})
    assert made.status_code == 200
    assert made.json["message"] == "Actor config created successfully."
    assert made.json["result"] == {"name": "key", "value": "v", secret: False, "actors": actors}
    shown = alice.get("/configs/key")
    assert shown.json["message"] == "Config retrieved successfully."
    assert shown.json["result"] == made.json["result"]
    listed = alice.get("/configs")
    assert listed.json["message"] == "Actor Configs retrieved successfully."
    assert listed.json["result"] == [made.json["result"]]
    assert given(database, site, actor) == {"key": "v"}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_secret_is_encrypted_at_rest_and_shown_to_nobody(
    caller, database, site, actor, body, prefix
):
    alice = caller("alice", prefix=prefix)
    admin = caller("root_admin", ADMIN, prefix=prefix)
    sent = {**body, "value": "hunter2", "is_secret": "True"}
    answers = [alice.post("/configs", data=sent)]
    sealed = stored(database).value
    assert "hunter2" not in sealed
    answers += [user.get(path) for user in (alice, admin) for path in ("/configs", "/configs/key")]
    answers.append(alice.put("/configs/key", data=sent))
    resealed = stored(database).value
    assert resealed != sealed
    for response in answers:
        assert response.status_code == 200
        result = response.json["result"]
        assert (result[0] if isinstance(result, list) else result)["value"] == MASK
        for hidden in (b"hunter2", sealed.encode(), resealed.encode()):
            assert hidden not in response.data
    assert given(database, site, actor) == {"key": "hunter2"}


@pytest.mark.parametrize("how", ["post", "put"])
def test_the_mask_is_no_secret(alice, database, site, actor, body, how):
    """A client that reads, changes and writes back must not put the mask in its place."""
    sent = {**body, "value": MASK, "is_secret": True}
    if how == "put":
        alice.post("/configs", json={**sent, "value": "hunter2"})
        assert "send the secret itself" in message_of(alice.put("/configs/key", json=sent))
        assert given(database, site, actor) == {"key": "hunter2"}
    else:
        assert "send the secret itself" in message_of(alice.post("/configs", json=sent))
    assert (
        alice.post("/configs", json={**sent, "name": "stars", "is_secret": False}).status_code
        == 200
    )


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_site_without_a_key_has_no_secrets(tmp_path, database, clock, alice, body, prefix):
    app = create_app(make_site(tmp_path, encryption_key_file=None), database, clock)
    user = Caller(app, prefix, alice.headers)
    response = user.post("/configs", json={**body, "is_secret": True})
    assert "A secret config needs an encryption key, and this site has none" in message_of(response)
    assert stored(database) is None
    assert user.post("/configs", json=body).status_code == 200
    response = user.put("/configs/key", json={**body, "is_secret": True})
    assert "encryption key" in message_of(response)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_field_is_required(caller, body, prefix):
    alice = caller("alice", prefix=prefix)
    alice.post("/configs", json=body)
    for field in body:
        spelled = "isSecret" if (prefix, field) == ("/actors/v2", "is_secret") else field
        for sent in ({**body, field: None}, {key: body[key] for key in body if key != field}):
            for response in (
                alice.post("/configs", json=sent),
                alice.put("/configs/key", json=sent),
            ):
                assert message_of(response).startswith(
                    f"Invalid config description. Missing required field: {{'{spelled}': "
                )


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "admin"}, "admin is a reserved word"),
        ({"name": "utilization"}, "utilization is a reserved word"),
        ({"name": "a b"}, "' ' is a forbidden character"),
        ({"name": "a/b"}, "'/' is a forbidden character"),
        ({"name": ""}, "expected 1 to 255 printable characters"),
        ({"name": "x" * 256}, "expected 1 to 255 printable characters"),
        ({"name": "a\0b"}, "NUL"),
        ({"is_secret": "perhaps"}, "expected true or false"),
        ({"value": "a\0b"}, "NUL"),
        ({"value": "\ud800"}, "surrogate"),
        (
            {"value": "x" * (MAX_VALUE_BYTES + 1)},
            "The value is 65537 bytes, expected at most 65536",
        ),
        ({"value": "\x01" * 30_000}, "bytes as the Python text that containers get"),
        ({"actors": ",".join(f"a{n}" for n in range(MAX_TARGETS + 1))}, "It lists 257 actors"),
        ({"actors": " " * 20_000}, "in 20000 characters"),
    ],
)
def test_what_a_config_cannot_be(caller, database, body, prefix, change, words):
    alice = caller("alice", prefix=prefix)
    for is_secret in (True, False):
        sent = {**body, "is_secret": is_secret, **change}
        assert words in message_of(alice.post("/configs", json=sent))
    with database.read() as session:
        assert session.query(Config).count() == 0


def test_a_value_as_large_as_it_may_be(alice, database, site, actor, body):
    value = "x" * MAX_VALUE_BYTES
    assert alice.post("/configs", json={**body, "value": value}).status_code == 200
    second = {**body, "name": "second", "value": value}
    message = message_of(alice.post("/configs", json=second))
    assert message.startswith(f"The configs of actor {actor.id} are 131")
    assert alice.post("/configs", json={**second, "value": "small"}).status_code == 200
    assert "more than the 100000" in message_of(alice.put("/configs/second", json=second))
    assert given(database, site, actor) == {"key": value, "second": "small"}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_element_must_be_an_actor_or_alias(caller, database, actor, body, prefix):
    alice = caller("alice", prefix=prefix)
    alice.post("/configs", json=body)
    for word in ("nobody", "", "prod", "a\u202eb", "x" * 300):
        for actors in (word, f"{actor.id},{word}", f"{actor.id}, {word} "):
            sent = {**body, "actors": actors}
            for response in (
                alice.post("/configs", json={**sent, "name": "new"}),
                alice.put("/configs/key", json=sent),
            ):
                assert response.status_code == 404
                assert response.json["message"] == (
                    f"No actor or alias found with id: {word[:64]}."
                )
    assert stored(database).actors == actor.id
    assert stored(database, "new") is None


def test_what_is_another_tenants_or_deleted_is_not_found(alice, database, actor, body):
    with database.begin() as session:
        theirs = add_actor(session, tenant="BIOLOGY")
        add_alias(session, theirs, "theirs")
        gone = add_actor(session)
    alice.delete(f"/{gone.id}")
    for word in (theirs.id, "theirs", gone.id):
        assert alice.post("/configs", json={**body, "actors": word}).status_code == 404


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_name_exists_once_in_a_tenant(caller, database, body, prefix):
    alice, bob = caller("alice", prefix=prefix), caller("bob", prefix=prefix)
    alice.post("/configs", json=body)
    response = bob.post("/configs", json={**body, "value": "bobs"})
    assert message_of(response) == (
        "Config key already exists; please choose another name for your config"
    )
    assert stored(database).value == "v"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_anybody_may_list_anybodys_actor_and_nothing_comes_of_it(
    caller, database, site, actor, body, prefix
):
    bob = caller("bob", "Internal/abaco-limited", prefix=prefix)
    made = bob.post("/configs", json=body)
    assert made.status_code == 200
    assert made.json["result"]["actors"] == actor.id
    assert given(database, site, actor) == {}
    alice = caller("alice", prefix=prefix)
    alice.post(f"/{actor.id}/permissions", json={"user": "bob", "level": "UPDATE"})
    assert given(database, site, actor) == {"key": "v"}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_those_who_were_let_in_can_use_it(caller, database, body, prefix):
    """In Abaco a permission on a config leads a plain user to a 500."""
    alice, bob = caller("alice", prefix=prefix), caller("bob", prefix=prefix)
    alice.post("/configs", json=body)
    for level, may_read, may_write in (
        ("NONE", False, False),
        ("READ", True, False),
        ("EXECUTE", True, False),
        ("UPDATE", True, True),
    ):
        alice.post("/configs/key/permissions", json={"user": "bob", "level": level})
        assert [one["name"] for one in bob.get("/configs").json["result"]] == ["key"] * may_read
        read, written = bob.get("/configs/key"), bob.put("/configs/key", json=body)
        assert (read.status_code == 200) is may_read
        assert (written.status_code == 200) is may_write
        for response, is_allowed in ((read, may_read), (written, may_write)):
            assert is_allowed or message_of(response) == DENIED
        if not may_write:
            assert message_of(bob.delete("/configs/key")) == DENIED
    assert stored(database).author == "bob"
    assert bob.delete("/configs/key").status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
def test_who_was_not_let_in_sees_nothing(caller, body, prefix):
    caller("alice", prefix=prefix).post("/configs", json=body)
    bob = caller("bob", prefix=prefix)
    assert bob.get("/configs").json["result"] == []
    for response in (
        bob.get("/configs/key"),
        bob.put("/configs/key", json=body),
        bob.delete("/configs/key"),
    ):
        assert message_of(response) == DENIED
    admin = caller("root_admin", ADMIN, prefix=prefix)
    assert len(admin.get("/configs").json["result"]) == 1
    assert admin.get("/configs/key").status_code == 200


def test_the_list_is_by_name_and_paged(alice, database, actor):
    names = [f"c{number:02}" for number in range(2 * PAGE + 1)]
    with database.begin() as session:
        for name in reversed(names):
            add_config(session, name, actor)
    for query, expected in (
        ("", names),
        ("?skip=3", names[3:]),
        ("?limit=1&skip=1", names[1:2]),
        (f"?limit={PAGE}", names[:PAGE]),
        (f"?limit={PAGE + 2}&skip=2", names[2 : PAGE + 4]),
        ("?limit=0", []),
    ):
        listed = alice.get(f"/configs{query}").json["result"]
        assert [one["name"] for one in listed] == expected, query
    assert alice.get("/configs?limit=-1").status_code == 400


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_put_replaces_all_but_the_name(caller, database, site, actor, body, prefix, clock):
    alice = caller("alice", prefix=prefix)
    alice.post("/configs", json={**body, "is_secret": True})
    with database.begin() as session:
        other = add_actor(session)
    clock.push(60)
    sent = {"name": "other", "value": "w", "is_secret": False, "actors": other.id}
    changed = alice.put("/configs/key", json=sent)
    assert changed.status_code == 200
    assert changed.json["message"] == "Actor config updated successfully."
    result = changed.json["result"]
    assert (result["name"], result["value"], result["actors"]) == ("key", "w", other.id)
    assert given(database, site, actor) == {}
    assert given(database, site, other) == {"key": "w"}
    assert stored(database).last_update_time > stored(database).create_time
    assert stored(database, "other") is None


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_deleted_config_is_gone_whole(caller, database, site, actor, body, prefix):
    alice = caller("alice", prefix=prefix)
    alice.post("/configs", json=body)
    gone = alice.delete("/configs/key")
    assert gone.status_code == 200
    assert gone.json["message"] == "Actor config key deleted successfully."
    assert gone.json["result"] is None
    with database.read() as session:
        for model in (Config, ConfigPermission, ConfigTarget):
            assert session.query(model).count() == 0
    assert given(database, site, actor) == {}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_is_not_there_is_a_404(caller, body, prefix):
    alice = caller("alice", prefix=prefix)
    for response in (
        alice.get("/configs/nobody"),
        alice.put("/configs/nobody", json=body),
        alice.delete("/configs/nobody"),
    ):
        assert response.status_code == 404
        assert response.json["message"] == "No config found: nobody."
    assert alice.get("/configs/a%00b").status_code == 404


@pytest.mark.parametrize("prefix", PREFIXES)
def test_other_methods_are_405(caller, body, prefix):
    alice = caller("alice", prefix=prefix)
    alice.post("/configs", json=body)
    for method, path in (("POST", "/configs/key"), ("PUT", "/configs"), ("DELETE", "/configs")):
        assert alice(method, path).status_code == 405


def test_tenants_have_configs_of_their_own(caller, alice, database, site, actor, body):
    alice.post("/configs", json=body)
    stranger = caller("alice", ADMIN, tenant="BIOLOGY")
    assert stranger.get("/configs").json["result"] == []
    for response in (
        stranger.get("/configs/key"),
        stranger.put("/configs/key", json=body),
        stranger.delete("/configs/key"),
        stranger.post("/configs", json=body),  # its actor is not there
    ):
        assert response.status_code == 404
    with database.begin() as session:
        theirs = add_actor(session, tenant="BIOLOGY")
        add_alias(session, theirs, "prod-1")
    made = stranger.post("/configs", json={**body, "value": "w", "actors": "prod-1"})
    assert made.status_code == 200
    assert given(database, site, theirs) == {"key": "w"}
    assert given(database, site, actor) == {"key": "v"}


def test_a_secret_written_under_an_old_key_is_still_given(alice, database, site, actor, body):
    alice.post("/configs", json={**body, "is_secret": True})
    path = site.encryption_key_file
    path.write_bytes(Fernet.generate_key() + b"\n" + path.read_bytes())
    assert given(database, site, actor) == {"key": "v"}


def test_an_author_has_so_many(alice, bob, database, actor, body):
    with database.begin() as session:
        for number in range(MAX_PER_AUTHOR):
            add_config(session, f"c{number}")
    assert alice.post("/configs", json=body).status_code == 429
    assert bob.post("/configs", json=body).status_code == 200
