"""Limits where messages wait, and how users and tenants share what there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bridge.core.statuses import ActorStatus, ArrayStatus
from bridge.db import Actor, ArrayTask, CoreUsage
from bridge.scheduler.close import _end
from bridge.scheduler.sharing import PlanMemory
from bridge.scheduler.usage import Life, used_today
from tests.unit.scheduler.world import GOOD, QUEUED, World

HOUR = 3600


def limit(world: World, tenant: str = "PHYSICS", cluster: Any = None, **limits: Any) -> None:
    """Change a tenant's limits, or keys of the cluster."""
    site = world.context.site
    table = site.tenants[tenant]
    table = table.model_copy(update={"limits": table.limits.model_copy(update=limits)})
    clusters = {"alpha": site.clusters["alpha"].model_copy(update=cluster or {})}
    changes = {"tenants": {**site.tenants, tenant: table}, "clusters": clusters}
    world.context = replace(world.context, site=site.model_copy(update=changes))


def message_of(world: World, actor: Actor) -> str:
    with world.database.read() as session:
        return session.get_one(Actor, actor.id).status_message


def live_by_user(world: World) -> dict[str, int]:
    return {array.username: array.task_count for array in world.arrays(live=True)}


class TestBounds:
    def test_of_a_user_s_workers(self, world: World) -> None:
        limit(world, max_workers_per_user=2)
        actor = world.actor(mean_run_s=600, max_workers=6)
        world.post(actor, 20)
        other = world.actor(owner="bob", mean_run_s=600)
        world.post(other, 20)
        world.ticks(3, 2)
        assert live_by_user(world) == {"alice": 2, "bob": 2}
        assert message_of(world, actor) == (
            "Messages wait: user alice may have 2 workers at once (max_workers_per_user of tenant "
            "PHYSICS)."
        )

    def test_of_a_tenant_s_workers_and_arrays(self, world: World) -> None:
        limit(world, max_workers=3, max_arrays=1)
        first, second = world.actor(mean_run_s=600, max_workers=2), world.actor(mean_run_s=600)
        other = world.actor(tenant="BIOLOGY", owner="carol", mean_run_s=600, max_workers=4)
        for actor in (first, second, other):
            world.post(actor, 20)
        world.ticks(3, 2)
        assert sorted(a.tenant for a in world.arrays()) == ["BIOLOGY", "PHYSICS"]
        messages = {message_of(world, first), message_of(world, second)}
        assert "Messages wait: tenant PHYSICS may have 1 job arrays at once (max_arrays)." in (
            messages
        )
        assert message_of(world, other) == ""

    def test_the_reason_goes_when_it_is_none_any_more(self, world: World) -> None:
        limit(world, max_workers_per_user=1)
        actor = world.actor(mean_run_s=600)
        ids = world.post(actor, 3)
        world.ticks(2, 2)
        assert "max_workers_per_user" in message_of(world, actor)
        world.context.memory.shown = None  # as after a restart
        world.run_dry()
        world.tick()
        assert message_of(world, actor) == " "
        assert world.statuses(ids) == [GOOD] * 3

    def test_what_else_a_status_message_says_is_left_alone(self, world: World) -> None:
        limit(world, max_workers_per_user=1)
        actor = world.actor(mean_run_s=600, status_message="kept")
        world.post(actor)
        world.ticks(2, 2)
        assert message_of(world, actor) == "kept"
        failed = world.actor(status=ActorStatus.ERROR, status_message="no image")
        world.post(failed, 5)
        world.ticks(2, 2)
        assert message_of(world, failed) == "no image"

    def test_workers_that_an_admin_asked_for_count(self, world: World) -> None:
        limit(world, max_workers=2)
        actor = world.actor(workers_asked=5)
        other = world.actor(owner="bob", workers_asked=1)
        world.ticks(2, 2)
        assert sum(array.task_count for array in world.arrays(live=True)) == 2
        limit(world, max_workers=9)
        world.ticks(2, 2)
        assert sum(array.task_count for array in world.arrays(live=True)) == 6
        with world.database.read() as session:
            assert {session.get_one(Actor, a.id).workers_asked for a in (actor, other)} == {0}


class TestSharing:
    def test_another_s_first_message_waits_for_one_message_only(self, world: World) -> None:
        limit(world, cluster={"max_workers": 2})
        greedy = world.actor(mean_run_s=600, max_workers=2)
        many = world.post(greedy, 40)
        world.tick(2)
        hands = [world.hand(0), world.hand(1)]
        running = [hand.claim() and hand.begin() for hand in hands]
        world.tick(2)

        late = world.actor(owner="bob", mean_run_s=600)
        [first] = world.post(late)
        world.ticks(2, 2)
        assert message_of(world, late).startswith("Messages wait: the 2 workers of cluster alpha")
        assert [hand.is_told_to_leave() for hand in hands].count(True) == 1

        leaver = next(n for n, hand in enumerate(hands) if hand.is_told_to_leave())
        hands[leaver].finish(running[leaver])
        hands[leaver].leave("leave")
        world.ticks(3, 6)
        assert live_by_user(world) == {"alice": 2, "bob": 1}
        world.work_of("bob")
        world.tick()
        assert world.statuses([first]) == [GOOD]

        hands[1 - leaver].finish(running[1 - leaver])
        world.hands.append(hands[1 - leaver])
        world.run_dry(200)
        assert world.statuses(many) == [GOOD] * 40
        assert set(world.starts.values()) == {1}

    def test_the_rest_of_a_plan_that_was_cut_stays_in_the_queue(self, world: World) -> None:
        limit(world, cluster={"max_workers": 2})
        world.post(world.actor(mean_run_s=600, max_workers=6), 60)
        world.tick(2)
        [array] = world.arrays()
        assert (array.task_count, array.message_count, world.queued()) == (2, 4, 56)

    def test_an_array_whose_workers_were_all_told_to_leave_has_not_failed(
        self, world: World
    ) -> None:
        """However often its messages are taken back unstarted, they are not given up for that."""
        limit(world, core_hours_per_day=1)
        ids = world.post(world.actor(mean_run_s=600), 3)
        world.tick(2)
        with world.database.begin() as session:
            row = CoreUsage(day="2026-01-01", tenant="PHYSICS", username="bob", core_s=HOUR)
            session.add(row)
        world.ticks(10, 5)
        assert world.arrays(live=True) == []
        assert world.statuses(ids) == [QUEUED] * 3
        assert {world.execution(one).plan_count for one in ids} == {0}


class TestCoreHours:
    def test_are_counted_from_the_lives_of_workers(self, each_world: World) -> None:
        world = each_world
        world.post(world.actor(mean_run_s=600, batch={"cpus": 2}, max_workers=1))
        limit(world, cluster={"batch": world.context.cluster.batch.model_copy(
            update={"max_cpus": 2})})  # fmt: skip
        world.tick(2)
        world.work_all()
        world.tick(1)
        began = world.clock.now()
        world.clock.push(600)
        with world.database.read() as session:
            used = used_today(session, world.clock.now())
        assert used == {("PHYSICS", "alice"): 1200}
        world.leave_all()
        world.ticks(6, 5)
        [row] = usage(world)
        assert (row.day, row.tenant, row.username) == ("2026-01-01", "PHYSICS", "alice")
        assert 1200 <= row.core_s <= 2 * (world.clock.now() - began).total_seconds()

        [array] = world.arrays()
        assert array.status is ArrayStatus.ENDED
        _end(world.context, array.id, certain=True)  # again, by another scheduler
        assert [one.core_s for one in usage(world)] == [row.core_s]

    def test_that_are_used_up_hold_messages_until_the_next_day(self, world: World) -> None:
        limit(world, core_hours_per_day_per_user=0.5)
        actor = world.actor(mean_run_s=600, max_workers=1)
        ids = world.post(actor, 3)
        world.tick(2)
        hand = world.hand()
        hand.claim()
        running = hand.begin()
        world.tick(1)
        world.tick(1900)
        world.tick(1)
        assert hand.is_told_to_leave()
        hand.finish(running)
        hand.leave("leave")
        world.ticks(6, 10)
        assert [world.statuses([one])[0] for one in ids].count(QUEUED) == 2
        assert world.arrays(live=True) == []
        assert message_of(world, actor) == (
            "Messages wait: user alice has used the 0.5 core-hours of this day "
            "(core_hours_per_day_per_user of tenant PHYSICS); more from 00:00 UTC on."
        )
        world.tick(86_400)
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 3

    def test_of_others_are_their_own(self, world: World) -> None:
        limit(world, core_hours_per_day_per_user=1)
        with world.database.begin() as session:
            row = CoreUsage(day="2026-01-01", tenant="PHYSICS", username="bob", core_s=HOUR)
            session.add(row)
        world.post(world.actor(), 1)
        world.post(world.actor(owner="bob"), 1)
        world.tick(2)
        assert set(live_by_user(world)) == {"alice"}


def test_who_was_served_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.scheduler.sharing.MAX_SERVED", 2)
    memory = PlanMemory()
    for actor in ("a", "b", "a", "c"):
        memory.note_served((actor, "alice"), datetime(2026, 1, 1, tzinfo=UTC))
    assert list(memory.served) == [("a", "alice"), ("c", "alice")]


def usage(world: World) -> list[CoreUsage]:
    with world.database.read() as session:
        return list(session.scalars(select(CoreUsage)))


def test_a_task_that_slurm_ended_holds_nothing_after_that(world: World) -> None:
    world.post(world.actor(mean_run_s=600, max_workers=1))
    world.tick(2)
    world.work_all()
    world.tick(1)
    end = world.clock.now() + timedelta(seconds=100)
    with world.database.begin() as session:
        session.add(ArrayTask(array_id=world.array().id, task_index=0, ended_at=end))
        used = used_today(session, end + timedelta(seconds=500))
    assert used == {("PHYSICS", "alice"): 100}


@pytest.mark.parametrize(
    ("start", "hours", "days"),
    [
        (datetime(2026, 1, 1, 12, tzinfo=UTC), 2, [("2026-01-01", 4 * HOUR)]),
        (
            datetime(2026, 1, 1, 23, tzinfo=UTC),
            26,
            [("2026-01-01", 2 * HOUR), ("2026-01-02", 48 * HOUR), ("2026-01-03", 2 * HOUR)],
        ),
        (datetime(2026, 1, 2, tzinfo=UTC), 0, []),
        (datetime(2026, 1, 2, tzinfo=UTC), -1, []),
    ],
)
def test_a_life_is_divided_at_midnight(
    start: datetime, hours: int, days: list[tuple[str, float]]
) -> None:
    life = Life(("PHYSICS", "alice"), 2, start, start + timedelta(hours=hours))
    assert list(life.days()) == days
