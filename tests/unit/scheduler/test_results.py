"""Results from a worker's files to the database: each once, whatever the harvest is cut at."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from bridge.db import Result
from bridge.errors import ConnectFailed
from bridge.node.results import Results
from bridge.scheduler import journals, reports
from tests.unit.scheduler.world import GOOD, RUNNING, Hand, World


def begun(world: World) -> tuple[Hand, str]:
    """Have one message started."""
    world.post(world.actor())
    world.tick(2)
    hand = world.hand()
    hand.claim()
    return hand, hand.begin()


def send(hand: Hand, one: str, payloads: list[bytes], inline: int = 0) -> Results:
    """Take payloads and tell of all of them, as a worker does."""
    results = Results(str(hand.root / "results" / one), inline, 1 << 30)
    for payload in payloads:
        results.feed(payload)
    tell(hand, one, results)
    return results


def tell(hand: Hand, one: str, results: Results) -> None:
    while (batch := results.next_batch()) is not None:
        hand.journal.write({"t": "progress", "id": one, "log": ".", "results": batch})
        results.mark_told(batch)


def kept(world: World, one: str) -> list[bytes]:
    with world.database.read() as session:
        query = select(Result.payload).where(Result.execution_id == one).order_by(Result.number)
        return list(session.scalars(query))


def test_those_in_the_file_are_read_from_there(world: World) -> None:
    hand, one = begun(world)
    sent = [b"small", b"x" * 100_000, b"\0", b"y" * 6_000_000, *(b"%d" % n for n in range(1500))]
    send(hand, one, sent, inline=10)
    hand.finish(one, log="all of it")
    hand.leave()
    world.run_dry()

    assert kept(world, one) == sent
    assert world.statuses([one]) == [GOOD]
    assert world.log(one) == "all of it"


def test_they_and_the_log_are_there_while_it_runs(world: World) -> None:
    hand, one = begun(world)
    send(hand, one, [b"first"], inline=100)
    world.tick()

    assert kept(world, one) == [b"first"]
    assert world.statuses([one]) == [RUNNING]
    assert world.log(one) == "."


def test_a_harvest_that_is_cut_repeats_nothing(world: World) -> None:
    hand, one = begun(world)
    sent = [b"%d" % n for n in range(50)]
    send(hand, one, sent)
    hand.finish(one)
    hand.leave()
    asked = 0

    def fail(verb: str, about: object) -> None:
        nonlocal asked
        asked += 1
        if verb.startswith("read") and asked % 3:
            raise ConnectFailed("the way is blocked")

    world.sessions.fail = fail
    world.ticks(4)
    world.sessions.fail = lambda _verb, _about: None
    world.run_dry()

    assert kept(world, one) == sent


@pytest.mark.parametrize("steps", range(1, 5))
def test_a_crash_before_any_commit_repeats_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    hand, one = begun(world)
    sent = [b"%d" % n for n in range(3000)]
    send(hand, one, sent)
    hand.finish(one)
    hand.leave()
    monkeypatch.setattr(journals, "FILES", 1)
    left = steps
    real = reports.apply_reports

    def apply(*given: object) -> None:
        nonlocal left
        real(*given)  # type: ignore[arg-type]
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(reports, "apply_reports", apply)
    with pytest.raises(KeyboardInterrupt):
        world.ticks(5)
    world.run_dry()

    assert kept(world, one) == sent


def test_what_the_file_does_not_have_is_left_out(world: World) -> None:
    hand, one = begun(world)
    send(hand, one, [b"whole", b"cut"])
    path = hand.root / "results" / one
    path.write_bytes(path.read_bytes()[:-1])
    hand.finish(one)
    hand.leave()
    world.run_dry()

    assert kept(world, one) == [b"whole"]
    assert world.statuses([one]) == [GOOD]


def test_what_a_node_lost_is_run_again_by_another(world: World) -> None:
    [one] = world.post(world.actor(batch={"retries": 1}))
    world.tick(2)
    hand = world.hand()
    hand.claim()
    assert hand.begin() == one
    send(hand, one, [b"half"], inline=100)
    world.tick()
    world.slurm.end(hand.job_id, hand.index, "NODE_FAIL", "0:0")
    world.ticks(10, 5)
    world.run_dry()

    execution = world.execution(one)
    assert (execution.status, execution.attempt) == (GOOD, 2)
    assert world.starts[one] == 2
    assert kept(world, one) == []
