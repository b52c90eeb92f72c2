"""Stateful actors: one container at a time, in order, each with what the one before left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from bridge.db import Actor, Execution
from tests.unit.scheduler.world import BAD, GOOD, Hand, World


def counter(world: World, count: int) -> tuple[Actor, list[str]]:
    actor = world.actor(stateless=False, mean_run_s=1)
    return actor, world.post(actor, count)


def leave_state(world: World, actor: Actor, state: object) -> None:
    with world.database.begin() as session:
        session.execute(update(Actor).where(Actor.id == actor.id).values(state=state))


def lines(hand: Hand) -> list[dict[str, object]]:
    """Return the message lines of the chunk claimed last."""
    newest = max(Path(hand.root, "claimed").iterdir())
    return [json.loads(line) for line in newest.read_text().splitlines()[1:]]


def test_the_next_message_brings_what_the_one_before_left(each_world: World) -> None:
    world = each_world
    actor, ids = counter(world, 3)
    world.tick(0.1)
    hand = world.hand()
    for number, one in enumerate(ids):
        hand.claim()
        assert hand.claim() is None  # nothing more is out
        [line] = lines(hand)
        before = {"count": number} if number else {}
        assert (line["id"], json.loads(str(line["state"]))) == (one, before)
        assert hand.seen[one] == repr(before)
        hand.finish(hand.begin())
        leave_state(world, actor, {"count": number + 1})
        world.tick(0.1)  # harvested, and the next one is there

    assert world.statuses(ids) == [GOOD] * 3
    assert len(world.arrays()) == 1


@pytest.mark.parametrize("state", [None, [], "text", {"\u20ac": "'\"\\"}, 1.5])
def test_any_state_comes_through(world: World, state: object) -> None:
    actor, _ = counter(world, 1)
    leave_state(world, actor, state)
    world.tick(0.1)
    hand = world.hand()
    hand.claim()
    assert json.loads(str(lines(hand)[0]["state"])) == state


def test_a_lost_worker_s_message_is_followed_by_the_next(world: World) -> None:
    _, ids = counter(world, 3)
    world.tick()
    hand = world.hand()
    hand.claim()
    hand.begin()
    world.tick()
    world.slurm.end(1, 0, "NODE_FAIL", "1:0")
    world.run_dry()

    assert world.statuses(ids) == [BAD, GOOD, GOOD]
    assert list(world.starts) == ids


def test_what_was_claimed_and_not_started_comes_first_again(world: World) -> None:
    _, ids = counter(world, 3)
    world.tick()
    hand = world.hand()
    hand.claim()
    world.tick()
    world.slurm.end(1, 0, "NODE_FAIL", "1:0")
    world.run_dry()

    assert world.statuses(ids) == [GOOD] * 3
    assert list(world.starts) == ids


def test_a_message_that_was_taken_back_holds_nobody_up(world: World) -> None:
    _, ids = counter(world, 3)
    world.tick()
    with world.database.begin() as session:
        ended = {"status": BAD, "finish_time": world.clock.now(), "reason": "Cancelled."}
        session.execute(update(Execution).where(Execution.id == ids[1]).values(ended))
    world.run_dry()
    assert list(world.starts) == [ids[0], ids[2]]


def test_an_update_changes_workers_between_two_messages(world: World) -> None:
    actor, ids = counter(world, 2)
    world.tick()
    hand = world.hand()
    hand.claim()
    one = hand.begin()
    world.tick()
    with world.database.begin() as session:
        session.execute(update(Actor).where(Actor.id == actor.id).values(revision=2))
    world.ticks(3)
    assert world.queued() == 1
    hand.finish(one)
    world.tick(0.1)

    assert len(world.arrays()) == 2
    world.run_dry()
    assert list(world.starts) == ids


def test_users_take_turns_in_the_order_of_their_messages(world: World) -> None:
    actor = world.actor(stateless=False, run_as_executor=True)
    ids = []
    for username in ("alice", "bob", "alice"):
        ids += world.post(actor, 1, username=username)
    world.run_dry()

    assert list(world.starts) == ids
    assert [array.username for array in world.arrays()] == ["alice", "bob", "alice"]
    assert {job.username for job in world.slurm.jobs.values()} == {"alice", "bob"}
