"""How many statements the hot requests send: a number that should not grow unnoticed."""

from __future__ import annotations

from bridge.auth.identity import Identity
from bridge.core.actors import ActorDescription
from bridge.core.statuses import Level
from bridge.services.accounts import Account
from bridge.services.actors import list_actors, register_actor
from bridge.services.deletion import delete_actor
from bridge.services.executions import find_execution, read_log, summarise_executions
from bridge.services.messages import count_messages
from tests.factories.rows import START, add_actor, add_execution
from tests.factories.statements import recorded_statements

ALICE = Identity("PHYSICS", "alice", ())


def count(database, use):
    with recorded_statements(database) as statements, database.begin() as session:
        use(session)
    return len(statements)


def test_statements(database, site):
    with database.begin() as session:
        actor = add_actor(session)
        ids = [add_execution(session, actor).id for _ in range(3)]
    description = ActorDescription(image="debian")

    def read(session):
        _, execution = find_execution(session, ALICE, actor.id, ids[0], Level.READ)
        read_log(session, execution.id, START)

    def register(session):
        register_actor(session, ALICE, site, description, Account("alice", 1, 1), START)

    with recorded_statements(database) as statements:
        assert [len(page) for page in list_actors(database, ALICE)] == [1]
    assert len(statements) == 2  # a page, and that there is no other
    assert count(database, lambda s: count_messages(s, ALICE, actor.id)) == 3
    assert count(database, lambda s: summarise_executions(s, ALICE, actor.id)) == 2
    assert count(database, read) == 3
    count(database, register)  # its image is new
    assert count(database, register) == 4  # one asks for a login of the owner's at its registry
    assert count(database, lambda s: delete_actor(s, ALICE, actor.id, START)) == 7
