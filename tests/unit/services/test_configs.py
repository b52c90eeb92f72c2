"""Which containers get which configs."""

from __future__ import annotations

import ast

import pytest

from bridge.auth import load_secret_box
from bridge.auth.identity import WORLD, Identity
from bridge.core.statuses import Level
from bridge.db import Config, ConfigPermission, ConfigTarget, Permission
from bridge.errors import ConfigsUnusable
from bridge.services.configs import (
    MAX_CONFIGS_BYTES,
    ConfigDescription,
    configs_of,
    create_config,
    update_config,
)
from bridge.services.deletion import delete_actor
from tests.factories.rows import START, add_actor, add_alias, add_config, add_permission
from tests.factories.statements import recorded_statements

ALICE = Identity("PHYSICS", "alice", ())
MALLORY = Identity("PHYSICS", "mallory", ())
ADMIN = Identity("PHYSICS", "root_admin", (), is_admin=True)


@pytest.fixture
def box(site):
    return load_secret_box(site)


@pytest.fixture
def actor(database):
    with database.begin() as session:
        return add_actor(session)


def given(database, actor, box=None):
    with database.read() as session:
        return configs_of(session, actor, box)


def write(database, identity, box, name, actors, value="v", is_secret=True, how=create_config):
    description = ConfigDescription(name, value, is_secret, actors)
    with database.begin() as session:
        how(session, identity, box, description, START)


def test_by_id_by_alias_and_by_both_once_in_the_order_of_names(database, actor, box):
    with database.begin() as session:
        alias = add_alias(session, actor, "prod")
        add_config(session, "b", actor)
        add_config(session, "c", alias, value="")
        add_config(session, "a", alias, actor, value=box.encrypt("s"), is_secret=True)
        add_config(session, "d", add_actor(session))
    with recorded_statements(database) as statements:
        found = given(database, actor, box)
    assert list(found.items()) == [("a", "s"), ("b", "a value"), ("c", "")]
    assert ast.literal_eval(repr(found)) == found
    assert len(statements) == 1


def test_nothing_for_an_actor_that_no_config_lists(database, actor):
    assert given(database, actor) == {}


def test_a_part_of_an_id_or_an_alias_is_not_it(database, box):
    """Abaco looks for the actor's words anywhere in the list's text."""
    with database.begin() as session:
        short, long = add_actor(session, id="abc"), add_actor(session, id="abcd")
        add_alias(session, short, "prod")
        add_alias(session, long, "prod-2")
    write(database, ALICE, box, "by-id", "abcd")
    write(database, ALICE, box, "by-alias", " prod-2 ")
    assert given(database, short, box) == {}
    assert given(database, long, box) == {"by-id": "v", "by-alias": "v"}


def test_another_tenants_config_of_the_same_words_is_not_given(database, actor):
    with database.begin() as session:
        theirs = add_actor(session, tenant="BIOLOGY")
        add_alias(session, actor, "prod")
        alias = add_alias(session, theirs, "prod")
        add_config(session, "theirs", alias, tenant="BIOLOGY")
    assert given(database, actor) == {}
    assert given(database, theirs) == {"theirs": "a value"}


@pytest.mark.parametrize(
    ("level", "who", "is_given"),
    [
        (Level.UPDATE, "mallory", True),
        (Level.UPDATE, WORLD, True),
        (Level.EXECUTE, "mallory", False),
        (Level.EXECUTE, WORLD, False),
        (None, "mallory", False),
    ],
)
def test_its_author_needs_update_on_the_actor_at_that_moment(
    database, actor, box, level, who, is_given
):
    write(database, MALLORY, box, "steer", actor.id)
    if level is not None:
        with database.begin() as session:
            add_permission(session, actor, who, level)
    assert given(database, actor, box) == ({"steer": "v"} if is_given else {})


def test_what_an_admin_wrote_is_given_and_what_a_user_made_of_it_is_not(database, actor, box):
    write(database, ADMIN, box, "shared", actor.id)
    assert given(database, actor, box) == {"shared": "v"}
    with database.begin() as session:
        permission = {"tenant": "PHYSICS", "name": "shared", "username": "mallory"}
        session.add(ConfigPermission(**permission, level=Level.UPDATE))
    write(database, MALLORY, box, "shared", actor.id, value="mine", how=update_config)
    assert given(database, actor, box) == {}


def test_the_owners_configs_end_with_the_owners_update(database, actor, box):
    write(database, ALICE, box, "key", actor.id)
    with database.begin() as session:
        session.get(Permission, (actor.id, "alice")).level = Level.EXECUTE
    assert given(database, actor, box) == {}


def test_an_alias_is_followed_and_one_made_again_is_another(database, actor, box):
    """Else whoever takes a freed alias, and lets its old author in, would read the secret."""
    with database.begin() as session:
        other = add_actor(session)
        alias = add_alias(session, actor, "prod")
    write(database, ALICE, box, "key", "prod")
    write(database, ADMIN, box, "admins-key", "prod")
    with database.begin() as session:
        alias = session.merge(alias)
        alias.actor_id = other.id
    assert given(database, actor, box) == {}
    assert given(database, other, box) == {"admins-key": "v", "key": "v"}
    with database.begin() as session:
        session.delete(session.merge(alias))
    with database.begin() as session:
        trap = add_actor(session, owner="mallory")
        add_permission(session, trap, "alice", Level.UPDATE)
        add_alias(session, trap, "prod", owner="mallory")
    assert given(database, trap, box) == {}
    write(database, ALICE, box, "key", "prod", how=update_config)
    assert given(database, trap, box) == {"key": "v"}


def test_a_deleted_actor_leaves_no_place_in_configs(database, actor, box):
    with database.begin() as session:
        add_alias(session, actor, "prod")
        kept = add_actor(session)
    write(database, ALICE, box, "key", f"{actor.id},prod,{kept.id}")
    with database.begin() as session:
        delete_actor(session, ALICE, actor.id, START)
    with database.read() as session:
        assert [row.identifier for row in session.query(ConfigTarget)] == [kept.id]
        assert session.query(Config).one().actors.startswith(actor.id)


@pytest.mark.parametrize("has_box", [True, False])
def test_a_secret_that_cannot_be_read_is_told_and_not_left_out(database, actor, box, has_box):
    with database.begin() as session:
        add_config(session, "plain", actor)
        add_config(session, "key", actor, value="gAAAAA", is_secret=True)
    with pytest.raises(ConfigsUnusable, match=r"^Config key cannot be given to containers"):
        given(database, actor, box if has_box else None)


def test_too_much_together_is_told_and_not_cut(database, actor):
    with database.begin() as session:
        for number in range(2):
            add_config(session, f"c{number}", actor, value="x" * (MAX_CONFIGS_BYTES // 2))
    with pytest.raises(ConfigsUnusable, match=f"The configs of actor {actor.id} are 1000.. bytes"):
        given(database, actor)


def test_an_unreadable_neighbour_does_not_keep_one_from_writing(database, actor, box):
    with database.begin() as session:
        add_config(session, "lost", actor, value="gAAAAA", is_secret=True)
    write(database, ALICE, box, "key", actor.id)
    write(database, ALICE, box, "lost", actor.id, value="again", how=update_config)
    assert given(database, actor, box) == {"key": "v", "lost": "again"}
