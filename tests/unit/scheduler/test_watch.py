"""What Slurm says of arrays, and what the scheduler makes of it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.core.statuses import ArrayStatus
from bridge.db import Actor, Array
from bridge.errors import ConnectFailed, SlurmError, SlurmUnavailable
from bridge.launcher.context import job_name
from bridge.node.journal import Fenced
from bridge.scheduler.stop import stop_tick
from bridge.scheduler.watch import watch_tick
from bridge.slurm.fake import FakeJob, FakeTask
from tests.unit.scheduler.world import BAD, GOOD, QUEUED, RUNNING, Hand, World

_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def submitted(world: World, count: int = 1, **actor: Any) -> list[str]:
    ids = world.post(world.actor(mean_run_s=600, **actor), count)
    world.tick(2)
    return ids


def begun(world: World, index: int = 0) -> tuple[Hand, str]:
    """A worker that runs a message, as the scheduler knows."""
    hand = world.hand(index)
    hand.claim()
    one = hand.begin()
    world.tick()
    assert world.statuses([one]) == [RUNNING]
    return hand, one


class TestNames:
    def test_a_job_of_another_name_under_the_same_id_is_not_ours(self, world: World) -> None:
        [one] = submitted(world)
        job = world.slurm.jobs[1]
        world.slurm.jobs[1] = FakeJob(1, "somebody-s", "alice", "", {}, [FakeTask(0, "FAILED")])
        world.ticks(40)

        assert world.arrays()[0].status is ArrayStatus.ENDED
        assert world.slurm.jobs[1].tasks[0].state == "FAILED"
        world.run_dry()
        assert world.statuses([one]) == [GOOD]
        assert job.tasks[0].state == "PENDING"

    def test_a_job_of_our_name_under_another_id_is_not_ours(self, world: World) -> None:
        submitted(world)
        job = world.slurm.jobs.pop(1)
        job.id = 77
        job.tasks[0].state = "FAILED"
        world.slurm.jobs[77] = job
        world.tick(2)
        assert world.array().unseen_since is not None
        assert world.array().array_job_id == 1

    def test_a_job_of_our_name_of_another_user_is_not_ours(self, world: World) -> None:
        submitted(world)
        world.slurm.jobs[1].username = "mallory"
        world.tick(2)
        assert world.array().unseen_since is not None

    def test_a_stranger_cannot_have_an_unclear_array_adopted(self, world: World) -> None:
        world.post(world.actor())
        world.slurm.is_up = False
        with pytest.raises(SlurmUnavailable):
            world.tick(2)
        world.slurm.is_up = True
        name = job_name(world.array().id)
        world.slurm.jobs[9] = FakeJob(9, name, "mallory", "", {}, [FakeTask(0)])
        world.tick(2)
        assert world.array().status is ArrayStatus.PLANNED

    def test_a_forgotten_job_s_id_given_to_another_is_left_alone(self, world: World) -> None:
        """Slurm acknowledges, forgets, and gives the id away (field.md 5.6)."""
        first = world.post(world.actor())
        world.slurm.losing = 1
        world.tick(2)
        second = world.post(world.actor())
        world.tick(2)
        assert {array.array_job_id for array in world.arrays()} == {1}
        assert len(world.arrays()) == 2

        for _ in range(20):
            world.tick(2)
            assert world.slurm.jobs[1].tasks[0].state == "PENDING"
        world.run_dry()

        assert world.statuses(first + second) == [GOOD] * 2
        assert set(world.starts.values()) == {1}


class TestUnseen:
    def test_only_after_a_while_is_it_lost(self, world: World) -> None:
        submitted(world)
        world.slurm.lose(1)
        world.ticks(25)
        assert world.array().status is ArrayStatus.SUBMITTED
        assert world.queued() == 0

        world.ticks(10)
        assert world.arrays()[0].reason == "Slurm no longer knows job 1."

    def test_what_comes_back_is_not_lost(self, world: World) -> None:
        submitted(world)
        job = world.slurm.jobs.pop(1)
        world.ticks(20)
        world.slurm.jobs[1] = job
        world.ticks(2)
        assert world.array().unseen_since is None
        del world.slurm.jobs[1]
        world.ticks(20)
        assert world.array().status is ArrayStatus.SUBMITTED

    def test_a_job_that_accounting_shows_running_is_forgotten_all_the_same(
        self, world: World
    ) -> None:
        ids = submitted(world)
        world.slurm.start(1)
        world.slurm.lose(1)
        assert [
            row.state for row in world.slurm.accounting([job_name(world.array().id)], _AGO)
        ] == ["RUNNING"]
        world.ticks(45)
        world.run_dry()
        assert world.statuses(ids) == [GOOD]

    def test_an_end_that_only_accounting_knows_is_believed(self, world: World) -> None:
        submitted(world)
        _, one = begun(world)
        world.slurm.end(1, 0, "OUT_OF_MEMORY", "0:125")
        world.slurm.purge(1)
        world.ticks(10)

        assert world.statuses([one]) == [BAD]
        assert "OUT_OF_MEMORY" in world.execution(one).reason
        assert "c1" in world.execution(one).reason

    def test_accounting_that_lags_is_waited_for(self, world: World) -> None:
        submitted(world)
        _, one = begun(world)
        world.slurm.freeze_accounting()
        world.slurm.end(1, 0, "TIMEOUT", "0:15")
        world.slurm.purge(1)
        world.ticks(20)
        assert world.statuses([one]) == [RUNNING]

        world.slurm.freeze_accounting(frozen=False)
        world.ticks(10)
        assert "TIMEOUT" in world.execution(one).reason

    def test_slurmctld_down_proves_nothing(self, world: World) -> None:
        ids = submitted(world)
        begun(world)
        world.slurm.is_up = False
        for _ in range(100):
            with pytest.raises(SlurmUnavailable):
                world.tick(60)
        assert world.array().unseen_since is None
        assert world.statuses(ids) == [RUNNING]

        world.slurm.is_up = True
        world.tick()
        assert world.array().status is ArrayStatus.SUBMITTED

    def test_slurmdbd_down_holds_up_nobody_that_slurmctld_knows(self, world: World) -> None:
        lost = submitted(world)
        world.slurm.lose(1)
        world.slurm._next_id = 2
        [one] = world.post(world.actor())
        world.tick(2)
        other = next(a for a in world.arrays() if a.array_job_id == 2)
        hand = world.hand(array=other)
        hand.claim()
        hand.begin()
        world.slurm.end(2, 0, "NODE_FAIL", "1:0")
        world.slurm.accounting_is_up = False
        world.ticks(20)

        assert world.statuses([one]) == [BAD]
        assert world.statuses(lost) == [QUEUED]

    def test_slurmctld_s_word_counts_alone_where_there_is_no_accounting(self, world: World) -> None:
        ids = submitted(world)
        world.slurm.lose(1)
        world.slurm.accounting_is_up = False
        world.ticks(29, 10)
        assert world.array().status is ArrayStatus.SUBMITTED
        world.ticks(5, 10)
        world.run_dry()
        assert world.statuses(ids) == [GOOD]


class TestEnds:
    @pytest.mark.parametrize(
        ("state", "exit_code"),
        [("NODE_FAIL", "1:0"), ("TIMEOUT", "0:15"), ("PREEMPTED", "0:15"), ("FAILED", "0:9"),
         ("OUT_OF_MEMORY", "0:125"), ("CANCELLED", "0:15"), ("COMPLETED", "0:0")],
    )  # fmt: skip
    def test_what_ran_in_a_dead_task_has_its_reason(
        self, world: World, state: str, exit_code: str
    ) -> None:
        submitted(world)
        hand, one = begun(world)
        world.slurm.end(1, 0, state, exit_code)
        world.ticks(10)

        execution = world.execution(one)
        assert execution.status is BAD
        assert state in execution.reason
        assert exit_code in execution.reason
        with pytest.raises(Fenced):
            hand.finish(one)

    def test_what_finished_before_the_end_is_kept(self, world: World) -> None:
        submitted(world)
        hand, one = begun(world)
        hand.finish(one, exit_code=0)
        world.slurm.end(1, 0, "NODE_FAIL", "1:0")
        world.ticks(10)
        assert world.statuses([one]) == [GOOD]

    def test_one_dead_task_leaves_the_others_alone(self, world: World) -> None:
        ids = submitted(world, 3)
        _, first = begun(world, 0)
        other, second = begun(world, 1)
        world.slurm.end(1, 0, "NODE_FAIL", "1:0")
        world.ticks(10)

        assert world.statuses([first, second]) == [BAD, RUNNING]
        assert world.array().status is ArrayStatus.SUBMITTED
        other.finish(second)
        other.run_rest()
        world.run_dry()
        assert [world.execution(one).status for one in ids if one != first] == [GOOD] * 2
        assert set(world.starts.values()) == {1}

    def test_a_task_that_ended_without_a_worker(self, world: World) -> None:
        """Python is missing on the node, the prolog failed: nothing joined, nothing is lost."""
        ids = submitted(world)
        world.slurm.start(1)
        world.slurm.end(1, 0, "FAILED", "127:0")
        world.ticks(3)
        assert world.arrays()[0].status is ArrayStatus.ENDED
        assert "FAILED" in world.arrays()[0].reason
        world.run_dry()
        assert world.statuses(ids) == [GOOD]

    def test_cancelled_by_its_owner_before_it_started(self, world: World) -> None:
        ids = submitted(world, 3)
        world.slurm.cancel(world.sessions.session("alice"), 1, job_name(world.array().id))
        world.ticks(3)
        assert world.arrays()[0].status is ArrayStatus.ENDED
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 3

    def test_an_owner_out_of_reach_does_not_keep_an_ended_array_open(self, world: World) -> None:
        submitted(world)
        _, one = begun(world)
        world.slurm.end(1, 0, "NODE_FAIL", "1:0")

        def fail(_verb: str, _about: object) -> None:
            raise ConnectFailed("the account is gone")

        world.sessions.fail = fail
        world.ticks(5)
        assert world.array().status is ArrayStatus.CLOSING
        world.ticks(3, 3600)
        assert world.statuses([one]) == [BAD]


class TestRequeue:
    def test_a_requeued_task_goes_on_with_what_is_left(self, world: World) -> None:
        ids = submitted(world, 2, max_workers=1)
        hand, one = begun(world)
        world.slurm.requeue(1)
        second = world.hand()
        assert second.name == "0.1"
        second.run_rest()
        world.run_dry()

        assert world.execution(one).status is BAD
        assert "queue" in world.execution(one).reason
        assert [world.execution(i).status for i in ids if i != one] == [GOOD]
        assert set(world.starts.values()) == {1}
        with pytest.raises(Fenced):
            hand.finish(one)

    def test_the_former_self_is_fenced_while_the_task_waits_again(self, world: World) -> None:
        submitted(world)
        hand, one = begun(world)
        world.slurm.fail_node("c1", requeue=True)
        world.ticks(7)

        assert world.execution(one).status is BAD
        assert "Slurm put the array task back" in world.execution(one).reason
        with pytest.raises(Fenced):
            hand.finish(one)

    def test_what_it_claimed_and_did_not_start_runs_once(self, world: World) -> None:
        ids = submitted(world, 1)
        hand = world.hand()
        hand.claim()
        world.tick()
        world.slurm.requeue(1)
        world.run_dry()

        assert world.statuses(ids) == [GOOD]
        assert world.starts == dict.fromkeys(ids, 1)
        with pytest.raises(Fenced):
            hand.begin()

    def test_the_order_of_a_stateful_actor_survives_it(self, world: World) -> None:
        actor = world.actor(stateless=False, mean_run_s=1)
        ids = world.post(actor, 8)
        world.tick(2)
        hand = world.hand()
        for _ in range(3):
            hand.claim()
            hand.finish(hand.begin())
            world.tick()
        hand.claim()
        world.slurm.requeue(1)
        world.run_dry()

        assert list(world.starts) == ids
        assert world.statuses(ids) == [GOOD] * 8


class TestPeace:
    """Slurm is asked as often for fifty arrays as for one."""

    def calls(self, world: World, arrays: int) -> dict[str, int]:
        for _ in range(arrays):
            world.post(world.actor())
        world.tick(2)
        world.slurm.calls.clear()
        world.tick(2)
        return dict(world.slurm.calls)

    @pytest.mark.parametrize("arrays", [1, 25])
    def test_one_question_a_tick(self, world: World, arrays: int) -> None:
        assert self.calls(world, arrays) == {"states": 1}

    @pytest.mark.parametrize("arrays", [1, 25])
    def test_one_more_where_some_are_not_listed(self, world: World, arrays: int) -> None:
        self.calls(world, arrays)
        for job in list(world.slurm.jobs):
            world.slurm.end(job)
            world.slurm.purge(job)
        world.slurm.calls.clear()
        watch_tick(world.context)
        assert world.slurm.calls == {"states": 1, "accounting": 1}

    def test_no_question_where_there_is_nothing_to_ask(self, world: World) -> None:
        world.ticks(3)
        assert world.slurm.calls == {}

    def test_an_array_that_went_well_is_not_cancelled(self, world: World) -> None:
        world.post(world.actor(), 3)
        world.run_dry()
        assert world.slurm.calls["cancel"] == 0
        assert world.slurm.jobs[1].tasks[0].state == "COMPLETED"

    def test_one_that_is_closed_is_cancelled_once(self, world: World) -> None:
        submitted(world, 4)
        hand = world.hand(0)
        while hand.claim():
            while hand.todo:
                hand.finish(hand.begin())
        hand.leave()
        world.ticks(20)
        assert world.slurm.calls["cancel"] == 1
        assert [task.state for task in world.slurm.jobs[1].tasks][1:] == ["CANCELLED"] * 3

    def test_a_deleted_actor_s_is_cancelled_once(self, world: World) -> None:
        submitted(world)
        begun(world)
        delete(world)
        for _ in range(20):
            stop_tick(world.context)
        assert world.slurm.calls["cancel"] == 1


def delete(world: World) -> None:
    with world.database.begin() as session:
        array = session.get_one(Array, world.array().id)
        array.stop_requested = True
        session.get_one(Actor, array.actor_id).deleted_at = world.clock.now()


class TestDeleted:
    def test_what_runs_is_ended_and_complete(self, world: World) -> None:
        submitted(world)
        hand, one = begun(world)
        delete(world)
        stop_tick(world.context)
        assert hand.spool.has_order("stop")
        assert world.slurm.jobs[1].tasks[0].state == "CANCELLED"
        hand.finish(one, exit_code=143, ended_by="signal")
        world.ticks(10)
        assert world.statuses([one]) == [GOOD]
        assert world.arrays(live=True) == []

    def test_what_waits_ends(self, world: World) -> None:
        ids = submitted(world, 3)
        delete(world)
        world.ticks(10)
        assert world.statuses(ids) == [BAD] * 3
        assert "deleted" in world.execution(ids[0]).reason

    def test_it_is_tried_again_when_slurm_did_not_answer(self, world: World) -> None:
        submitted(world)
        delete(world)
        world.slurm.is_up = False
        stop_tick(world.context)
        world.slurm.is_up = True
        stop_tick(world.context)
        assert world.slurm.jobs[1].tasks[0].state == "CANCELLED"


def test_an_unreadable_answer_ends_the_tick_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submitted(world)

    def unreadable(_names: object) -> Any:
        raise SlurmError("squeue: expected rows, got a poem")

    with monkeypatch.context() as patch:
        patch.setattr(world.slurm, "states", unreadable)
        with pytest.raises(SlurmError):
            watch_tick(world.context)
    assert world.array().status is ArrayStatus.SUBMITTED
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
