"""Links exactly once, webhooks at least once, and nobody waits for another tenant's."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select, update

from bridge.clock import ManualClock
from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Actor, Alias, Database, Event, Execution, Message
from bridge.errors import WebhookFailed, WebhookRefused
from bridge.events import MAX_HOPS, make_sender, record_executions
from bridge.scheduler import deliver
from bridge.scheduler.context import SiteContext
from bridge.scheduler.deliver import (
    CLAIM,
    FULL_REST,
    MAX_ATTEMPTS,
    THREADS_PER_TENANT,
    Webhooks,
    due_actors,
    links_tick,
)
from bridge.sites import Site
from bridge.sites.limits import TenantLimits
from tests.factories.rows import START, add_actor, add_execution, add_permission
from tests.factories.statements import recorded_scans, recorded_statements
from tests.unit.events.receiver import serving, status

HOOK = "https://hooks.example.org/x"


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


@pytest.fixture
def context(site: Site, database: Database, clock: ManualClock) -> SiteContext:
    return SiteContext(site, database, clock)


def end_one(context: SiteContext, actor_id: str, count: int = 1, hops: int = 0) -> list[str]:
    """Let executions of the actor end; return their ids."""
    now = context.clock.now()
    with context.database.begin() as session:
        actor = session.get_one(Actor, actor_id)
        ended = [
            add_execution(
                session,
                actor,
                status=ExecutionStatus.COMPLETE,
                finish_time=now,
                exit_code=0,
                hops=hops,
            )
            for _ in range(count)
        ]
        record_executions(session, actor, ended, now)
        return [execution.id for execution in ended]


def events(context: SiteContext) -> list[Event]:
    with context.database.read() as session:
        return list(session.scalars(select(Event).order_by(Event.id)).all())


def reasons(context: SiteContext) -> list[str]:
    return [event.error for event in events(context) if event.given_up_at is not None]


class Linked:
    """alice's actor, and one that it is linked to."""

    def __init__(self, context: SiteContext) -> None:
        self.context = context
        with context.database.begin() as session:
            self.target = add_actor(session).id
            self.source = add_actor(session, link=self.target).id

    def messages(self) -> list[tuple[Execution, Message]]:
        """Return the executions that wait, with what they will see."""
        with self.context.database.read() as session:
            return [
                (execution, session.get_one(Message, execution.id))
                for execution in session.scalars(
                    select(Execution)
                    .where(Execution.status == ExecutionStatus.SUBMITTED)
                    .order_by(Execution.seq)
                )
            ]

    def change(self, actor_id: str, **values: Any) -> None:
        with self.context.database.begin() as session:
            actor = session.get_one(Actor, actor_id)
            for name, value in values.items():
                setattr(actor, name, value)

    def name(self, alias: str, actor_id: str, tenant: str = "PHYSICS") -> None:
        with self.context.database.begin() as session:
            session.merge(
                Alias(tenant=tenant, alias=alias, actor_id=actor_id, owner="x", create_time=START)
            )


@pytest.fixture
def linked(context: SiteContext) -> Linked:
    return Linked(context)


class TestLinks:
    def test_the_linked_actor_gets_a_message(self, linked: Linked) -> None:
        [ended] = end_one(linked.context, linked.source, hops=3)
        assert links_tick(linked.context) == 1

        [(execution, message)] = linked.messages()
        assert (execution.actor_id, execution.executor) == (linked.target, "Abaco Event")
        assert (execution.username, execution.hops) == ("alice", 4)
        assert message.content_type == "application/json"
        payload = ast.literal_eval(message.payload.decode())
        assert payload["event_type"] == "EXECUTION_COMPLETE"
        assert payload["_abaco_link"] == f"PHYSICS_{linked.target}"
        assert (payload["execution_id"], payload["exit_code"]) == (ended, 0)
        assert events(linked.context) == []
        assert links_tick(linked.context) == 0

    def test_many_are_delivered_in_their_order(self, linked: Linked) -> None:
        ended = end_one(linked.context, linked.source, 5)
        links_tick(linked.context)
        payloads = [ast.literal_eval(m.payload.decode()) for _, m in linked.messages()]
        assert [payload["execution_id"] for payload in payloads] == ended

    def test_a_tick_takes_a_bounded_number(
        self, linked: Linked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliver, "LINK_BATCH", 2)
        monkeypatch.setattr(deliver, "LINK_ROUNDS", 2)
        end_one(linked.context, linked.source, 7)
        assert [links_tick(linked.context) for _ in range(3)] == [4, 3, 0]

    def test_an_alias_is_looked_up_when_it_is_delivered(self, linked: Linked) -> None:
        linked.change(linked.source, link="next")
        linked.name("next", linked.source)
        end_one(linked.context, linked.source)
        linked.name("next", linked.target)
        links_tick(linked.context)
        assert [execution.actor_id for execution, _ in linked.messages()] == [linked.target]

    @pytest.mark.parametrize(
        ("level", "delivered"), [(Level.READ, 0), (Level.EXECUTE, 1), (Level.UPDATE, 1)]
    )
    def test_the_owner_must_be_allowed_to_post_then(
        self, linked: Linked, level: Level, delivered: int
    ) -> None:
        """It is the owner of the event's actor who posts, not that of the linked one."""
        end_one(linked.context, linked.source)
        with linked.context.database.begin() as session:
            bobs = add_actor(session, owner="bob")
            add_permission(session, bobs, "alice", level)
        linked.name("next", bobs.id)
        linked.change(linked.source, link="next")
        end_one(linked.context, linked.source)
        links_tick(linked.context)
        got = [execution.actor_id for execution, _ in linked.messages()]
        assert got == [linked.target] + [bobs.id] * delivered
        assert len(reasons(linked.context)) == 1 - delivered
        if not delivered:
            assert "you do not have access to this actor" in reasons(linked.context)[0]

    def test_a_linked_actor_that_is_gone(self, linked: Linked) -> None:
        end_one(linked.context, linked.source, 2)
        linked.change(linked.target, deleted_at=START)
        assert links_tick(linked.context) == 2
        assert len(reasons(linked.context)) == 2
        assert links_tick(linked.context) == 0

    def test_another_tenants_actor_is_not_there(self, linked: Linked) -> None:
        with linked.context.database.begin() as session:
            theirs = add_actor(session, tenant="BIOLOGY")
        linked.name("next", theirs.id, tenant="BIOLOGY")
        for link in (theirs.id, "next"):
            linked.change(linked.source, link=link)
            end_one(linked.context, linked.source)
        links_tick(linked.context)
        assert (len(reasons(linked.context)), linked.messages()) == (2, [])

    def test_what_cannot_be_a_message_stops_no_other(self, linked: Linked) -> None:
        end_one(linked.context, linked.source, 2)
        with linked.context.database.begin() as session:
            event = session.scalars(select(Event).order_by(Event.id).limit(1)).one()
            event.payload = {**event.payload, "status_message": "x" * 200_000}
        links_tick(linked.context)
        assert len(linked.messages()) == 1
        assert "Message exceeds max content length" in reasons(linked.context)[0]

    def test_a_circle_ends(self, linked: Linked) -> None:
        """An alias that was moved after the link was checked leads back."""
        linked.change(linked.target, link="back")
        linked.name("back", linked.source)
        end_one(linked.context, linked.source)
        rounds = 0
        while links_tick(linked.context):
            rounds += 1
            assert rounds < 50
            [(execution, message)] = linked.messages()
            with linked.context.database.begin() as session:
                session.delete(session.get_one(Message, message.execution_id))
                row = session.get_one(Execution, execution.seq)
                row.status, row.finish_time = ExecutionStatus.COMPLETE, START
                actor = session.get_one(Actor, row.actor_id)
                record_executions(session, actor, [row], START)
            if rounds == MAX_HOPS:
                break
        assert links_tick(linked.context) == 1
        assert linked.messages() == []
        assert f"{MAX_HOPS} links led to this event" in reasons(linked.context)[0]

    def test_a_crash_loses_and_doubles_nothing(
        self, linked: Linked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def queue_and_die(*arguments: Any, **given: Any) -> None:
            queue(*arguments, **given)
            raise Killed

        queue = deliver.queue_message
        end_one(linked.context, linked.source, 3)
        monkeypatch.setattr(deliver, "queue_message", queue_and_die)
        with pytest.raises(Killed):
            links_tick(linked.context)
        assert (len(linked.messages()), len(events(linked.context))) == (0, 3)

        monkeypatch.undo()
        links_tick(linked.context)
        assert (len(linked.messages()), len(events(linked.context))) == (3, 0)

    def test_two_schedulers_deliver_each_once(self, linked: Linked) -> None:
        end_one(linked.context, linked.source, 20)
        start = threading.Barrier(3)

        def run() -> None:
            start.wait(10)
            while links_tick(linked.context):
                pass

        run_all([run] * 3)
        payloads = [ast.literal_eval(m.payload.decode()) for _, m in linked.messages()]
        assert len(payloads) == len({p["execution_id"] for p in payloads}) == 20

    def test_one_without_events_is_one_statement_a_tenant(self, context: SiteContext) -> None:
        with recorded_statements(context.database) as statements:
            assert links_tick(context) == 0
        assert len(statements) == len(context.site.tenants)


def run_all(targets: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


class AtOnce(Executor):
    """Does everything when it is submitted."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        return Future()


class Posts:
    """A sender that notes what it is given.

    Attributes:
        posted: (url, payload, tenant, hops), in the order of the calls.
        answer: called with the payload; raises what the webhook's answer amounts to.
    """

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, Any], str, int]] = []
        self.answer: Callable[[dict[str, Any]], None] = lambda _payload: None

    def post(
        self, url: str, payload: dict[str, Any], tenant: str, hops: int, timestamp: int
    ) -> None:
        self.posted.append((url, payload, tenant, hops))
        self.answer(payload)

    def ids(self) -> list[str]:
        return [payload["execution_id"] for _, payload, _, _ in self.posted]


def failing(_payload: dict[str, Any]) -> None:
    raise WebhookFailed("It answered 503.")


def refusing(_payload: dict[str, Any]) -> None:
    raise WebhookRefused("It answered 404.")


class Hooked:
    """alice's actor with a webhook, and what posts its events."""

    def __init__(self, context: SiteContext, clock: ManualClock) -> None:
        self.context = context
        self.clock = clock
        self.posts = Posts()
        self.webhooks = Webhooks(context, self.posts, AtOnce())
        with context.database.begin() as session:
            self.actor = add_actor(session, webhook=HOOK).id

    def tick(self, later: timedelta | float = 0) -> int:
        """Go forward; return how many were posted."""
        before = len(self.posts.posted)
        seconds = later if isinstance(later, float | int) else later.total_seconds()
        self.clock.push(seconds)
        self.webhooks.tick()
        return len(self.posts.posted) - before


@pytest.fixture
def hooked(context: SiteContext, clock: ManualClock) -> Hooked:
    return Hooked(context, clock)


class TestWebhooks:
    def test_the_payload_is_that_of_the_contract(self, hooked: Hooked) -> None:
        [ended] = end_one(hooked.context, hooked.actor, hops=2)
        assert hooked.tick() == 1

        [(url, payload, tenant, hops)] = hooked.posts.posted
        assert (url, tenant, hops) == (HOOK, "PHYSICS", 3)
        assert len(payload.pop("_abaco_event_id")) == 13
        assert payload == {
            "tenant_id": "PHYSICS",
            "event_type": "EXECUTION_COMPLETE",
            "event_time_utc": "2026-01-01T00:00:00.000Z",
            "event_time_display": "2026-01-01T00:00:00.000Z",
            "actor_id": hooked.actor,
            "actor_dbid": f"PHYSICS_{hooked.actor}",
            "execution_id": ended,
            "status": "COMPLETE",
            "exit_code": 0,
            "_abaco_link": "",
            "_abaco_webhook": HOOK,
            "_abaco_Content_Type": "application/json",
            "_abaco_username": "Abaco Event",
            "_abaco_api_server": "https://bridge.example.org",
        }
        assert events(hooked.context) == []
        assert hooked.tick(3600) == 0

    def test_a_link_is_shown_by_its_actor(self, hooked: Hooked) -> None:
        with hooked.context.database.begin() as session:
            mine, bobs = add_actor(session), add_actor(session, owner="bob")
            actor = session.get_one(Actor, hooked.actor)
            for link in (mine.id, bobs.id, "nobody"):
                actor.link = link
                record_executions(session, actor, [add_execution(session, actor)], START)
        hooked.tick()
        assert [p["_abaco_link"] for _, p, _, _ in hooked.posts.posted] == [
            f"PHYSICS_{mine.id}", "", "",
        ]  # fmt: skip

    def test_all_that_is_due_is_posted_in_one_turn(self, hooked: Hooked) -> None:
        ended = end_one(hooked.context, hooked.actor, 5)
        assert hooked.tick() == 5
        assert hooked.posts.ids() == ended

    def test_what_is_refused_is_given_up_at_once(self, hooked: Hooked) -> None:
        end_one(hooked.context, hooked.actor)
        hooked.posts.answer = refusing
        assert hooked.tick() == 1
        [event] = events(hooked.context)
        assert (event.given_up_at, event.error) == (START, "It answered 404.")
        assert hooked.tick(timedelta(days=1)) == 0

    def test_what_fails_is_tried_ever_less_often_and_then_given_up(self, hooked: Hooked) -> None:
        end_one(hooked.context, hooked.actor)
        hooked.posts.answer = failing
        times = []
        while not reasons(hooked.context):
            if hooked.tick(1):
                times.append(hooked.clock.now())
                [event] = events(hooked.context)
                assert event.attempts == len(times)
                if event.given_up_at is None:
                    skip = (event.next_attempt_at - hooked.clock.now()).total_seconds()
                    hooked.tick(skip - 1)
        assert len(times) == MAX_ATTEMPTS
        gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
        for gap, longest in zip(gaps, [10, 40, 160, 640, 2560, 3600, 3600], strict=True):
            assert longest / 2 <= gap <= longest + 2
        assert reasons(hooked.context) == ["It answered 503."]

    def test_500_first_then_taken(self, hooked: Hooked) -> None:
        ended = end_one(hooked.context, hooked.actor)
        hooked.posts.answer = failing
        hooked.tick()
        hooked.posts.answer = lambda _payload: None
        assert [hooked.tick(), hooked.tick(10)] == [0, 1]
        first, second = (payload for _, payload, _, _ in hooked.posts.posted)
        assert first["_abaco_event_id"] == second["_abaco_event_id"]
        assert hooked.posts.ids() == ended * 2
        assert events(hooked.context) == []

    def test_one_that_is_down_costs_an_attempt_now_and_then(self, hooked: Hooked) -> None:
        """However much waits for it; and it gets everything when it is up again."""
        ended = end_one(hooked.context, hooked.actor, 200)
        hooked.posts.answer = failing
        posted = sum(hooked.tick(10) for _ in range(180))
        assert 9 <= posted <= 25
        assert reasons(hooked.context) == []
        hooked.posts.answer = lambda _payload: None
        hooked.posts.posted.clear()
        for _ in range(20):
            hooked.tick(300)
        assert sorted(hooked.posts.ids()) == sorted(ended)

    def test_an_event_that_the_webhook_stumbles_on_holds_up_no_other(self, hooked: Hooked) -> None:
        ended = end_one(hooked.context, hooked.actor, 3)

        def stumble(payload: dict[str, Any]) -> None:
            if payload["execution_id"] == ended[0]:
                failing(payload)

        hooked.posts.answer = stumble
        assert [hooked.tick(), hooked.tick(2)] == [1, 2]
        assert hooked.posts.ids() == ended

    def test_a_crash_after_the_post_repeats_it_with_the_same_id(
        self, hooked: Hooked, site: Site, database: Database, clock: ManualClock
    ) -> None:
        def die(point: str) -> None:
            assert point == "posted"
            raise Killed

        end_one(hooked.context, hooked.actor)
        doomed = Webhooks(replace(hooked.context, at=die), hooked.posts, AtOnce())
        with pytest.raises(Killed):
            doomed.tick()
        assert hooked.tick() == 0
        assert hooked.tick(CLAIM) == 1
        first, second = (payload for _, payload, _, _ in hooked.posts.posted)
        assert first == second
        assert events(hooked.context) == []

    def test_a_failure_of_ours_frees_the_thread(
        self, hooked: Hooked, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_payload: dict[str, Any]) -> None:
            raise ZeroDivisionError

        end_one(hooked.context, hooked.actor)
        hooked.posts.answer = fail
        hooked.tick()
        assert "delivery failed" in caplog.text
        hooked.posts.answer = lambda _payload: None
        assert hooked.tick(CLAIM) == 1

    def test_no_lock_is_held_while_it_is_posted(self, hooked: Hooked) -> None:
        """The webhook may be the bridge itself."""

        def write(_payload: dict[str, Any]) -> None:
            with hooked.context.database.begin() as session:
                actor = session.get_one(Actor, hooked.actor, with_for_update={"nowait": True})
                add_execution(session, actor)
                event = select(Event).with_for_update(nowait=True)
                assert len(session.scalars(event).all()) == 1

        end_one(hooked.context, hooked.actor)
        hooked.posts.answer = write
        assert hooked.tick() == 1
        assert events(hooked.context) == []

    def test_of_a_tenant_that_the_site_no_longer_has_nothing_is_posted(
        self, hooked: Hooked
    ) -> None:
        with hooked.context.database.begin() as session:
            gone = add_actor(session, tenant="GONE", webhook=HOOK).id
        end_one(hooked.context, gone)
        end_one(hooked.context, hooked.actor)
        assert hooked.tick() == 1


class TestFairness:
    @pytest.fixture
    def slow(self, context: SiteContext) -> Iterator[Slow]:
        slow = Slow(context)
        yield slow
        slow.release.set()
        slow.webhooks.close()

    def test_a_tenants_slow_webhooks_delay_no_other_tenant(self, slow: Slow) -> None:
        slow.add("PHYSICS", 3 * THREADS_PER_TENANT)
        slow.webhooks.tick()
        slow.add("BIOLOGY", 1)
        slow.webhooks.tick()
        assert slow.wait_for("BIOLOGY", 1)
        assert slow.wait_for("PHYSICS", THREADS_PER_TENANT)
        slow.webhooks.tick()
        assert slow.counts["PHYSICS"] == THREADS_PER_TENANT

    def test_an_actor_has_one_request_at_a_time(self, slow: Slow) -> None:
        [actor_id] = slow.add("PHYSICS", 1)
        end_one(slow.context, actor_id, 5)
        for _ in range(3):
            slow.webhooks.tick()
        assert slow.wait_for("PHYSICS", 1)
        assert slow.most["PHYSICS"] == 1

    def test_actors_take_turns(self, hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
        """The one with the longest queue is not always first."""
        monkeypatch.setattr(deliver, "TURN_S", 0.0)
        monkeypatch.setattr(deliver, "THREADS_PER_TENANT", 1)
        busy = end_one(hooked.context, hooked.actor, 4)
        hooked.clock.push(1)
        with hooked.context.database.begin() as session:
            other = add_actor(session, webhook=HOOK).id
        [late] = end_one(hooked.context, other)
        for _ in range(5):
            hooked.tick()
        assert hooked.posts.ids().index(late) <= 1
        assert sorted(hooked.posts.ids()) == sorted([*busy, late])

    def test_two_schedulers_post_each_event_once(self, hooked: Hooked) -> None:
        ended = end_one(hooked.context, hooked.actor, 20)
        start = threading.Barrier(2)

        def run() -> None:
            webhooks = Webhooks(hooked.context, hooked.posts, AtOnce())
            start.wait(10)
            webhooks.tick()

        run_all([run] * 2)
        hooked.tick(1)
        assert sorted(hooked.posts.ids()) == sorted(ended)


class Slow:
    """A sender whose PHYSICS webhooks do not answer before they are released."""

    def __init__(self, context: SiteContext) -> None:
        self.context = context
        self.release = threading.Event()
        self.webhooks = Webhooks(context, self)
        self.now = {"PHYSICS": 0, "BIOLOGY": 0}
        self.most = dict(self.now)
        self.counts = dict(self.now)
        self._changed = threading.Condition()

    def add(self, tenant: str, count: int) -> list[str]:
        with self.context.database.begin() as session:
            ids = [add_actor(session, tenant=tenant, webhook=HOOK).id for _ in range(count)]
        for actor_id in ids:
            end_one(self.context, actor_id)
        return ids

    def post(self, url: str, payload: dict[str, Any], tenant: str, *_rest: int) -> None:
        with self._changed:
            self.now[tenant] += 1
            self.counts[tenant] += 1
            self.most[tenant] = max(self.most[tenant], self.now[tenant])
            self._changed.notify_all()
        if tenant == "PHYSICS":
            self.release.wait(30)
        with self._changed:
            self.now[tenant] -= 1

    def wait_for(self, tenant: str, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.counts[tenant] >= count, 30)


def test_who_is_due_is_found_actor_by_actor(context: SiteContext, clock: ManualClock) -> None:
    with context.database.begin() as session:
        due, later, done, silent = (add_actor(session, webhook=HOOK) for _ in range(4))
        linked = add_actor(session, link=silent.id)
    for actor in (due, later, done, linked):
        end_one(context, actor.id, 3)
    with context.database.begin() as session:
        for event in session.scalars(select(Event).where(Event.actor_id == later.id)):
            event.next_attempt_at = START + timedelta(seconds=1)
        for event in session.scalars(select(Event).where(Event.actor_id == done.id)):
            event.given_up_at = START
    with context.database.read() as session:
        assert due_actors(session, START) == [("PHYSICS", due.id)]
        both = due_actors(session, START + timedelta(seconds=1))
        assert sorted(both) == sorted(("PHYSICS", actor.id) for actor in (due, later))


def test_no_table_is_read_whole(linked: Linked, hooked: Hooked) -> None:
    end_one(linked.context, linked.source, 3)
    with recorded_scans(linked.context.database) as scans:
        end_one(hooked.context, hooked.actor, 3)
        assert links_tick(linked.context) == 3
        hooked.posts.answer = failing
        assert [hooked.tick(), hooked.tick(10)] == [1, 1]
    assert scans == []


def test_from_the_event_to_a_real_receiver(
    site: Site, database: Database, clock: ManualClock
) -> None:
    with serving() as receiver:
        open_site = site.model_copy(update={"webhook_networks": (ip_network("127.0.0.1/32"),)})
        context = SiteContext(open_site, database, clock)
        webhooks = Webhooks(context, make_sender(open_site), AtOnce())
        with database.begin() as session:
            actor_id = add_actor(session, webhook=receiver.url).id
        [ended] = end_one(context, actor_id)
        receiver.answer = status(500)
        webhooks.tick()
        receiver.answer = status(200)
        clock.push(10)
        webhooks.tick()
    assert [body["execution_id"] for body in receiver.bodies] == [ended] * 2
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 0


def test_what_there_is_no_room_for_is_linked_later(site, database, clock):
    limits = TenantLimits(max_queued_messages_per_user=1)
    table = site.tenants["PHYSICS"].model_copy(update={"limits": limits})
    full = site.model_copy(update={"tenants": {"PHYSICS": table}})
    linked = Linked(SiteContext(full, database, clock))
    end_one(linked.context, linked.source, count=2)
    links_tick(linked.context)
    assert (len(linked.messages()), reasons(linked.context)) == (1, [])
    [event] = events(linked.context)
    assert "max_queued_messages_per_user" in event.error

    with database.begin() as session:
        session.execute(
            update(Execution)
            .where(Execution.status == ExecutionStatus.SUBMITTED)
            .values(status=ExecutionStatus.COMPLETE, finish_time=clock.now())
        )
    # A second scheduler, whose counts are its own.
    context = SiteContext(full, database, clock)
    links_tick(context)
    assert linked.messages() == []
    clock.push(FULL_REST.total_seconds())
    links_tick(context)
    assert (len(linked.messages()), events(context)) == (1, [])
