"""Many queues: a round looks into few of them, and takes its time from nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from bridge.core.statuses import ArrayStatus
from bridge.db import Actor, Array, ClusterUser
from bridge.scheduler import plan, sharing
from bridge.scheduler.heads import count_queues, read_first, read_heads
from bridge.scheduler.lengths import SHORT, Lengths
from bridge.scheduler.plan import plan_tick
from tests.factories.rows import START
from tests.unit.scheduler.test_sharing import limit
from tests.unit.scheduler.world import BAD, QUEUED, World

ACTORS = 12


@pytest.fixture
def many(each_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which a round looks into three queues without an array."""
    monkeypatch.setattr(plan, "QUEUES_AT_ONCE", 3)
    return each_world


def post_all(world: World, count: int = 2) -> list[Actor]:
    actors = [world.actor() for _ in range(ACTORS)]
    for actor in actors:
        world.post(actor, count)
        world.clock.push(1)
    world.clock.push(60)
    return actors


def planned_actors(world: World) -> list[str]:
    with world.database.read() as session:
        query = select(Array.actor_id).where(Array.status != ArrayStatus.ENDED)
        return list(session.scalars(query))


def test_those_that_have_waited_longest_come_first(many: World) -> None:
    actors = [actor.id for actor in post_all(many)]
    for served in (3, 6, 9, 12):
        assert len(plan_tick(many.context)) == 3
        assert sorted(planned_actors(many)) == sorted(actors[:served])
    assert plan_tick(many.context) == []
    assert many.queued() == 0


def test_a_plan_is_as_large_as_the_whole_queue_is_worth(many: World) -> None:
    post_all(many, 5)
    many.tick(60)
    assert {array.message_count for array in many.arrays()} == {5}


def test_who_may_not_run_takes_nobody_s_place(many: World) -> None:
    refused = [many.actor(queue="gone") for _ in range(4)]
    bad = [one for actor in refused for one in many.post(actor)]
    unknown = many.actor(owner="bob")
    waiting = many.post(unknown)
    with many.database.begin() as session:
        session.delete(session.get_one(ClusterUser, ("alpha", "PHYSICS", "bob")))
    many.clock.push(1)
    fine = {actor.id for actor in post_all(many)}
    for _ in range(7):
        plan_tick(many.context)
    assert set(planned_actors(many)) == fine
    assert many.statuses(bad) == [BAD] * 4
    assert many.statuses(waiting) == [QUEUED]


def test_a_round_stops_when_its_time_is_over(many: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PLANS_S", 0)
    actors = [actor.id for actor in post_all(many)]
    for served in (1, 2, 3):
        assert len(plan_tick(many.context)) == 1
        assert sorted(planned_actors(many)) == sorted(actors[:served])


def test_why_they_wait_is_shown_in_pieces(many: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SHOWN_AT_ONCE", 4)
    limit(many, max_workers=1)
    post_all(many)
    shown = []
    for _ in range(4):
        plan_tick(many.context)
        shown.append(sum(text.startswith("Messages wait") for text in messages(many)))
    assert shown == [4, 8, 11, 11]
    # What an update of an actor has wiped out is shown again before long.
    with many.database.begin() as session:
        session.execute(update(Actor).values(status_message=" "))
    for _ in range(3):
        plan_tick(many.context)
    assert sum(text.startswith("Messages wait") for text in messages(many)) == 11


def messages(world: World) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(Actor.status_message)))


class TestHeads:
    def test_are_those_of_each_user_of_each_actor(self, each_world: World) -> None:
        world = each_world
        first, second = world.actor(id="A1"), world.actor(id="A2")
        posted = {
            ("A2", "bob"): world.post(second, 2, username="bob"),
            ("A1", "carol"): world.post(first, 3, username="carol"),
            ("A1", "alice"): world.post(first, 1),
            ("A2", "dave"): world.post(second, 4, username="dave"),
        }
        with world.database.read() as session:
            heads = read_heads(session, START)
            assert [head.key for head in heads] == sorted(posted)
            for head in heads:
                assert head.seq == world.execution(posted[head.key][0]).seq
            counts = count_queues(session, heads, 3)
            assert counts == {key: min(3, len(ids)) for key, ids in posted.items()}
            assert read_first(session, "A1") == "carol"
            assert read_first(session, "A2") == "bob"
            assert read_first(session, "A3") is None

    def test_the_newest_is_looked_for_where_the_oldest_is_recent(self, each_world: World) -> None:
        actor = each_world.actor()
        each_world.post(actor)
        began = each_world.clock.now()
        each_world.clock.push(5)
        each_world.post(actor)
        with each_world.database.read() as session:
            [head] = read_heads(session, began)
            assert head.newest == head.oldest == began
            [head] = read_heads(session, began - timedelta(seconds=1))
            assert head.newest == began + timedelta(seconds=5)


class TestLengths:
    def test_short_ones_are_counted_each_time(self) -> None:
        lengths: Lengths[str] = Lengths()
        assert lengths.of("a") == 1
        lengths.note({"a": SHORT, "b": SHORT + 1}, 10.0, 11.0)
        assert lengths.of("b") == SHORT + 1
        assert [lengths.is_stale(one, 11.0) for one in "abc"] == [True, False, True]

    def test_a_long_one_is_counted_after_twenty_times_what_that_took(self) -> None:
        lengths: Lengths[str] = Lengths()
        lengths.note({"a": 30_000, "b": 10_000}, 10.0, 14.0)
        assert not lengths.is_stale("b", 33.9)
        assert lengths.is_stale("b", 34.1)
        assert not lengths.is_stale("a", 73.9)
        assert lengths.is_stale("a", 74.1)
        lengths.keep({"b"})
        assert lengths.of("a") == 1
