"""How much may wait: sizes and numbers, counted once a second from the executions themselves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from bridge.auth.identity import Identity
from bridge.core.messages import text_message
from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Database, Execution
from bridge.errors import Conflict, LimitReached, PayloadTooLarge
from bridge.services.messages import NewMessage, post_messages
from bridge.services.queued import (
    AGE_IN_COUNTS,
    AGE_S,
    Gate,
    QueueCounts,
    count_open,
    largest_message,
)
from tests.factories.rows import (
    START,
    add_actor,
    add_array,
    add_execution,
    add_permission,
    add_worker,
)
from tests.factories.sites import make_gate
from tests.factories.statements import recorded_statements

ALICE = Identity("PHYSICS", "alice", ())
NEW = NewMessage(text_message("x"))


@dataclass
class Watch:
    """A clock for counts; `step` passes at each look."""

    now_s: float = 0.0
    step_s: float = 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def actor_id(database: Database) -> str:
    with database.begin() as session:
        return add_actor(session).id


@pytest.fixture
def post(database: Database, actor_id: str) -> Callable[..., None]:
    def post_some(gate: Gate, *messages: NewMessage, to: str = actor_id) -> None:
        with database.begin() as session:
            post_messages(session, ALICE, to, messages or [NEW], START, gate)

    return post_some


def with_limits(watch: Watch, **limits: int) -> Gate:
    return Gate(make_gate(**limits).site, QueueCounts(watch))


def test_the_one_beyond_the_limit_is_refused_by_name(post, watch):
    gate = with_limits(watch, max_queued_messages_per_user=3)
    post(gate, NEW, NEW)
    post(gate)
    with pytest.raises(
        LimitReached,
        match=r"user alice have 3 messages that wait or run, 1 more would exceed the limit of 3 "
        r"\(max_queued_messages_per_user of tenant PHYSICS\)\. Try again when",
    ):
        post(gate)


def test_a_batch_is_let_in_whole_or_not_at_all(database, post, watch):
    gate = with_limits(watch, max_queued_messages=3)
    post(gate, NEW, NEW)
    with pytest.raises(LimitReached, match=r"tenant PHYSICS have 2 .*, 2 more .* limit of 3"):
        post(gate, NEW, NEW)
    post(gate)
    with database.read() as session:
        assert count_open(session, "PHYSICS", None, 100) == 3


def test_what_the_tenant_refuses_does_not_count_for_the_owner(post, watch):
    gate = with_limits(watch, max_queued_messages=2, max_queued_messages_per_user=2)
    with pytest.raises(LimitReached, match="max_queued_messages_per_user"):
        post(gate, NEW, NEW, NEW)
    gate = with_limits(watch, max_queued_messages=2, max_queued_messages_per_user=9)
    with pytest.raises(LimitReached, match="tenant PHYSICS have 0"):
        post(gate, NEW, NEW, NEW)
    post(gate, NEW, NEW)
    with pytest.raises(LimitReached, match="tenant PHYSICS have 2"):
        post(gate)


def test_what_has_ended_makes_room_within_a_second(database, post, watch):
    gate = with_limits(watch, max_queued_messages_per_user=1)
    post(gate)
    with database.begin() as session:
        ended = {"status": ExecutionStatus.ERROR, "finish_time": START}
        session.execute(update(Execution).values(ended))
    watch.now_s += AGE_S - 0.01
    with pytest.raises(LimitReached):
        post(gate)
    watch.now_s += 0.01
    post(gate)


def test_nothing_is_counted_at_each_post(database, post, watch):
    gate = with_limits(watch, max_queued_messages=100, max_queued_messages_per_user=100)
    post(gate)
    with recorded_statements(database) as statements:
        post(gate)
    assert not [text for text in statements if "count(" in text.lower()]


def test_a_count_that_takes_long_is_made_less_often(database, post, watch):
    gate = with_limits(watch, max_queued_messages=100)
    watch.step_s = 0.5  # what a count takes
    post(gate)
    watch.step_s = 0
    for passed_s, counts in ((AGE_IN_COUNTS * 0.5 - 0.1, 0), (0.1, 2)):
        watch.now_s += passed_s
        with recorded_statements(database) as statements:
            post(gate)
        assert sum("count(" in text.lower() for text in statements) == counts


def test_while_another_thread_counts_posting_goes_on(database, post, watch):
    gate = with_limits(watch, max_queued_messages=2)
    post(gate)
    watch.now_s += AGE_S
    (queue,) = gate.counts._counts.values()
    with queue.counting, recorded_statements(database) as statements:
        post(gate)
        with pytest.raises(LimitReached, match="tenant PHYSICS have 2"):
            post(gate)
    assert not [text for text in statements if "count(" in text.lower()]


def test_other_owners_and_tenants_have_room_of_their_own(database, post, watch):
    with database.begin() as session:
        of_bob = add_actor(session, owner="bob")
        add_permission(session, of_bob, "alice", Level.EXECUTE)
        add_execution(session, add_actor(session, tenant="BIOLOGY"))
    gate = with_limits(watch, max_queued_messages=2, max_queued_messages_per_user=1)
    post(gate)
    post(gate, to=of_bob.id)  # by alice, for an actor of bob's
    with pytest.raises(LimitReached, match="user bob have 1"):
        post(gate, to=of_bob.id)


def test_a_message_that_is_there_under_its_key_is_no_further_one(post, watch):
    gate = with_limits(watch, max_queued_messages=1)
    keyed = NewMessage(text_message("x"), key="k")
    post(gate, keyed)
    post(gate, keyed)
    with pytest.raises(LimitReached):
        post(gate, keyed, NEW)


def test_what_runs_counts_and_what_is_final_does_not(database):
    with database.begin() as session:
        actor = add_actor(session)
        array = add_array(session, actor)
        worker = add_worker(session, array)
        add_execution(session, actor)
        add_execution(session, actor, array_id=array.id, chunk=1)
        running = {"status": ExecutionStatus.RUNNING, "worker_id": worker.id}
        add_execution(session, actor, array_id=array.id, chunk=1, **running)
        done = {"status": ExecutionStatus.COMPLETE, "finish_time": START}
        add_execution(session, actor, array_id=array.id, chunk=1, **done)
    with database.read() as session:
        assert count_open(session, "PHYSICS", None, 100) == 3
        assert count_open(session, "PHYSICS", "alice", 100) == 3
        assert count_open(session, "PHYSICS", "bob", 100) == 0
        assert count_open(session, "BIOLOGY", None, 100) == 0
        assert count_open(session, "PHYSICS", None, 1) == 2  # one of each kind


def test_of_many_at_once_as_many_as_there_is_room_for(database, actor_id):
    gate = make_gate(max_queued_messages_per_user=5)

    def try_one(_number: int) -> bool:
        try:
            database.write(lambda s: post_messages(s, ALICE, actor_id, [NEW], START, gate))
        except LimitReached:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(try_one, range(40))) == 5


def test_posts_that_came_to_nothing_do_not_count(database, actor_id, watch):
    gate = with_limits(watch, max_queued_messages=1, max_queued_messages_per_user=1)

    def fail(session: Session) -> None:
        post_messages(session, ALICE, actor_id, [NEW], START, gate)
        raise Conflict("of another kind")

    for _ in range(2):
        with pytest.raises(Conflict):
            database.write(fail)
    database.write(lambda s: post_messages(s, ALICE, actor_id, [NEW], START, gate))


def test_a_message_may_be_as_large_as_its_tenant_s_largest(post, watch):
    gate = with_limits(watch, max_message_bytes=10)
    post(gate, NewMessage(text_message("x" * 10)))
    with pytest.raises(
        PayloadTooLarge, match=r"^Message exceeds max content length of: 10 bytes \(it has 11\)"
    ):
        post(gate, NewMessage(text_message("x" * 11)))
    with pytest.raises(PayloadTooLarge, match=r"^Message 2 of 2: Message exceeds"):
        post(gate, NEW, NewMessage(text_message("x" * 11)))


def test_a_tenant_s_limit_does_not_raise_the_site_s():
    site = make_gate(max_message_bytes=2**40).site
    assert largest_message(site, "PHYSICS") == site.limits.max_message_bytes
    assert largest_message(make_gate(max_message_bytes=7).site, "PHYSICS") == 7
