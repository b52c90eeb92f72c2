"""An actor may name another of its tenant's clusters; it runs under the account there."""

from __future__ import annotations

import jwt
import pytest

from bridge.api import create_app
from bridge.clock import ManualClock
from bridge.db import Actor, ClusterUser, Image
from bridge.sites import Site
from tests.factories.rows import add_account
from tests.factories.sites import make_key, with_tenant
from tests.unit.api.conftest import Caller

NOW = int(ManualClock().now().timestamp())


@pytest.fixture
def site(site: Site) -> Site:
    """PHYSICS may use beta besides, where mounts tell of the account; BIOLOGY may not."""
    data = site.model_dump(exclude_unset=True)
    data["clusters"]["beta"] = data["clusters"]["alpha"]
    data["clusters"]["gamma"] = data["clusters"]["alpha"]
    mounts = [{"host_path": "/work/{cluster}/{login}/{uid}", "container_path": "/work"}]
    site = Site.model_validate(data)
    return with_tenant(site, other_clusters=["beta"], mounts=mounts)


@pytest.fixture
def beta(database, app):
    """What beta says of alice."""
    with database.begin() as session:
        add_account(session, cluster="beta", uid=7001, gid=7002)


def stored(database, actor_id):
    with database.read() as session:
        actor = session.get_one(Actor, actor_id)
        return actor.cluster, session.get_one(Image, actor.image_id).cluster, actor.revision


def test_the_cluster_that_was_named(alice, database, beta):
    shown = alice.post(json={"image": "debian", "batch": {"cluster": "beta"}}).json["result"]
    assert shown["batch"]["cluster"] == "beta"
    assert (shown["uid"], shown["gid"]) == (7001, 7002)
    assert shown["mounts"] == [
        {"host_path": "/work/beta/alice/7001", "container_path": "/work", "mode": "ro"}
    ]
    assert stored(database, shown["id"]) == ("beta", "beta", 1)

    # Another one is another revision, as another image would be; none is the tenant's own.
    body = {"image": "debian"}
    moved = alice.put(f"/{shown['id']}", json=body).json["result"]
    assert (moved["uid"], moved["mounts"][0]["host_path"]) == (2001, "/work/alpha/alice/2001")
    assert stored(database, shown["id"]) == ("alpha", "alpha", 2)
    alice.put(f"/{shown['id']}", json=body | {"batch": {"cluster": "alpha"}})
    assert stored(database, shown["id"]) == ("alpha", "alpha", 2)


@pytest.mark.parametrize(
    ("tenant", "name", "allowed"),
    [("PHYSICS", "gamma", "alpha, beta"), ("PHYSICS", "delta", "alpha, beta"),
     ("BIOLOGY", "beta", "alpha")],
)  # fmt: skip
def test_a_cluster_that_is_none_of_the_tenants(caller, beta, tenant, name, allowed):
    user = caller("alice", tenant=tenant)
    answer = user.post(json={"image": "debian", "batch": {"cluster": name}})
    assert answer.status_code == 400
    assert f"cluster: asked for '{name}', allowed: {allowed}." in answer.json["message"]


def test_without_an_account_there(alice, database):
    with database.begin() as session:
        add_account(session, cluster="beta", uid=None, gid=None, reason="Alice is not on beta.")
    answer = alice.post(json={"image": "debian", "batch": {"cluster": "beta"}})
    assert (answer.status_code, answer.json["message"]) == (400, "Alice is not on beta.")


def test_an_update_while_the_scheduler_is_down(alice, database, clock):
    created = alice.post(json={"image": "debian"}).json["result"]
    clock.push(3000)  # the answer is old, and nobody gives another
    answer = alice.put(f"/{created['id']}", json={"image": "debian", "description": "new"})
    assert (answer.status_code, answer.json["result"]["description"]) == (200, "new")


def test_what_a_token_says_of_the_account(site, database, clock, waits):
    claims = {"login": "unix", "uid": "uid_number"}
    trusting = with_tenant(site, accounts="claims", claims=claims, mounts=())
    app = create_app(trusting, database, clock, waits)

    def caller(username, **said):
        token = {"tapis/username": username, "tapis/tenant_id": "PHYSICS", "exp": NOW + 600, **said}
        signed = jwt.encode(token, make_key("physics"), algorithm="RS256")
        return Caller(app, "/actors", {"X-Tapis-Token": signed})

    answer = caller("alice").post(json={"image": "debian"})
    assert "no token of theirs has said which one it is" in answer.json["message"]
    claimed = {"login": "al", "uid": 2001, "gid": None, "groups": None}
    with database.begin() as session:  # the scheduler has looked it up
        add_account(session, login="al", claimed=claimed)
    alice = caller("alice", unix="al", uid_number=2001)
    created = alice.post(json={"image": "debian"}).json["result"]
    assert created["uid"] == 2001

    # An admin who updates it has an account of their own, of which nothing is said here.
    role = {"http://wso2.org/claims/role": "Internal/abaco-admin"}
    admin = caller("root_admin", unix="ra", uid_number=9, **role)
    body = {"image": "debian", "description": "by an admin"}
    updated = admin.put(f"/{created['id']}", json=body)
    assert (updated.status_code, updated.json["result"]["uid"]) == (200, 2001)

    # A token that says otherwise is another question.
    assert caller("alice", unix="bo").post(json={"image": "debian"}).status_code == 503
    with database.read() as session:
        row = session.get_one(ClusterUser, ("alpha", "PHYSICS", "alice"))
        assert row.claimed == {"login": "bo", "uid": None, "gid": None, "groups": None}
        assert row.asked > row.answered
