"""Two requests at the same moment: a name taken twice, a thing deleted while it is being used."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.auth import redeem_nonce
from bridge.auth.identity import Identity
from bridge.core.statuses import Level
from bridge.db import Alias, AliasPermission, Config, ConfigTarget, Nonce, Permission
from bridge.errors import BridgeError
from bridge.services.access import find_actor
from bridge.services.aliases import create_alias, delete_alias, update_alias
from bridge.services.configs import ConfigDescription, create_config, update_config
from bridge.services.deletion import delete_actor
from bridge.services.nonces import NonceDescription, create_nonce, find_subject
from bridge.services.permissions import set_permission
from tests.factories.rows import START, add_actor, add_alias, add_nonce

ALICE = Identity("PHYSICS", "alice", ("Internal/everyone",))


@pytest.fixture
def actor(database):
    with database.begin() as session:
        return add_actor(session)


@pytest.fixture
def together(database):
    """Runs each in a transaction of its own, all begun at once; returns what each said."""

    def run(*works):
        gate = threading.Barrier(len(works))

        def one(work):
            gate.wait(30)
            try:
                with database.begin() as session:
                    work(session)
            except BridgeError as error:
                return error.message
            return "done"

        with ThreadPoolExecutor(len(works)) as pool:
            return list(pool.map(one, works))

    return run


def deleting(actor):
    return lambda session: delete_actor(session, ALICE, actor.id, START)


@pytest.mark.parametrize("_round", range(3))
def test_an_alias_is_made_once(database, actor, together, _round):
    def make(session):
        create_alias(session, ALICE, "prod", actor.id, START)

    assert sorted(together(make, make, make, make)) == [
        "Alias prod already exists.",
        "Alias prod already exists.",
        "Alias prod already exists.",
        "done",
    ]
    with database.read() as session:
        assert session.query(Alias).one().actor_id == actor.id
        assert session.query(AliasPermission).count() == 1


def test_a_config_is_made_once(database, actor, together):
    def make(session):
        create_config(session, ALICE, None, ConfigDescription("key", "v", False, actor.id), START)

    refusal = "Config key already exists; please choose another name for your config"
    assert sorted(together(make, make, make)) == [refusal, refusal, "done"]


def test_a_permission_given_twice_at_once_is_one(database, actor, together):
    def give(session):
        found = find_actor(session, ALICE, actor.id, Level.UPDATE, share=True)
        set_permission(session, found, "bob", Level.READ)

    assert together(give, give, give, give) == ["done"] * 4
    with database.read() as session:
        assert session.get(Permission, (actor.id, "bob")).level is Level.READ


@pytest.mark.parametrize("_round", range(3))
def test_nothing_is_made_for_an_actor_that_is_being_deleted(database, actor, together, _round):
    def alias(session):
        create_alias(session, ALICE, "prod", actor.id, START)

    def nonce(session):
        subject = find_subject(session, ALICE, actor.id, Level.UPDATE, is_alias=False, share=True)
        create_nonce(session, ALICE, subject, NonceDescription(), START)

    def permission(session):
        found = find_actor(session, ALICE, actor.id, Level.UPDATE, share=True)
        set_permission(session, found, "bob", Level.READ)

    def config(session):
        create_config(session, ALICE, None, ConfigDescription("key", "v", False, actor.id), START)

    answers = together(deleting(actor), alias, nonce, permission, config)
    assert answers[0] == "done"
    assert all(answer == "done" or "found with id" in answer for answer in answers)
    with database.read() as session:
        for model in (Alias, AliasPermission, Nonce, Permission, ConfigTarget):
            assert session.query(model).count() == 0
        assert session.query(Config).count() == (answers[4] == "done")


@pytest.mark.parametrize("_round", range(3))
def test_an_alias_that_changes_while_all_goes_on_around_it(database, actor, together, _round):
    """Nobody waits for somebody who waits for them, and nothing points at what is gone."""
    with database.begin() as session:
        other = add_actor(session)
        for name in ("prod", "test"):
            add_alias(session, actor, name)
    targets = f"test,{other.id},prod"
    with database.begin() as session:
        create_config(session, ALICE, None, ConfigDescription("key", "v", False, targets), START)

    def nonce(session):
        subject = find_subject(session, ALICE, "prod", Level.UPDATE, is_alias=True, share=True)
        create_nonce(session, ALICE, subject, NonceDescription(), START)

    def config(session):
        update_config(session, ALICE, None, ConfigDescription("key", "w", False, targets), START)

    answers = together(
        deleting(actor),
        lambda session: update_alias(session, ALICE, "prod", actor.id),
        lambda session: update_alias(session, ALICE, "test", other.id),
        lambda session: delete_alias(session, ALICE, "prod"),
        nonce,
        config,
    )
    assert answers[0] == "done"
    assert all(answer == "done" or "found" in answer for answer in answers)
    with database.read() as session:
        assert {alias.actor_id for alias in session.query(Alias)} <= {other.id}
        assert session.query(Nonce).count() == 0
        left = {target.identifier for target in session.query(ConfigTarget)}
    assert left in ({other.id}, {other.id, "test"})


@pytest.mark.parametrize("_round", range(3))
def test_a_nonce_redeemed_while_its_actor_is_deleted(database, site, actor, _round):
    with database.begin() as session:
        nonce_id = add_nonce(session, actor).id
    gate = threading.Barrier(4)

    def redeem(_number):
        gate.wait(30)
        try:
            redeem_nonce(database, site, nonce_id, actor.id, Level.READ, START)
        except BridgeError as error:
            return error.message
        return "redeemed"

    def delete():
        gate.wait(30)
        with database.begin() as session:
            delete_actor(session, ALICE, actor.id, START)

    with ThreadPoolExecutor(4) as pool:
        deleted = pool.submit(delete)
        answers = set(pool.map(redeem, range(3)))
        deleted.result()
    assert answers <= {"redeemed", "Nonce does not exist."}
    with database.read() as session:
        assert session.query(Nonce).count() == 0
