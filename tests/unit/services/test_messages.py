"""Posting: what it costs, and that it never meets a deletion half way."""

from __future__ import annotations

import threading

from bridge.auth.identity import Identity
from bridge.core.messages import text_message
from bridge.core.statuses import ExecutionStatus
from bridge.db import Execution, Message
from bridge.errors import NotFound
from bridge.services.actors import delete_actor
from bridge.services.messages import post_message
from tests.factories.rows import START, add_actor
from tests.factories.statements import recorded_statements

ALICE = Identity("PHYSICS", "alice", ())


def test_a_post_is_three_statements_in_one_transaction(database, site):
    with database.begin() as session:
        actor = add_actor(session)
    with recorded_statements(database) as statements, database.begin() as session:
        post_message(session, ALICE, site, actor.id, text_message("x"), {}, START)
    assert [statement.split()[0] for statement in statements] == ["SELECT", "INSERT", "INSERT"]


def test_messages_keep_the_order_in_which_they_came(database, site):
    with database.begin() as session:
        actor = add_actor(session)
    posted = []
    for number in range(5):
        with database.begin() as session:
            message = text_message(str(number))
            posted.append(post_message(session, ALICE, site, actor.id, message, {}, START))
    with database.read() as session:
        rows = session.query(Execution).order_by(Execution.seq).all()
    assert [row.id for row in rows] == [one.execution_id for one in posted]


def test_a_post_that_meets_a_deletion_is_refused_or_ended(database, site):
    """Whichever comes first, nothing stays SUBMITTED below a deleted actor."""
    with database.begin() as session:
        actor = add_actor(session)
    outcome = []

    def delete():
        with database.begin() as session:
            delete_actor(session, ALICE, actor.id, START)

    def post_late():
        try:
            with database.begin() as session:
                post_message(session, ALICE, site, actor.id, text_message("x"), {}, START)
            outcome.append("posted")
        except NotFound:
            outcome.append("refused")

    with database.begin() as session:
        post_message(session, ALICE, site, actor.id, text_message("x"), {}, START)
        deletion = threading.Thread(target=delete)
        deletion.start()
        deletion.join(0.2)
        assert deletion.is_alive(), "the deletion waits for the post"
    deletion.join(10)
    post_late()
    assert outcome == ["refused"]
    with database.read() as session:
        assert session.query(Execution).one().status is ExecutionStatus.ERROR
        assert session.query(Message).count() == 0
