"""Who finds which actor, by which word, with which level."""

from __future__ import annotations

import pytest

from bridge.auth.identity import WORLD, Identity, NonceGrant
from bridge.core.statuses import Level
from bridge.errors import NotFound, PermissionDenied
from bridge.services.access import find_actor, find_with_level
from bridge.services.deletion import delete_actor
from tests.factories.rows import (
    START,
    add_actor,
    add_alias,
    add_alias_permission,
    add_permission,
)
from tests.factories.statements import recorded_statements

ALICE = Identity("PHYSICS", "alice", ())
BOB = Identity("PHYSICS", "bob", ())
ADMIN = Identity("PHYSICS", "root_admin", (), is_admin=True)
STRANGER = Identity("BIOLOGY", "alice", (), is_admin=True)


@pytest.fixture
def actor(database):
    """An actor of alice's with the alias prod-1."""
    with database.begin() as session:
        found = add_actor(session)
        add_alias(session, found, "prod-1")
    return found


@pytest.mark.parametrize("word", ["id", "prod-1"])
@pytest.mark.parametrize("how", [{}, {"lock": True}, {"share": True}])
def test_an_id_and_an_alias_find_the_same_actor(database, actor, word, how):
    word = actor.id if word == "id" else word
    with recorded_statements(database) as statements, database.begin() as session:
        assert find_actor(session, ALICE, word, Level.UPDATE, **how).id == actor.id
    assert len(statements) == 1


def test_an_alias_that_looks_like_an_id_is_found_at_the_second_look(database, actor):
    with database.begin() as session:
        add_alias(session, actor, "prod")
    with recorded_statements(database) as statements, database.read() as session:
        assert find_actor(session, ALICE, "prod", Level.READ).id == actor.id
    assert len(statements) == 2


def test_an_id_goes_before_an_alias_of_the_same_word(database, actor):
    with database.begin() as session:
        other = add_actor(session)
        add_alias(session, other, actor.id)
    with database.read() as session:
        assert find_actor(session, ALICE, actor.id, Level.READ).id == actor.id


@pytest.mark.parametrize("word", ["nobody", "no-body", "", "a\0b", "x" * 300, "\ud800", "prod"])
def test_a_word_that_nothing_has_is_not_found(database, actor, word):
    with database.read() as session, pytest.raises(NotFound) as error:
        find_actor(session, ADMIN, word, Level.READ)
    assert error.value.message == f"No actor found with id: {word[:64]}."


def test_another_tenants_alias_does_not_exist(database, actor):
    with database.read() as session:
        for word in (actor.id, "prod-1"):
            with pytest.raises(NotFound):
                find_actor(session, STRANGER, word, Level.READ)


def test_the_same_alias_is_another_actor_in_another_tenant(database, actor):
    with database.begin() as session:
        other = add_actor(session, tenant="BIOLOGY")
        add_alias(session, other, "prod-1")
    with database.read() as session:
        assert find_actor(session, STRANGER, "prod-1", Level.READ).id == other.id
        assert find_actor(session, ALICE, "prod-1", Level.READ).id == actor.id


def test_an_alias_gives_no_right_on_its_actor(database, actor):
    with database.begin() as session:
        add_alias_permission(session, add_alias(session, actor, "mine"), "bob", Level.UPDATE)
    with database.read() as session, pytest.raises(PermissionDenied):
        find_actor(session, BOB, "mine", Level.READ)


@pytest.mark.parametrize(
    ("own", "world", "held"),
    [
        (None, None, Level.NONE),
        (Level.READ, None, Level.READ),
        (None, Level.EXECUTE, Level.EXECUTE),
        (Level.READ, Level.EXECUTE, Level.EXECUTE),
        (Level.UPDATE, Level.NONE, Level.UPDATE),
        (Level.NONE, Level.READ, Level.READ),
        (None, Level.NONE, Level.NONE),
    ],
)
def test_the_higher_of_ones_own_level_and_the_worlds(database, actor, own, world, held):
    with database.begin() as session:
        for name, level in (("bob", own), (WORLD, world)):
            if level is not None:
                add_permission(session, actor, name, level)
    with database.read() as session:
        assert find_with_level(session, BOB, actor.id)[1] is held
        assert find_with_level(session, ADMIN, actor.id)[1] is Level.UPDATE


def with_nonce(owner, actor, level):
    return Identity(
        owner.tenant,
        owner.username,
        (),
        is_admin=owner.is_admin,
        grant=NonceGrant(nonce_id="PHYSICS_x", level=level, actor_id=actor.id),
    )


def test_a_nonce_gives_its_level_on_its_actor_alone(database, actor):
    with database.begin() as session:
        other = add_actor(session)
        add_permission(session, actor, "bob", Level.READ)
    with database.read() as session:
        for owner, level, held in (
            (ALICE, Level.READ, Level.READ),
            (ADMIN, Level.EXECUTE, Level.EXECUTE),
            (ALICE, Level.UPDATE, Level.UPDATE),
            (BOB, Level.UPDATE, Level.READ),  # no more than its owner has today
        ):
            holder = with_nonce(owner, actor, level)
            assert find_with_level(session, holder, actor.id)[1] is held
            assert find_with_level(session, holder, other.id)[1] is Level.NONE


def test_a_nonces_id_is_not_in_what_is_printed_of_its_holder(actor):
    assert "PHYSICS_x" not in repr(with_nonce(ALICE, actor, Level.READ))


def test_the_alias_of_a_deleted_actor_is_gone_and_free(database, actor):
    with database.begin() as session:
        delete_actor(session, ALICE, "prod-1", START)
    with database.begin() as session:
        with pytest.raises(NotFound):
            find_actor(session, ADMIN, "prod-1", Level.READ)
        add_alias(session, add_actor(session), "prod-1")
