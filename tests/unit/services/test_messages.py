"""Posting: what it costs, and that it never meets a deletion half way."""

from __future__ import annotations

import threading

import pytest

from bridge.auth.identity import Identity
from bridge.clock import ManualClock
from bridge.core.messages import text_message
from bridge.core.statuses import ExecutionStatus, Level
from bridge.core.waits import Waits
from bridge.db import Execution, Message
from bridge.errors import Conflict, NotFound, UserUnknown
from bridge.services.accounts import Account
from bridge.services.deletion import delete_actor
from bridge.services.messages import (
    CRON,
    EVENTS,
    Executor,
    executor_account,
    post_message,
    queue_message,
)
from tests.factories.rows import START, add_account, add_actor, add_permission
from tests.factories.statements import recorded_statements

ALICE = Identity("PHYSICS", "alice", ())


def test_a_post_is_three_statements_in_one_transaction(database):
    with database.begin() as session:
        actor = add_actor(session)
    with recorded_statements(database) as statements, database.begin() as session:
        post_message(session, ALICE, actor.id, text_message("x"), {}, START)
    assert [statement.split()[0] for statement in statements] == ["SELECT", "INSERT", "INSERT"]


def test_messages_keep_the_order_in_which_they_came(database):
    with database.begin() as session:
        actor = add_actor(session)
    posted = []
    for number in range(5):
        with database.begin() as session:
            message = text_message(str(number))
            posted.append(post_message(session, ALICE, actor.id, message, {}, START))
    with database.read() as session:
        rows = session.query(Execution).order_by(Execution.seq).all()
    assert [row.id for row in rows] == [one.execution_id for one in posted]


def test_a_post_that_meets_a_deletion_is_refused_or_ended(database):
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
                post_message(session, ALICE, actor.id, text_message("x"), {}, START)
            outcome.append("posted")
        except NotFound:
            outcome.append("refused")

    with database.begin() as session:
        post_message(session, ALICE, actor.id, text_message("x"), {}, START)
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


@pytest.mark.parametrize("executor", [CRON, EVENTS])
def test_the_bridge_itself_posts_without_an_identity_and_as_the_owner(database, executor):
    with database.begin() as session:
        actor = add_actor(session, run_as_executor=True)
        execution_id = queue_message(session, actor, executor, text_message("x"), {"A": "1"}, START)
    with database.read() as session:
        row = session.query(Execution).one()
        assert session.query(Message).one().environment == {"A": "1"}
    assert (row.id, row.executor) == (execution_id, executor.name)
    assert (row.username, row.executor_uid, row.executor_gid) == ("alice", None, None)


@pytest.mark.parametrize(
    ("run_as_executor", "expected"),
    [(False, ("alice", None, None)), (True, ("bob", 2002, 2003))],
)
def test_whose_account_an_execution_runs_under(database, run_as_executor, expected):
    with database.begin() as session:
        actor = add_actor(session, run_as_executor=run_as_executor)
        bob = Executor("bob", Account(2002, 2003))
        queue_message(session, actor, bob, text_message("x"), {}, START)
        row = session.query(Execution).one()
        assert (row.username, row.executor_uid, row.executor_gid) == expected
        assert row.executor == "bob"


@pytest.mark.parametrize("name", ["bob", "alice", "cron"])
def test_an_executor_without_an_account_never_runs_as_the_owner(database, name):
    """Neither can a user who is called as the bridge calls itself."""
    with database.begin() as session:
        actor = add_actor(session, run_as_executor=True)
        with pytest.raises(Conflict, match="post the message again"):
            queue_message(session, actor, Executor(name), text_message("x"), {}, START)


def test_the_executor_s_account_is_asked_for_only_where_it_counts(database, site):
    open_site = site.model_copy(
        update={
            "tenants": {
                **site.tenants,
                "PHYSICS": site.tenants["PHYSICS"].model_copy(update={"run_as_executor": True}),
            }
        }
    )
    with database.begin() as session:
        plain, shared = add_actor(session), add_actor(session, run_as_executor=True)
        for actor in (plain, shared):
            add_permission(session, actor, "bob", Level.EXECUTE)
            add_permission(session, actor, "erin", Level.EXECUTE)
        add_account(session, "bob", uid=2002, gid=2003)
        add_account(session, "erin", uid=None, gid=None, reason="No such user.")

    def ask(name, actor, where):
        caller = Identity("PHYSICS", name, ())
        return executor_account(database, caller, where, actor.id, ManualClock(), Waits())

    assert ask("bob", plain, open_site) is None
    assert ask("bob", shared, open_site) == Account(2002, 2003)
    assert ask("bob", shared, site) is None
    with pytest.raises(UserUnknown, match="No such user"):
        ask("erin", shared, open_site)
