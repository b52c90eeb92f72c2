"""``PUT /actors/<id>``: contract 3.2, 4.5, 7, Appendix B."""

from __future__ import annotations

import threading
from functools import partial
from itertools import pairwise

import pytest

from bridge.api import create_app
from bridge.core.statuses import ActorStatus, ArrayStatus, ImageStatus, Level
from bridge.db import Actor, Alias, Array, Image, Permission
from bridge.services.accounts import Account
from bridge.services.logins import Person
from bridge.services.mounts import mounts_of
from tests.factories.rows import START, add_account, add_actor, add_array, add_image, add_permission
from tests.factories.sites import make_site
from tests.unit.api.conftest import PRIVILEGED

PREFIXES = ("/actors/v2", "/v3/actors")


@pytest.fixture
def actor(database, site):
    """A READY actor of alice's, `debian` its image; bob may update it."""
    with database.begin() as session:
        image = add_image(
            session,
            reference="docker.io/library/debian:latest",
            status=ImageStatus.READY,
            digest="sha256:x",
            sif_path="/x.sif",
        )
        mounts = mounts_of(
            site, Person("alpha", "PHYSICS", "alice"), Account("alice", 2001, 2001), {}
        )
        actor = add_actor(
            session, image_id=image.id, name="demo", status_message=" ", mounts=mounts
        )
        add_permission(session, actor, "bob", Level.UPDATE)
    return actor


@pytest.fixture
def read(database):
    """Reads an actor's row."""

    def read(actor):
        with database.read() as session:
            return session.get(Actor, actor.id)

    return read


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_update_answers_the_whole_actor(caller, actor, clock, prefix):
    clock.push(60)
    user = caller("alice", prefix=prefix)
    response = user.put(f"/{actor.id}", json={"image": "debian", "description": "new"})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.json["message"] == "Actor updated successfully."
    assert response.json["result"] == user.get(f"/{actor.id}").json["result"]
    assert response.json["result"]["description"] == "new"


def test_what_is_omitted_returns_to_its_default(caller, actor, clock):
    user = caller("alice", PRIVILEGED)
    everything = {
        "image": "debian",
        "description": "d",
        "hints": ["a"],
        "link": "",
        "webhook": "https://hook.example.org",
        "token": True,
        "privileged": True,
        "use_container_uid": True,
        "default_environment": {"a": "b"},
        "max_workers": 3,
        "mem_limit": "1g",
        "max_cpus": 10**9,
        "queue": "special",
        "log_ex": 60,
        "type": "json",
        "batch": {"cpus": 1},
        "cron_schedule": "now + 1 hour",
        "cron_on": True,
    }
    before = user.put(f"/{actor.id}", json=everything).json["result"]
    assert {key: before[key] for key in everything if key != "batch"} == {
        key: value for key, value in everything.items() if key != "batch"
    }
    assert before["batch"]["cpus"] == 1
    assert before["cron_next_ex"] == "2026-1-1 0"
    clock.push(1)
    after = user.put(f"/{actor.id}", json={"image": "debian"}).json["result"]
    fresh = user.post(json={"image": "debian"}).json["result"]
    kept = {"id", "name", "status", "status_message", "_links"}
    assert {key: after[key] for key in fresh if key not in kept} == {
        key: fresh[key] for key in fresh if key not in kept
    } | {"create_time": "2026-01-01T00:00:00.000Z"}


def test_what_an_actor_keeps(alice, caller, actor, database, read, clock):
    with database.begin() as session:
        row = session.get(Actor, actor.id)
        row.state, row.stateless = {"n": 1}, False
    clock.push(60)
    sent = {
        "image": "debian",
        "stateless": False,
        "name": {"not": "read"},
        "owner": "bob",
        "id": "x",
        "state": {},
        "status": "ERROR",
        "revision": 9,
        "uid": 0,
        "create_time": "2000",
    }
    result = alice.put(f"/{actor.id}", json=sent).json["result"]
    assert result["state"] == {"n": 1}  # Abaco wipes it: Appendix B
    expected = {
        "id": actor.id,
        "name": "demo",
        "owner": "alice",
        "create_time": "2026-01-01T00:00:00.000Z",
        "last_update_time": "2026-01-01T00:01:00.000Z",
        "revision": 1,
        "status": "READY",
        "status_message": " ",
        "uid": 2001,
    }
    assert {key: result[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("sent", "is_new"),
    [
        ({"image": "debian"}, False),
        ({"image": "debian", "force": False}, False),
        ({"image": "debian", "force": "False"}, False),
        ({"image": "debian", "force": True}, True),
        ({"image": "debian", "force": "true"}, True),
        ({"image": "debian:12"}, True),
    ],
)
@pytest.mark.parametrize("kind", ["json", "data"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_another_image_or_force_begins_a_new_revision(
    caller, actor, database, sent, is_new, kind, prefix
):
    with database.begin() as session:
        live = add_array(session, actor)
        over = add_array(session, actor, status=ArrayStatus.ENDED, ended_at=START)
        others = add_array(session, add_actor(session))
    user = caller("alice", prefix=prefix)
    result = user.put(f"/{actor.id}", **{kind: sent}).json["result"]
    assert result["revision"] == (2 if is_new else 1)
    assert result["status"] == ("SUBMITTED" if is_new else "READY")
    with database.read() as session:
        row = session.get(Actor, actor.id)
        image = session.get(Image, row.image_id)
        assert image.status is (ImageStatus.REQUESTED if is_new else ImageStatus.READY)
        assert image.reference.endswith(":12" if sent["image"] == "debian:12" else ":latest")
        assert session.get(Array, live.id).drain_requested is is_new
        assert not session.get(Array, over.id).drain_requested
        assert not session.get(Array, others.id).drain_requested


@pytest.mark.parametrize(
    ("sent", "drains"),
    [
        ({"description": "new", "hints": ["x"], "webhook": "https://x", "log_ex": 5}, False),
        ({"default_environment": {"a": "b"}}, True),
        ({"batch": {"cpus": 1}}, True),
        ({"stateless": False}, True),
        ({"token": True}, True),
    ],
)
def test_arrays_that_carry_what_has_changed_take_nothing_more(alice, actor, database, sent, drains):
    with database.begin() as session:
        array = add_array(session, actor)
    result = alice.put(f"/{actor.id}", json={"image": "debian", **sent}).json["result"]
    assert (result["revision"], result["status"]) == (1, "READY")
    with database.read() as session:
        assert session.get(Array, array.id).drain_requested is drains


def test_an_actor_in_error_stays_so_until_it_is_forced(alice, actor, database):
    with database.begin() as session:
        row = session.get(Actor, actor.id)
        row.status, row.status_message = ActorStatus.ERROR, "no such image"
    result = alice.put(f"/{actor.id}", json={"image": "debian"}).json["result"]
    assert (result["status"], result["status_message"]) == ("ERROR", "no such image")
    result = alice.put(f"/{actor.id}", json={"image": "debian", "force": True}).json["result"]
    assert (result["status"], result["status_message"]) == ("SUBMITTED", "")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_stateless_rule(caller, actor, read, prefix):
    user = caller("alice", prefix=prefix)
    assert user.put(f"/{actor.id}", json={"image": "x", "stateless": False}).status_code == 200
    for sent in ({"image": "debian"}, {"image": "debian", "stateless": "true"}):
        response = user.put(f"/{actor.id}", json=sent)
        assert response.status_code == 400
        assert response.json["message"] == (
            "Invalid actor description: an actor that was not stateless cannot be updated to be "
            "stateless."
        )
    assert read(actor).image == "x"


@pytest.mark.parametrize(
    ("prefix", "sent", "word"),
    [
        ("/v3/actors", {}, "'image'"),
        ("/v3/actors", {"image": "Not An Image"}, "'image'"),
        ("/v3/actors", {"image": "x", "queue": "fast"}, "Invalid queue name."),
        ("/v3/actors", {"image": "x", "hints": ["{bad"]}, "Hints must be simple stings"),
        ("/v3/actors", {"image": "x", "force": "maybe"}, "'force'"),
        ("/v3/actors", {"image": "x", "cron_on": "maybe"}, "'cron_on'"),
        ("/v3/actors", {"image": "x", "cron_on": True}, "It needs cron_schedule"),
        ("/actors/v2", {"image": "x", "cronOn": True}, "{'cronOn': 'It needs cronSchedule"),
        ("/v3/actors", {"image": "x", "cron_schedule": "soon"}, "not in the correct format"),
        ("/v3/actors", {"image": "x", "cron_schedule": "2020-01-01 5 + 1 hour"}, "is old"),
        ("/v3/actors", {"image": "x", "cron_schedule": "now + 1 eon"}, "invalid unit of time"),
        ("/actors/v2", {"image": "x", "logEx": "soon"}, "'logEx'"),
        ("/actors/v2", {"image": "x", "stateless": False, "maxWorkers": 3}, "only have 1 worker"),
        ("/v3/actors", {"image": "x", "batch": {"cpus": 2}}, "cpus: asked for 2, at most 1"),
        ("/v3/actors", {"image": "x", "run_as_executor": True}, "isn't supported for your"),
    ],
)
def test_what_cannot_be_is_a_400_and_changes_nothing(caller, actor, read, prefix, sent, word):
    response = caller("alice", PRIVILEGED, prefix=prefix).put(f"/{actor.id}", json=sent)
    assert response.status_code == 400
    assert word in response.json["message"]
    assert response.json["result"] is None
    row = read(actor)
    assert (row.image, row.revision, row.last_update_time) == ("debian", 1, START)


@pytest.mark.parametrize("body", [b"[1]", b"{", b"null", b""])
def test_a_body_that_is_no_object_is_a_400(alice, actor, body):
    response = alice.put(f"/{actor.id}", data=body, content_type="application/json")
    assert response.status_code == 400


def test_restricted_fields_need_a_role(alice, caller, actor):
    for sent in ({"privileged": True}, {"max_workers": 2}, {"queue": "special"}):
        response = alice.put(f"/{actor.id}", json={"image": "x", **sent})
        assert response.status_code == 400
        assert response.json["message"].startswith("Not authorized -- only admins and privileged")
    user = caller("alice", PRIVILEGED)
    assert user.put(f"/{actor.id}", json={"image": "x", "privileged": True}).status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
def test_who_may_update_and_whose_the_actor_stays(caller, actor, database, prefix):
    with database.begin() as session:
        add_permission(session, actor, "carol", Level.EXECUTE)
        add_permission(session, actor, "ABACO_WORLD", Level.READ)
    for user in ("carol", "dave"):
        response = caller(user, prefix=prefix).put(f"/{actor.id}", json={"image": "x"})
        assert response.status_code == 400
        assert response.json["message"] == (
            "Not authorized -- you do not have access to this actor."
        )
    result = caller("bob", prefix=prefix).put(f"/{actor.id}", json={"image": "x"}).json["result"]
    assert (result["owner"], result["uid"]) == ("alice", 2001)
    assert result["mounts"][0]["host_path"] == "/work/alice"


def test_another_than_the_owner_gets_an_entry_of_their_own(caller, admin, actor, database):
    with database.begin() as session:
        add_permission(session, actor, "ABACO_WORLD", Level.UPDATE)
        add_permission(session, actor, "carol", Level.READ)
    for user in (caller("carol"), admin, caller("alice")):
        assert user.put(f"/{actor.id}", json={"image": "x"}).status_code == 200
    with database.read() as session:
        levels = {row.username: row.level for row in session.query(Permission)}
    assert levels == dict.fromkeys(
        ("alice", "bob", "carol", "root_admin", "ABACO_WORLD"), Level.UPDATE
    )


def test_the_owners_account_is_what_counts(caller, actor, database):
    """Bob has none on the cluster, and it does not matter; without alice's nothing can run."""
    with database.begin() as session:
        owned = add_actor(session, owner="erin")
        add_permission(session, owned, "alice", Level.UPDATE)
        add_account(session, "erin", uid=None, gid=None, reason="User erin has no account.")
    response = caller("alice").put(f"/{owned.id}", json={"image": "x"})
    assert response.status_code == 400
    assert response.json["message"] == "User erin has no account."


def test_an_alias_stands_for_its_actor(alice, actor, database):
    with database.begin() as session:
        session.add(
            Alias(
                tenant="PHYSICS",
                alias="my-tool",
                actor_id=actor.id,
                owner="alice",
                create_time=START,
            )
        )
    result = alice.put("/my-tool", json={"image": "debian:12"}).json["result"]
    assert (result["id"], result["revision"]) == (actor.id, 2)


def test_another_tenants_actor_does_not_exist(caller, actor):
    user = caller("alice", tenant="BIOLOGY")
    assert user.put(f"/{actor.id}", json={"image": "x"}).status_code == 404


def test_a_schedule_that_stays_keeps_its_next_time(alice, actor, database):
    """Its start is long past, and an update of something else must not fail for that."""
    schedule = "2025-01-01 5 + 1 hour"
    with database.begin() as session:
        row = session.get(Actor, actor.id)
        row.cron_on, row.cron_schedule, row.cron_next_at = True, schedule, START.replace(hour=9)
    sent = {"image": "debian", "cron_schedule": schedule}
    stays = alice.put(f"/{actor.id}", json={**sent, "cron_on": True}).json["result"]
    assert (stays["cron_on"], stays["cron_next_ex"]) == (True, "2026-1-1 9")
    off = alice.put(f"/{actor.id}", json=sent).json["result"]
    assert (off["cron_on"], off["cron_next_ex"]) == (False, "2026-1-1 9")
    other = alice.put(f"/{actor.id}", json={**sent, "cron_schedule": "now + 2 days"})
    assert other.json["result"]["cron_next_ex"] == "2026-1-1 0"
    none = alice.put(f"/{actor.id}", json={"image": "debian"}).json["result"]
    assert (none["cron_on"], none["cron_schedule"], none["cron_next_ex"]) == (False, None, None)


def test_a_tenant_that_moved_to_another_cluster_moves_its_actors(
    caller, app, actor, database, clock, waits, tmp_path
):
    clusters = {
        name: {"spool": "/scratch/{username}/.bridge", "image_cache": "/work/.bridge/images"}
        for name in ("alpha", "beta")
    }
    site = make_site(tmp_path, clusters=clusters)
    tenant = site.tenants["PHYSICS"].model_copy(update={"cluster": "beta"})
    site = site.model_copy(update={"tenants": {**site.tenants, "PHYSICS": tenant}})
    with database.begin() as session:
        add_account(session, "alice", cluster="beta", uid=7001, gid=7001)
    moved = create_app(site, database, clock, waits).test_client()
    headers = caller("alice").headers
    response = moved.put(f"/actors/{actor.id}", json={"image": "debian"}, headers=headers)
    result = response.json["result"]
    assert (result["revision"], result["status"], result["uid"]) == (2, "SUBMITTED", 7001)
    with database.read() as session:
        row = session.get(Actor, actor.id)
        assert (row.cluster, session.get(Image, row.image_id).cluster) == ("beta", "beta")


# Links


@pytest.fixture
def chain(database):
    """Makes actors of alice's, each linked to the next."""

    def make(count):
        with database.begin() as session:
            image = add_image(session).id
            made = [add_actor(session, image_id=image) for _ in range(count)]
            for one, following in pairwise(made):
                one.link = following.id
        return [one.id for one in made]

    return make


def link(user, actor_id, target):
    return user.put(f"/{actor_id}", json={"image": "debian", "link": target})


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_link_is_set_and_taken_away(caller, chain, prefix):
    user = caller("alice", prefix=prefix)
    first, second = chain(2)
    assert link(user, second, "").json["result"]["link"] == ""
    assert link(user, first, second).json["result"]["link"] == second
    assert link(user, first, "").json["result"]["link"] == ""
    assert link(user, second, first).status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_actor_cannot_link_to_itself(caller, chain, database, prefix):
    user = caller("alice", prefix=prefix)
    (only,) = chain(1)
    add_alias(database, "itself", only)
    for target in (only, "itself"):
        response = link(user, only, target)
        assert response.status_code == 400
        assert response.json["message"] == (
            "Invalid link parameter. An actor cannot link to itself."
        )


@pytest.mark.parametrize("length", [2, 3, 7])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_links_never_close_a_circle(caller, chain, length, prefix, read, database):
    ids = chain(length)
    response = link(caller("alice", prefix=prefix), ids[-1], ids[0])
    assert response.status_code == 400
    assert response.json["message"] == (
        "Error: this update would result in a cycle of linked actors."
    )
    with database.read() as session:
        assert session.get(Actor, ids[-1]).link == ""


def add_alias(database, alias, actor_id):
    with database.begin() as session:
        session.add(
            Alias(tenant="PHYSICS", alias=alias, actor_id=actor_id, owner="bob", create_time=START)
        )


def test_a_circle_through_aliases_is_one_too(alice, chain, database):
    first, second, third = chain(3)
    add_alias(database, "the-first", first)
    add_alias(database, "the-third", third)
    assert link(alice, second, "the-third").status_code == 200
    response = link(alice, third, "the-first")
    assert response.status_code == 400
    assert "cycle of linked actors" in response.json["message"]


def test_others_circles_and_dead_ends_do_not_hold_up(alice, chain, database):
    """An alias that was moved can close a circle, and a linked actor can be deleted."""
    one, other, third, fourth = chain(4)
    with database.begin() as session:
        session.get(Actor, other).link = one
        session.get(Actor, fourth).link = "nobody"
    (newcomer,) = chain(1)
    assert link(alice, newcomer, one).status_code == 200
    assert link(alice, newcomer, third).status_code == 200


def test_a_chain_has_an_end(alice, chain):
    ids = chain(102)
    (newcomer,) = chain(1)
    assert link(alice, newcomer, ids[2]).status_code == 200
    response = link(alice, newcomer, ids[0])
    assert response.status_code == 400
    assert "longer than 100" in response.json["message"]


def test_a_link_needs_execute_on_its_target(alice, bob, chain, database):
    (mine,) = chain(1)
    with database.begin() as session:
        theirs = add_actor(session, owner="bob")
        foreign = add_actor(session, tenant="BIOLOGY")
    for target in (theirs.id, foreign.id, "nobody"):
        response = link(alice, mine, target)
        assert response.status_code == 400
        assert response.json["message"].startswith("Invalid link parameter.")
    with database.begin() as session:
        add_permission(session, theirs, "alice", Level.EXECUTE)
    assert link(alice, mine, theirs.id).status_code == 200


# Two requests at the same moment


def at_once(*uses):
    """Run every use in a thread of its own, and return what they answered."""
    ready = threading.Barrier(len(uses))
    answers: list[object] = [None] * len(uses)

    def run(number, use):
        ready.wait()
        answers[number] = use()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(uses)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_two_updates_do_not_close_a_circle_together(alice, chain, database):
    for _ in range(10):
        with database.begin() as session:
            image = add_image(session).id
            one, other = (add_actor(session, image_id=image).id for _ in range(2))
        answers = at_once(partial(link, alice, one, other), partial(link, alice, other, one))
        assert sorted(answer.status_code for answer in answers) == [200, 400]


def test_updates_at_once_are_each_a_revision(alice, bob, actor, read):
    uses = [
        partial(user.put, f"/{actor.id}", json={"image": "debian", "force": True})
        for user in (alice, bob, alice, bob)
    ]
    answers = at_once(*uses)
    assert sorted(answer.json["result"]["revision"] for answer in answers) == [2, 3, 4, 5]
    assert read(actor).revision == 5


def test_an_update_that_meets_a_deletion(alice, database, read):
    """Whichever comes first, a deleted actor stays deleted."""
    for _ in range(10):
        with database.begin() as session:
            actor = add_actor(session)
        updated, deleted = at_once(
            partial(alice.put, f"/{actor.id}", json={"image": "x"}),
            partial(alice.delete, f"/{actor.id}"),
        )
        assert deleted.status_code == 200
        assert updated.status_code in (200, 404)
        assert read(actor).status is ActorStatus.SHUTTING_DOWN
        assert alice.get(f"/{actor.id}").status_code == 404


def test_an_update_that_meets_a_new_state_keeps_it(alice, database, read):
    with database.begin() as session:
        actor = add_actor(session, stateless=False)
    for number in range(10):
        answers = at_once(
            partial(alice.put, f"/{actor.id}", json={"image": "x", "stateless": False}),
            partial(alice.post, f"/{actor.id}/state", json={"n": number}),
        )
        assert [answer.status_code for answer in answers] == [200, 200]
        assert read(actor).state == {"n": number}


def test_a_state_that_meets_a_deletion(alice, database):
    for _ in range(10):
        with database.begin() as session:
            actor = add_actor(session, stateless=False)
        written, deleted = at_once(
            partial(alice.post, f"/{actor.id}/state", json=1),
            partial(alice.delete, f"/{actor.id}"),
        )
        assert (deleted.status_code, written.status_code in (200, 404)) == (200, True)
