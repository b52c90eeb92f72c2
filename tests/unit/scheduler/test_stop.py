"""Ending single executions: the order gets to the worker, and none of them runs afterwards."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import update

from bridge.core.statuses import ArrayStatus
from bridge.db import Execution
from bridge.errors import ConnectFailed
from bridge.scheduler.close import close_array
from bridge.scheduler.stop import ORDERS
from tests.unit.scheduler.world import BAD, GOOD, RUNNING, World


def ask(world: World, *ids: str, reason: str = "") -> None:
    """Ask for the end of executions, as the API does."""
    with world.database.begin() as session:
        session.execute(
            update(Execution)
            .where(Execution.id.in_(ids))
            .values(cancel_requested_at=world.clock.now(), reason=reason)
        )


def orders(world: World) -> list[str]:
    folder = Path(world.array().spool) / "cancel"
    return sorted(path.name for path in folder.iterdir())


def puts(world: World) -> int:
    return sum(verb == "put" and "/cancel/" in str(path) for verb, path in world.sessions.asked)


def test_a_running_execution_is_ordered_to_end_once(world: World) -> None:
    [one, other] = world.post(world.actor(), 2)
    world.tick(2)
    hand = world.hand()
    hand.claim()
    assert hand.begin() == one
    world.tick()
    assert world.statuses([one]) == [RUNNING]

    ask(world, one)
    world.ticks(3)
    assert orders(world) == [one]
    assert puts(world) == 1

    hand.finish(one, 137, "so far", ended_by="cancel")
    hand.run_rest()
    world.run_dry()
    assert world.statuses([one, other]) == [GOOD, GOOD]
    assert world.execution(one).exit_code == 137
    assert world.log(one) == "so far"


def test_an_order_that_could_not_be_given_is_given_later(world: World) -> None:
    [one] = world.post(world.actor())
    world.tick(2)
    ask(world, one)

    def fail(verb: str, about: object) -> None:
        if verb == "put" and "/cancel/" in str(about):
            raise ConnectFailed("the way is blocked")

    world.sessions.fail = fail
    world.tick()
    assert orders(world) == []
    world.sessions.fail = lambda _verb, _about: None
    world.tick()
    assert orders(world) == [one]


def test_what_runs_is_ordered_first_and_many_over_several_ticks(world: World) -> None:
    ids = world.post(world.actor(mean_run_s=0.01), ORDERS + 10)
    world.tick(2)
    hand = world.hand()
    hand.claim()
    hand.todo.reverse()
    running = hand.begin()
    assert running == ids[-1]
    world.tick()
    ask(world, *ids)

    world.tick()
    assert running in orders(world)
    assert len(orders(world)) == ORDERS
    world.tick()
    assert orders(world) == sorted(ids)


def test_what_the_worker_never_started_ends_with_the_reason(world: World) -> None:
    [one] = world.post(world.actor())
    world.tick(2)
    ask(world, one, reason="Cancelled by bob before it ran.")
    world.tick()
    hand = world.hand()
    hand.claim()
    hand.finish(hand.todo.pop(), 143, ended_by="cancel")
    hand.leave()
    world.run_dry()

    execution = world.execution(one)
    assert (execution.status, execution.reason) == (BAD, "Cancelled by bob before it ran.")
    assert (execution.worker_id, execution.start_time, execution.exit_code) == (None, None, None)
    assert world.starts[one] == 0
    assert world.messages() == 0


def test_what_an_array_gives_back_does_not_run_elsewhere(world: World) -> None:
    [one, two, three] = world.post(world.actor(), 3)
    world.tick(2)
    ask(world, one, reason="Cancelled by bob before it ran.")
    ask(world, two)
    close_array(world.context, world.array().id, "for the test")
    world.tick()
    world.run_dry()

    assert world.statuses([one, two, three]) == [BAD, BAD, GOOD]
    assert world.execution(one).reason == "Cancelled by bob before it ran."
    assert world.execution(two).reason == "Cancelled before it ran."
    assert [world.starts[one] for one in (one, two, three)] == [0, 0, 1]
    assert world.messages() == 0


def test_an_array_that_is_not_submitted_yet_gets_its_order_when_it_is(world: World) -> None:
    [one] = world.post(world.actor())
    world.tick_until_killed("after_sbatch")
    assert world.array().status is ArrayStatus.PLANNED
    ask(world, one)
    world.tick()  # the watch finds the job at its end
    assert puts(world) == 0
    world.tick()
    assert orders(world) == [one]
    world.run_dry()

    assert world.statuses([one]) == [BAD]
    assert world.starts[one] == 0
