"""``/actors/registries``: what users leave there is encrypted, theirs alone, and never shown."""

from __future__ import annotations

import pytest

from bridge.api import create_app
from bridge.auth import load_secret_box
from bridge.db import Actor, Image, RegistryLogin
from bridge.services.registries import MAX_LOGIN, MAX_PASSWORD, MAX_PER_USER
from tests.factories.sites import make_site
from tests.unit.api.conftest import ADMIN, Caller

PREFIXES = ("/actors", "/actors/v2", "/v3/actors")
LOGIN = {"username": "al", "password": "hush-hush"}
HOST = "registry.example.org:5000"
IMAGE = f"{HOST}/lab/tool:1"


def stored(database, username="alice", host=HOST):
    with database.read() as session:
        return session.get(RegistryLogin, ("PHYSICS", username, host))


def image_of(database, actor_id):
    with database.read() as session:
        return session.get_one(Image, session.get_one(Actor, actor_id).image_id)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_login_is_left_shown_masked_and_removed(caller, database, site, prefix):
    alice = caller("alice", prefix=prefix)
    made = alice.put(f"/registries/{HOST.upper()}", json=LOGIN)
    assert made.status_code == 200
    result = made.json["result"]
    assert result["registry"] == HOST
    assert (result["username"], result["password"]) == ("al", "********")
    for path in ("/registries", f"/registries/{HOST}"):
        shown = alice.get(path)
        assert shown.status_code == 200
        assert b"hush" not in shown.data
    assert alice.get("/registries").json["result"] == [result]
    row = stored(database)
    assert "hush" not in row.password
    assert load_secret_box(site).decrypt(row.password) == "hush-hush"

    assert alice.delete(f"/registries/{HOST}").status_code == 200
    assert alice.get(f"/registries/{HOST}").status_code == 404
    assert stored(database) is None


def test_a_form_does_too_and_a_later_one_counts(alice, database, site):
    alice.put(f"/registries/{HOST}", data=LOGIN)
    alice.put(f"/registries/{HOST}", json={"username": "al2", "password": "other"})
    row = stored(database)
    assert (row.login, load_secret_box(site).decrypt(row.password)) == ("al2", "other")


@pytest.mark.parametrize("other", [("bob",), ("root_admin", ADMIN)])
def test_nobody_else_sees_or_removes_it(caller, alice, database, other):
    alice.put(f"/registries/{HOST}", json=LOGIN)
    somebody: Caller = caller(*other)
    assert somebody.get("/registries").json["result"] == []
    assert somebody.get(f"/registries/{HOST}").status_code == 404
    assert somebody.delete(f"/registries/{HOST}").status_code == 404
    assert stored(database) is not None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "al"},
        {"password": "hush-hush"},
        {"username": "a:l", "password": "hush-hush"},
        {"username": "a\nl", "password": "hush-hush"},
        {"username": "al", "password": "hush-hush\r\nX: y"},
        {"username": "al", "password": "hush-hush\0"},
        {"username": "", "password": "hush-hush"},
        {"username": "al", "password": ["hush-hush"]},
        {"username": "al", "password": "hush-hush" * MAX_PASSWORD},
        {"username": "a" * (MAX_LOGIN + 1), "password": "hush-hush"},
    ],
)
def test_what_is_no_login_is_refused_and_not_repeated(alice, database, body):
    response = alice.put(f"/registries/{HOST}", json=body)
    assert response.status_code == 400
    assert b"hush-hush" not in response.data
    assert stored(database) is None


@pytest.mark.parametrize("host", ["-x", "a b", "x:y", "x" * 256, "[::1]", "a@b"])
def test_what_is_no_registry_is_refused(alice, host):
    assert alice.put(f"/registries/{host}", json=LOGIN).status_code == 400


def test_a_tenant_may_do_without(tmp_path, database, clock, alice):
    site = make_site(tmp_path)
    tenant = site.tenants["PHYSICS"]
    strict = tenant.model_copy(
        update={"images": tenant.images.model_copy(update={"user_logins": False})}
    )
    site = site.model_copy(update={"tenants": {**site.tenants, "PHYSICS": strict}})
    client = create_app(site, database, clock).test_client()
    response = client.put(f"/actors/registries/{HOST}", json=LOGIN, headers=alice.headers)
    assert response.status_code == 400
    assert "may not leave logins" in response.json["message"]


def test_a_site_without_a_key_keeps_none(tmp_path, database, clock, alice):
    site = make_site(tmp_path, encryption_key_file=None)
    client = create_app(site, database, clock).test_client()
    response = client.put(f"/actors/registries/{HOST}", json=LOGIN, headers=alice.headers)
    assert response.status_code == 400
    assert "no key" in response.json["message"]


def test_there_may_be_so_many(alice):
    for number in range(MAX_PER_USER):
        assert alice.put(f"/registries/r{number}.example.org", json=LOGIN).status_code == 200
    assert alice.put("/registries/more.example.org", json=LOGIN).status_code == 429
    assert alice.put("/registries/r0.example.org", json=LOGIN).status_code == 200


class TestWhoseImage:
    """What is pulled with a login is its owner's alone."""

    def make(self, who, **fields):
        response = who.post(json={"image": IMAGE, **fields})
        assert response.status_code == 200, response.json
        return response.json["result"]["id"]

    def test_the_image_is_the_owner_s(self, alice, bob, database):
        alice.put(f"/registries/{HOST}", json=LOGIN)
        mine = image_of(database, self.make(alice))
        again = image_of(database, self.make(alice))
        theirs = image_of(database, self.make(bob))
        assert (mine.owner, theirs.owner) == ("alice", "")
        assert mine.id == again.id != theirs.id

    def test_without_a_login_it_is_the_tenant_s(self, alice, database):
        alice.put("/registries/other.example.org", json=LOGIN)
        assert image_of(database, self.make(alice)).owner == ""

    def test_an_update_with_force_takes_the_login_that_came(self, alice, database):
        actor_id = self.make(alice)
        alice.put(f"/registries/{HOST}", json=LOGIN)
        alice.put(f"/{actor_id}", json={"image": IMAGE})
        assert image_of(database, actor_id).owner == ""
        alice.put(f"/{actor_id}", json={"image": IMAGE, "force": True})
        assert image_of(database, actor_id).owner == "alice"


@pytest.mark.parametrize(
    ("policy", "image", "says"),
    [
        (
            {"registries": ["docker.io/lab"]},
            "laboratory/tool",
            "images may come from docker.io/lab",
        ),
        ({"registries": ["docker.io/lab"]}, "ghcr.io/lab/tool", "images may come from"),
        ({"registries": ["docker.io/lab"]}, "docker.io.evil.org/lab/tool", "images may come from"),
        ({"registries": ["docker.io/lab"]}, "/apps/x.sif", "below no directory"),
        ({"require_digest": True}, "lab/tool:1", "by its digest"),
        ({"sif_directories": ["/apps/sif"]}, "/apps/sif2/x.sif", "below /apps/sif"),
        ({"sif_directories": ["/apps/sif"]}, "/apps/x.sif", "below /apps/sif"),
        ({"sif_directories": ["/apps/sif"]}, "/apps/sif/../x.sif", "Invalid image reference"),
        ({"sif_directories": ["/apps/sif"]}, "/apps/sif/.x.sif", "Invalid image reference"),
        ({"sif_directories": ["/apps/sif"]}, "/apps/sif/x", "Invalid image reference"),
    ],
)
def test_an_image_that_is_not_allowed_is_refused(
    tmp_path, app, database, clock, alice, policy, image, says
):
    client = create_app(site_with(tmp_path, policy), database, clock).test_client()
    response = client.post("/actors", json={"image": image}, headers=alice.headers)
    assert response.status_code == 400
    assert says in response.json["message"]


@pytest.mark.parametrize(
    ("policy", "image"),
    [
        ({"registries": ["docker.io/lab"]}, "lab/tool"),
        ({"registries": ["docker.io/lab/tool"]}, "lab/tool:9"),
        ({"registries": ["Registry.example.org"]}, "REGISTRY.example.org/a/b"),
        ({"require_digest": True}, "lab/tool@sha256:" + "0" * 64),
        ({"registries": ["docker.io/lab"], "sif_directories": ["/apps/sif"]}, "/apps/sif/a/x.sif"),
    ],
)
def test_an_image_that_is_allowed_is_taken(tmp_path, app, database, clock, alice, policy, image):
    client = create_app(site_with(tmp_path, policy), database, clock).test_client()
    response = client.post("/actors", json={"image": image}, headers=alice.headers)
    assert response.status_code == 200, response.json


def site_with(directory, policy):
    site = make_site(directory)
    tenant = site.tenants["PHYSICS"]
    images = type(tenant.images).model_validate(policy)
    tenants = {**site.tenants, "PHYSICS": tenant.model_copy(update={"images": images})}
    return site.model_copy(update={"tenants": tenants})
