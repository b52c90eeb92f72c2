"""Closing an array: nothing of it can start any more, and what it left is settled, once."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.core.statuses import ArrayStatus, WorkerStatus
from bridge.db import Array, Execution
from bridge.errors import CommandTimeout, ConnectFailed, FileRefused, SlurmUnavailable
from bridge.node.journal import Fenced
from bridge.scheduler import journals, reports
from bridge.scheduler.close import GIVE_UP_AFTER, close_array, closing_tick
from tests.unit.scheduler.world import BAD, GOOD, QUEUED, Hand, World

HOUR = GIVE_UP_AFTER.total_seconds()


def close(world: World, reason: str = "for the test") -> Array:
    array = world.array()
    close_array(world.context, array.id, reason)
    return array


def closing(world: World, seconds: float, count: int = 1) -> bool:
    """Push the clock and close on; whether nothing is left to close."""
    for _ in range(count):
        world.clock.push(seconds)
        closing_tick(world.context)
    return not world.arrays(live=True)


def submitted(world: World, count: int = 4, **actor: Any) -> list[str]:
    """Post messages and have them submitted as one array."""
    ids = world.post(world.actor(**{"mean_run_s": 600} | actor), count)
    world.tick(2)
    assert world.array().status is ArrayStatus.SUBMITTED
    return ids


class TestWhatWasNotStarted:
    def test_goes_back_and_is_run_once(self, world: World) -> None:
        ids = submitted(world)
        close(world)
        assert closing(world, 1)

        assert world.queued() == 4
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 4
        assert world.starts == dict.fromkeys(ids, 1)

    def test_is_cancelled_in_slurm(self, world: World) -> None:
        submitted(world)
        close(world)
        closing(world, 1)
        [job] = world.slurm.jobs.values()
        assert {task.state for task in job.tasks} == {"CANCELLED"}

    def test_a_task_that_starts_late_finds_nothing(self, world: World) -> None:
        submitted(world)
        array = close(world)
        world.slurm.is_up = False  # so it is not cancelled
        closing(world, 1)
        hand = world.hand(array=array)
        assert hand.claim() is None

    def test_of_a_claimed_chunk_too(self, world: World) -> None:
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        running = hand.begin()
        world.tick()
        close(world)
        assert not closing(world, 1)
        assert closing(world, 5)

        assert world.execution(running).status is BAD
        assert world.execution(running).reason == "for the test"
        world.run_dry()
        assert [world.execution(one).status for one in ids if one != running] == [GOOD] * 3
        assert set(world.starts.values()) == {1}


class TestFencing:
    def test_a_worker_between_claim_and_start_never_starts(self, world: World) -> None:
        submitted(world)
        hand = world.hand()
        hand.claim()
        close(world)
        closing(world, 1)

        with pytest.raises(Fenced):
            hand.begin()
        closing(world, 5)
        with pytest.raises(Fenced):
            hand.begin()

    def test_what_it_wrote_in_the_last_moment_is_read(self, world: World) -> None:
        submitted(world)
        hand = world.hand()
        hand.claim()
        world.tick()
        close(world)
        one = hand.begin()  # before the fence, after the journal was last read
        assert not closing(world, 1)
        closing(world, 5)

        assert world.execution(one).status is BAD
        world.run_dry()
        assert world.starts[one] == 1

    def test_a_worker_whose_journal_cannot_be_seen_yet(self, world: World) -> None:
        """A network filesystem may show who claimed before it shows the journal."""
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        journal = hand.root / "journal" / f"{hand.name}.jsonl"
        hidden = hand.root / "journal" / "hidden"
        journal.rename(hidden)
        close(world)
        assert not closing(world, 1)
        hidden.rename(journal.with_suffix(".fenced"))  # the rename reached the server all the same
        with pytest.raises(Fenced):
            hand.begin()
        assert closing(world, 5)

        assert world.statuses(ids) == [QUEUED] * 4
        assert world.workers()["0.0"].fenced_at is not None

    def test_a_claim_that_cannot_be_seen_yet(self, world: World) -> None:
        """... or show neither that a chunk is gone nor who has it."""
        submitted(world)
        hand = world.hand()
        hand.claim()
        stale = {"claimed", "journal"}

        session = world.sessions.session("alice")
        real = session._session.list
        session._session.list = lambda path, limit=10_000: (
            [] if path.rpartition("/")[2] in stale else real(path, limit)
        )
        try:
            close(world)
            assert not closing(world, 1)
            assert not closing(world, 3)
        finally:
            del session._session.list
        assert not closing(world, 1)  # now it is seen, and fenced off
        with pytest.raises(Fenced):
            hand.begin()
        assert closing(world, 5)

    def test_who_left_is_not_fenced(self, world: World) -> None:
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        hand.leave("time")
        world.tick()
        close(world)
        assert closing(world, 1)
        assert world.workers()["0.0"].fenced_at is None
        assert world.statuses(ids) == [QUEUED] * 4


class TestJournals:
    @pytest.fixture
    def small_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One short read of a journal in a tick."""
        monkeypatch.setattr(journals, "READ_BYTES", 1000)
        monkeypatch.setattr(journals, "SHARE_S", 0)

    def work(self, world: World) -> Hand:
        hand = world.hand()
        while hand.claim():
            while hand.todo:
                hand.finish(hand.begin())
        return hand

    @pytest.mark.usefixtures("small_steps")
    def test_are_read_to_the_end_however_long(self, world: World) -> None:
        ids = submitted(world, 30, mean_run_s=1)
        self.work(world)
        world.slurm.end(1, 0, "NODE_FAIL")
        close(world)

        for _ in range(60):
            if closing(world, 3):
                break

        assert world.statuses(ids) == [GOOD] * 30

    @pytest.mark.usefixtures("small_steps")
    def test_are_read_to_the_end_before_a_dead_worker_is_settled(self, world: World) -> None:
        ids = submitted(world, 30, mean_run_s=1)
        self.work(world)
        for task in range(world.array().task_count):
            world.slurm.end(1, task, "NODE_FAIL")

        world.ticks(60, 3)

        assert world.statuses(ids) == [GOOD] * 30
        assert set(world.starts.values()) == {1}

    def test_that_cannot_be_read_keep_messages_from_running_again(self, world: World) -> None:
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        one = hand.begin()
        journal = hand.root / "journal" / "0.0.jsonl"
        journal.with_name("second").hardlink_to(journal)  # refused: it has two names
        close(world)
        assert not closing(world, 10, 5)
        assert world.execution(one).status is QUEUED

        assert closing(world, HOUR)

        assert world.statuses(ids) == [BAD] * 4

    def test_a_torn_last_line_is_the_end(self, world: World) -> None:
        submitted(world)
        hand = world.hand()
        with (hand.root / "journal" / "0.0.jsonl").open("ab") as file:
            file.write(b'{"t":"sta')
        close(world)
        closing(world, 1)
        assert closing(world, 5)

    def test_large_logs_are_not_held_all_at_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journals, "FILES", 3)
        held: list[int] = []
        real = reports.apply_reports

        def spy(*args: Any) -> None:
            held.append(len(args[3]))
            real(*args)

        monkeypatch.setattr(reports, "apply_reports", spy)
        ids = submitted(world, 8)
        hand = world.hand()
        while hand.claim():
            while hand.todo:
                one = hand.begin()
                (hand.root / "logs" / one).write_text(f"log of {one}")
                hand.finish(one, log=None)
        world.tick()

        assert world.statuses(ids) == [GOOD] * 8
        assert [world.log(one) for one in ids] == [f"log of {one}" for one in ids]
        assert max(held) == 3

    def test_a_log_is_read_only_for_what_is_open_here(self, world: World) -> None:
        submitted(world)
        hand = world.hand()
        for number in range(5):
            hand.finish(f"forged{number}", log=None)
        world.tick()

        assert not [about for verb, about in world.sessions.asked if "/logs/" in str(about)]


class TestRemovedByTheOwner:
    """Or by a site that empties its scratch filesystem: what may have run is not run again."""

    def test_a_journal(self, world: World) -> None:
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        one = hand.begin()
        (hand.root / "journal" / "0.0.jsonl").unlink()
        world.slurm.end(1, 0, "NODE_FAIL", "1:0")
        close(world)
        assert not closing(world, 60, 30)
        assert closing(world, HOUR)
        assert world.statuses(ids) == [BAD] * 4
        world.run_dry()
        assert world.starts == {one: 1}

    def test_the_whole_spool(self, world: World) -> None:
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        one = hand.begin()
        shutil.rmtree(hand.root)
        for task in range(4):
            world.slurm.end(1, task, "FAILED", "2:0")
        world.ticks(5)
        assert world.queued() == 0
        world.ticks(3, HOUR)
        world.run_dry()
        assert world.starts[one] == 1
        assert world.execution(one).status is BAD
        assert set(world.statuses(ids)) <= {BAD, GOOD}

    def test_before_slurm_had_it(self, world: World) -> None:
        world.slurm.is_up = False
        ids = world.post(world.actor(), 2)
        with pytest.raises(SlurmUnavailable):
            world.tick(2)
        shutil.rmtree(world.array().spool)
        world.slurm.is_up = True
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 2


class TestTrouble:
    def test_a_controller_that_is_down_keeps_nobody_from_being_fenced(self, world: World) -> None:
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        close(world)
        world.slurm.is_up = False
        assert not closing(world, 1)
        with pytest.raises(Fenced):
            hand.begin()
        assert not closing(world, 5)

        world.slurm.is_up = True
        assert closing(world, 1)
        assert world.statuses(ids) == [QUEUED] * 4

    def test_a_controller_that_stays_down_costs_no_message(self, world: World) -> None:
        ids = submitted(world)
        close(world)
        world.slurm.is_up = False
        closing(world, 10)
        assert closing(world, HOUR)
        assert world.statuses(ids) == [QUEUED] * 4

    @pytest.mark.parametrize("error", [ConnectFailed("no account"), CommandTimeout("hangs")])
    def test_an_owner_out_of_reach_is_waited_for_an_hour(
        self, world: World, error: Exception
    ) -> None:
        ids = submitted(world)

        def fail(verb: str, _about: object) -> None:
            raise error

        close(world)
        world.sessions.fail = fail
        assert not closing(world, 60, 10)
        assert world.statuses(ids) == [QUEUED] * 4

        assert closing(world, HOUR)
        assert world.statuses(ids) == [BAD] * 4
        assert world.execution(ids[0]).reason == "for the test"

    def test_a_full_disk_keeps_no_chunk_in_the_inbox(self, world: World) -> None:
        submitted(world)

        def fail(verb: str, _about: object) -> None:
            if verb == "put":
                raise FileRefused("Disk quota exceeded", kind="refused")

        world.sessions.fail = fail
        close(world)
        assert closing(world, 1)

    @pytest.mark.parametrize(
        ("verb", "about"),
        [
            ("list", "inbox"),
            ("rename", ""),
            ("list", "journal"),
            ("read_each", ""),
            ("list", "claimed"),
        ],
    )
    def test_every_step_may_fail_and_be_repeated(self, world: World, verb: str, about: str) -> None:
        ids = submitted(world)
        hand = world.hand()
        hand.claim()
        one = hand.begin()
        left = {"failures": 3}

        def fail(asked: str, of: object) -> None:
            if asked == verb and about in str(of) and left["failures"] > 0:
                left["failures"] -= 1
                raise CommandTimeout("slow filesystem")

        world.sessions.fail = fail
        close(world)
        for _ in range(10):
            if closing(world, 3):
                break

        assert left["failures"] == 0
        assert world.execution(one).status is BAD
        world.sessions.fail = lambda _verb, _about: None
        world.run_dry()
        assert world.statuses([i for i in ids if i != one]) == [GOOD] * 3
        assert set(world.starts.values()) == {1}

    @pytest.mark.parametrize("error", [FileRefused("denied", kind="refused"), CommandTimeout("x")])
    def test_a_spool_that_cannot_be_removed_stays(self, world: World, error: Exception) -> None:
        ids = submitted(world)

        def fail(verb: str, _about: object) -> None:
            if verb == "remove":
                raise error

        world.sessions.fail = fail
        array = close(world)
        assert closing(world, 1)
        assert Path(array.spool).exists()
        assert world.statuses(ids) == [QUEUED] * 4


class TestRecord:
    def test_the_first_reason_counts(self, world: World) -> None:
        submitted(world)
        array = close(world, "first")
        close_array(world.context, array.id, "second", failed=True)
        assert (world.array().reason, world.array().failed) == ("first", False)

    def test_an_ended_array_stays_ended(self, world: World) -> None:
        submitted(world)
        array = close(world)
        closing(world, 1)
        close_array(world.context, array.id, "again")
        assert world.arrays(live=True) == []

    def test_its_workers_shut_down(self, world: World) -> None:
        submitted(world)
        world.hand()
        world.tick()
        close(world)
        closing(world, 6, 2)
        assert {worker.status for worker in world.workers().values()} == {
            WorkerStatus.SHUTTING_DOWN
        }

    def test_what_failed_ends_with_its_reason(self, world: World) -> None:
        ids = submitted(world)
        close_array(world.context, world.array().id, "no such partition", failed=True)
        assert closing(world, 1)
        assert world.statuses(ids) == [BAD] * 4
        assert world.execution(ids[0]).reason == "no such partition"

    def test_what_the_api_wrote_meanwhile_stays(self, world: World) -> None:
        submitted(world)
        array = close(world)
        with world.database.begin() as session:
            session.get_one(Array, array.id).stop_requested = True
        closing(world, HOUR)
        assert world.arrays()[0].stop_requested


def test_a_queue_longer_than_the_time_limit_is_never_given_up(world: World) -> None:
    ids = world.post(world.actor(max_workers=1), 30)
    for _ in range(10):
        world.tick(2)
        array = world.array()
        hand = world.hand(array=array)
        hand.claim()
        for _ in range(3):
            hand.finish(hand.begin())
        hand.leave("time")
        for _ in range(10):
            world.tick(2)
            if array.id not in [a.id for a in world.arrays(live=True)]:
                break
    assert world.statuses(ids) == [GOOD] * 30
    assert world.starts == dict.fromkeys(ids, 1)


def test_a_node_that_starts_nothing_does_not_keep_a_message_for_ever(world: World) -> None:
    [one] = world.post(world.actor())
    for _ in range(40):
        world.tick(2)
        for array in world.arrays(live=True):
            job = world.slurm.jobs.get(array.array_job_id or 0)
            if job and job.tasks[0].state == "PENDING":
                hand = world.hand(array=array)
                hand.claim()
                hand.leave("broken")
    execution: Execution = world.execution(one)
    assert execution.status is BAD
    assert "Given up" in execution.reason
    assert len(world.arrays()) == 5


def test_times_are_the_clock_s(world: World) -> None:
    submitted(world)
    close(world)
    closing(world, 1)
    [array] = world.arrays()
    assert array.closing_at is not None
    assert array.ended_at == array.closing_at + timedelta(seconds=1)
