"""Posting: what it costs, and that it never meets a deletion half way."""

from __future__ import annotations

import io
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, update

from bridge.auth.identity import Identity
from bridge.clock import ManualClock
from bridge.core.messages import spooled_message, text_message
from bridge.core.statuses import ExecutionStatus, Level
from bridge.core.waits import Waits
from bridge.db import Execution, Message
from bridge.errors import Conflict, NotFound, UserUnknown
from bridge.services import messages
from bridge.services.accounts import Account
from bridge.services.deletion import delete_actor, end_left
from bridge.services.messages import (
    CRON,
    EVENTS,
    Executor,
    NewMessage,
    count_messages,
    executor_account,
    post_messages,
    purge_messages,
    queue_message,
)
from tests.factories.rows import (
    START,
    add_account,
    add_actor,
    add_array,
    add_execution,
    add_message,
    add_permission,
    add_worker,
)
from tests.factories.sites import make_gate
from tests.factories.statements import recorded_statements

ALICE = Identity("PHYSICS", "alice", ())
OPEN = make_gate()
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)


def post(session, actor, *texts, keys=None):
    new = [
        NewMessage(text_message(text), key=keys[number] if keys else None)
        for number, text in enumerate(texts or ["x"])
    ]
    posted = post_messages(session, ALICE, actor.id, new, START, OPEN)
    return [one.execution_id for one in posted.queued]


def test_a_post_is_three_statements_in_one_transaction(database):
    with database.begin() as session:
        actor = add_actor(session)
    with recorded_statements(database) as statements, database.begin() as session:
        post(session, actor)
    assert [statement.split()[0] for statement in statements] == ["SELECT", "INSERT", "INSERT"]


def test_a_batch_is_three_statements_too(database):
    with database.begin() as session:
        actor = add_actor(session)
    with recorded_statements(database) as statements, database.begin() as session:
        post(session, actor, *map(str, range(300)))
    assert [statement.split()[0] for statement in statements] == ["SELECT", "INSERT", "INSERT"]


def test_a_batch_keeps_its_order(database):
    with database.begin() as session:
        actor = add_actor(session)
        texts = [str(number) for number in range(500)]
        keys = [f"k{number}" if number % 3 else None for number in range(500)]
        ids = post(session, actor, *texts, keys=keys)
    with database.read() as session:
        rows = session.query(Execution.id, Message.payload).join(
            Message, Message.execution_id == Execution.id
        )
        found = rows.order_by(Execution.seq).all()
    assert [(one, payload.decode()) for one, payload in found] == list(zip(ids, texts, strict=True))


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
    environment=st.dictionaries(NAMES, NAMES, max_size=3),
)
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_what_is_written_in_bulk_is_what_was_posted(database, texts, environment):
    texts = [*texts, ""]
    with database.begin() as session:
        actor = add_actor(session)
        new = [NewMessage(text_message(text), environment) for text in texts]
        posted = post_messages(session, ALICE, actor.id, new, START, OPEN)
        ids = [one.execution_id for one in posted.queued]
        for execution_id, text in zip(ids, texts, strict=True):
            message = session.get_one(Message, execution_id)
            assert (message.payload.decode(), message.environment) == (text, environment)
            assert (message.content_type, message.size) == ("str", len(text.encode()))


def test_a_row_is_as_the_model_would_have_made_it(database):
    """Bulk inserts fill in the columns that nobody gives; none is forgotten."""
    with database.begin() as session:
        actor = add_actor(session)
        plain = add_execution(session, actor)
        [posted] = post(session, actor)
        bulk = session.query(Execution).filter(Execution.id == posted).one()
        for name in inspect(Execution).columns.keys():  # noqa: SIM118  # it iterates otherwise
            if name not in ("seq", "id"):
                assert getattr(bulk, name) == getattr(plain, name), name


def test_a_key_is_one_message(database):
    with database.begin() as session:
        actor, other = add_actor(session), add_actor(session)
        [first] = post(session, actor, "a", keys=["k"])
    with database.begin() as session:
        assert post(session, actor, "b", keys=["k"]) == [first]
        batch = post(session, actor, "c", "d", "e", "f", keys=["n", "k", "n", None])
        assert batch[1] == first
        assert batch[0] == batch[2]
        assert len({first, *batch}) == 3
        assert post(session, other, "a", keys=["k"]) != [first]
    with database.read() as session:
        payloads = [row.payload for row in session.query(Message)]
    assert sorted(payloads) == [b"a", b"a", b"c", b"f"]


def test_what_was_new_is_told(database):
    with database.begin() as session:
        actor = add_actor(session)
        post(session, actor, keys=["k"])
        new = [NewMessage(text_message("x"), key=key) for key in ("k", "n", "n", None)]
        posted = post_messages(session, ALICE, actor.id, new, START, OPEN)
    assert [one.is_new for one in posted.queued] == [False, True, False, True]


def test_a_key_is_its_executor_s_own(database):
    """Nobody can swallow another's message by taking its key."""
    bob = Identity("PHYSICS", "bob", ())
    with database.begin() as session:
        actor = add_actor(session)
        add_permission(session, actor, "bob", Level.EXECUTE)
        [first] = post(session, actor, keys=["k"])
        new = NewMessage(text_message("x"), key="k")
        [other] = post_messages(session, bob, actor.id, [new], START, OPEN).queued
        assert other.is_new
        assert other.execution_id != first


def test_more_keys_than_are_asked_for_at_once(database, monkeypatch):
    monkeypatch.setattr(messages, "_KEYS_AT_ONCE", 7)
    keys = [str(number) for number in range(20)]
    with database.begin() as session:
        actor = add_actor(session)
        ids = post(session, actor, *keys, keys=keys)
        assert post(session, actor, *keys, keys=keys) == ids


@pytest.mark.parametrize("count", [1, 40])
def test_repeats_at_the_same_moment_are_one_message(database, count):
    """Both orders of the same keys meet: neither waits for the other half way."""
    with database.begin() as session:
        actor = add_actor(session)
    keys = [str(number) for number in range(count)]
    start = threading.Barrier(6)
    answers = []

    def send(mine):
        start.wait(10)
        for _ in range(5):
            with database.begin() as session:
                ids = post(session, actor, *mine, keys=mine)
            answers.append(dict(zip(mine, ids, strict=True)))

    orders = [keys, keys[::-1]] * 3
    threads = [threading.Thread(target=send, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 30
    assert all(answer == answers[0] for answer in answers)
    with database.read() as session:
        assert session.query(Execution).count() == session.query(Message).count() == count


def test_a_batch_that_fails_leaves_nothing(database):
    with database.begin() as session:
        actor = add_actor(session)
    torn = spooled_message(io.BytesIO(b"x"), 1)
    torn.close()
    messages = [NewMessage(text_message("x")), NewMessage(torn)]
    with pytest.raises(ValueError, match="closed file"), database.begin() as session:
        post_messages(session, ALICE, actor.id, messages, START, OPEN)
    with database.read() as session:
        assert session.query(Execution).count() == 0


class TestPurge:
    REASON = "Purged by alice before it ran."

    def purge(self, database, actor):
        return purge_messages(database, ALICE, actor.id, START)

    def test_what_waits_ends_and_what_an_array_has_is_called_off(self, database):
        with database.begin() as session:
            actor, other = add_actor(session), add_actor(session)
            array = add_array(session, actor)
            worker = add_worker(session, array)
            post(session, actor, "a", "b")
            [kept] = post(session, other)
            taken = add_execution(session, actor, array_id=array.id, chunk=1)
            add_message(session, taken)
            running = add_execution(
                session,
                actor,
                array_id=array.id,
                worker_id=worker.id,
                status=ExecutionStatus.RUNNING,
            )
            done = add_execution(session, actor, status=ExecutionStatus.COMPLETE, finish_time=START)
            known = {taken.id: "taken", running.id: "running", done.id: "done", kept: "kept"}

        self.purge(database, actor)

        with database.read() as session:
            rows = {known.get(row.id, "queued"): row for row in session.query(Execution)}
            assert {row.execution_id for row in session.query(Message)} == {taken.id, kept}
            assert count_messages(session, ALICE, actor.id)[1] == 0
        assert rows["queued"].status is ExecutionStatus.ERROR
        assert (rows["queued"].reason, rows["queued"].finish_time) == (self.REASON, START)
        assert rows["taken"].status is ExecutionStatus.SUBMITTED
        assert (rows["taken"].reason, rows["taken"].cancel_requested_at) == (self.REASON, START)
        for name in ("running", "done", "kept"):
            assert (rows[name].reason, rows[name].cancel_requested_at) == ("", None)

    def test_more_than_are_ended_at_once(self, database, monkeypatch):
        monkeypatch.setattr(messages, "_PURGED_AT_ONCE", 7)
        with database.begin() as session:
            actor = add_actor(session)
            post(session, actor, *map(str, range(30)))
        self.purge(database, actor)
        with database.read() as session:
            assert {row.status for row in session.query(Execution)} == {ExecutionStatus.ERROR}
            assert session.query(Message).count() == 0

    def test_what_comes_back_to_the_queue_meanwhile_ends_too(self, database, monkeypatch):
        """An array gives it back after the queue was looked through and before arrays are."""
        with database.begin() as session:
            actor = add_actor(session)
            array = add_array(session, actor)
            execution = add_execution(session, actor, array_id=array.id, chunk=1)
            add_message(session, execution)
        end_waiting = messages.end_waiting
        gave_back = []

        def end_and_give_back(session, *rest, limit):
            ended = end_waiting(session, *rest, limit=limit)
            if not gave_back:
                gave_back.append(execution.id)
                session.execute(update(Execution).values(array_id=None, chunk=None))
            return ended

        monkeypatch.setattr(messages, "end_waiting", end_and_give_back)
        self.purge(database, actor)
        with database.read() as session:
            row = session.query(Execution).one()
        assert (row.status, row.reason) == (ExecutionStatus.ERROR, self.REASON)

    def test_what_comes_later_stays(self, database, monkeypatch):
        with database.begin() as session:
            actor = add_actor(session)
            post(session, actor)
        later = []
        end_waiting = messages.end_waiting

        def end_and_post(session, *rest, limit):
            if not later:
                later.extend(post(session, actor))
            return end_waiting(session, *rest, limit=limit)

        monkeypatch.setattr(messages, "end_waiting", end_and_post)
        self.purge(database, actor)
        with database.read() as session:
            waiting = session.query(Execution).filter(Execution.status == "SUBMITTED").one()
            assert [waiting.id] == later

    def test_an_actor_without_any(self, database):
        with database.begin() as session:
            actor = add_actor(session)
        with recorded_statements(database) as statements:
            self.purge(database, actor)
        assert [statement.split()[0] for statement in statements] == ["SELECT", "SELECT"]


def test_messages_keep_the_order_in_which_they_came(database):
    with database.begin() as session:
        actor = add_actor(session)
    posted = []
    for number in range(5):
        with database.begin() as session:
            posted += post(session, actor, str(number))
    with database.read() as session:
        rows = session.query(Execution).order_by(Execution.seq).all()
    assert [row.id for row in rows] == posted


def test_a_post_that_meets_a_deletion_is_refused_or_ended(database):
    """Whichever comes first, nothing stays SUBMITTED below a deleted actor."""
    with database.begin() as session:
        actor = add_actor(session)
    outcome = []

    def delete():
        with database.begin() as session:
            delete_actor(session, ALICE, actor.id, START)
        assert end_left(database, actor.id, START, 1)

    def post_late():
        try:
            with database.begin() as session:
                post(session, actor)
            outcome.append("posted")
        except NotFound:
            outcome.append("refused")

    with database.begin() as session:
        post(session, actor)
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
        execution_id = queue_message(
            session, actor, executor, text_message("x"), {"A": "1"}, START, OPEN
        )
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
        bob = Executor("bob", Account("bob", 2002, 2003))
        queue_message(session, actor, bob, text_message("x"), {}, START, OPEN)
        row = session.query(Execution).one()
        assert (row.username, row.executor_uid, row.executor_gid) == expected
        assert row.executor == "bob"


@pytest.mark.parametrize("name", ["bob", "alice", "cron"])
def test_an_executor_without_an_account_never_runs_as_the_owner(database, name):
    """Neither can a user who is called as the bridge calls itself."""
    with database.begin() as session:
        actor = add_actor(session, run_as_executor=True)
        with pytest.raises(Conflict, match="post the message again"):
            queue_message(session, actor, Executor(name), text_message("x"), {}, START, OPEN)


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
    assert ask("bob", shared, open_site) == Account("bob", 2002, 2003, "/home/bob")
    assert ask("bob", shared, site) is None
    with pytest.raises(UserUnknown, match="No such user"):
        ask("erin", shared, open_site)
