"""What reports make of executions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from bridge.core.statuses import ExecutionStatus, WorkerStatus
from bridge.db import Actor, Array, Event, Execution, Log, Message
from bridge.harvest import Finished, Joined, Left, Started, end_lost, has_open, requeue
from bridge.harvest.endings import MAX_PLANS
from bridge.harvest.outputs import TRUNCATED
from tests.factories.rows import add_actor, add_array, add_execution, add_worker
from tests.unit.harvest.conftest import NOW, Scene, moment

End = Callable[..., Finished]
QUEUED, RUNNING = ExecutionStatus.SUBMITTED, ExecutionStatus.RUNNING
COMPLETE, ERROR = ExecutionStatus.COMPLETE, ExecutionStatus.ERROR
DOCKER_KEYS = {
    "Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "Pid", "ExitCode", "Error",
    "StartedAt", "FinishedAt",
}  # fmt: skip


def messages(scene: Scene) -> int:
    with scene.database.read() as session:
        return session.scalar(select(func.count()).select_from(Message)) or 0


def log(scene: Scene, execution_id: str) -> Log:
    with scene.database.read() as session:
        return session.get_one(Log, execution_id)


class TestStatuses:
    def test_started(self, scene: Scene) -> None:
        one = scene.ids[0]
        scene.apply(Started(moment(10), one))

        execution = scene.execution(one)
        assert (execution.status, execution.start_time) == (RUNNING, moment(10))
        assert execution.worker_id == scene.worker_id
        assert scene.worker().status is WorkerStatus.BUSY
        assert messages(scene) == 3

    def test_finished(self, scene: Scene, end: End) -> None:
        one = scene.ids[0]
        scene.apply(Started(moment(10), one), end(one, exit_code=3, log="hello"))

        execution = scene.execution(one)
        assert (execution.status, execution.exit_code) == (COMPLETE, 3)
        assert (execution.start_time, execution.finish_time) == (moment(10), moment(15))
        assert (execution.runtime, execution.cpu, execution.io) == (5, 1, 3)
        assert execution.max_rss_kib == 2
        assert log(scene, one).text == "hello"
        assert messages(scene) == 2
        worker = scene.worker()
        assert (worker.status, worker.last_execution_time) == (WorkerStatus.READY, moment(15))

    def test_finished_although_started_was_not_read(self, scene: Scene, end: End) -> None:
        scene.apply(end(scene.ids[0]))
        assert scene.execution(scene.ids[0]).status is COMPLETE

    def test_the_actors_webhook_is_told_of_each_end_once(self, scene: Scene, end: End) -> None:
        one, two, _ = scene.ids
        scene.change(Actor, scene.actor().id, webhook="https://hooks.example.org")
        scene.apply(Started(moment(10), one))
        scene.apply(end(one, exit_code=3), end(two, exit_code=None, runtime_error="No such file."))
        scene.apply(end(one), end(two))
        with scene.database.read() as session:
            payloads = session.scalars(select(Event.payload).order_by(Event.id)).all()
        assert [(p["execution_id"], p["status"], p["exit_code"]) for p in payloads] == [
            (one, "COMPLETE", 3),
            (two, "ERROR", "undetermined"),
        ]

    def test_a_second_end_changes_nothing(self, scene: Scene, end: End) -> None:
        one = scene.ids[0]
        scene.apply(end(one, exit_code=0, log="first"))
        scene.apply(end(one, exit_code=9, log="second"), Started(moment(20), one))

        execution = scene.execution(one)
        assert (execution.status, execution.exit_code) == (COMPLETE, 0)
        assert log(scene, one).text == "first"

    def test_a_second_end_in_one_piece_changes_nothing(self, scene: Scene, end: End) -> None:
        one = scene.ids[0]
        scene.apply(end(one, log="first"), end(one, exit_code=9, log="second"))
        assert (scene.execution(one).exit_code, log(scene, one).text) == (0, "first")

    def test_the_same_piece_may_be_read_again(self, scene: Scene, end: End) -> None:
        piece = [Joined(moment(1), "c1", 7), Started(moment(10), scene.ids[0]), end(scene.ids[0])]
        scene.apply(*piece)
        before = scene.execution(scene.ids[0])
        scene.apply(*piece)
        assert scene.execution(scene.ids[0]).finish_time == before.finish_time

    def test_joined_and_left(self, scene: Scene) -> None:
        scene.apply(Joined(moment(1), "c7", 4711))
        worker = scene.worker()
        assert (worker.host, worker.job_id, worker.status) == ("c7", 4711, WorkerStatus.READY)
        assert worker.last_health_check_time == NOW

        scene.apply(Left(moment(2), "empty"))
        assert scene.worker().status is WorkerStatus.SHUTTING_DOWN

    def test_a_runtime_that_fails_is_no_end_of_the_actor_s(self, scene: Scene, end: End) -> None:
        one = scene.ids[0]
        scene.apply(Started(moment(10), one), end(one, exit_code=255, runtime_error="no image"))

        execution = scene.execution(one)
        assert (execution.status, execution.reason) == (ERROR, "no image")
        assert execution.exit_code is None
        assert scene.actor().mean_run_s is None

    @pytest.mark.parametrize("ended_by", ["cancel", "time_limit"])
    def test_a_container_that_was_ended_ran(self, scene: Scene, end: End, ended_by: str) -> None:
        scene.apply(
            Started(moment(10), scene.ids[0]), end(scene.ids[0], exit_code=143, ended_by=ended_by)
        )
        assert scene.execution(scene.ids[0]).status is COMPLETE

    def test_what_slurm_ended_is_an_error(self, scene: Scene, end: End) -> None:
        scene.apply(end(scene.ids[0], exit_code=143, ended_by="signal", log="so far"))
        execution = scene.execution(scene.ids[0])
        assert execution.status is ERROR
        assert "Slurm ended the worker" in execution.reason
        assert log(scene, execution.id).text == "so far"

    def test_what_its_owner_s_delete_ended_is_none(self, scene: Scene, end: End) -> None:
        scene.change(Array, scene.array_id, stop_requested=True)
        scene.apply(end(scene.ids[0], exit_code=143, ended_by="signal"))
        assert scene.execution(scene.ids[0]).status is COMPLETE


class TestWhoseExecutions:
    @pytest.fixture
    def foreign(self, scene: Scene) -> list[str]:
        """Executions of the actor in the queue, of another array, and of another actor's."""
        with scene.database.begin() as session:
            mine, other = session.get_one(Actor, scene.actor().id), add_actor(session, owner="bob")
            array, others = add_array(session, mine), add_array(session, other)
            return [
                add_execution(session, mine).id,
                add_execution(session, mine, array_id=array.id).id,
                add_execution(session, other).id,
                add_execution(session, other, array_id=others.id).id,
            ]

    def test_a_forged_report_moves_nothing(
        self, scene: Scene, end: End, foreign: list[str]
    ) -> None:
        for one in foreign:
            scene.apply(Started(moment(10), one), end(one, log="forged"))

        assert [scene.execution(one).status for one in foreign] == [QUEUED] * 4
        with scene.database.read() as session:
            assert session.scalar(select(func.count()).select_from(Log)) == 0

    def test_nor_does_it_spoil_what_stands_beside_it(
        self, scene: Scene, end: End, foreign: list[str]
    ) -> None:
        scene.apply(end("x" * 5000), end(foreign[0]), end(scene.ids[0]), end(""))
        assert scene.execution(scene.ids[0]).status is COMPLETE


class TestTimes:
    @pytest.mark.parametrize(
        ("started", "at"),
        [
            (moment(10), moment(99_999)),
            (moment(99_999), moment(99_999)),
            (moment(99_999), moment(10)),
            (moment(-99_999), moment(10)),
            (moment(-99_999), moment(-88_888)),
            (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)),
            (datetime(9999, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_they_lie_between_the_message_and_now(
        self, scene: Scene, end: End, started: datetime, at: datetime
    ) -> None:
        one, two, _ = scene.ids
        scene.apply(Started(started, one), end(two, started_at=started, at=at))

        first, second = scene.execution(one), scene.execution(two)
        assert first.start_time is not None
        assert first.message_received_time <= first.start_time <= NOW
        assert second.start_time is not None
        assert second.finish_time is not None
        assert second.message_received_time <= second.start_time <= second.finish_time <= NOW
        assert 0 <= second.runtime <= 3600

    def test_the_mean_run_time_is_learnt(self, scene: Scene, end: End) -> None:
        one, two, three = scene.ids
        scene.apply(end(one, started_at=moment(10), at=moment(20)))
        assert scene.actor().mean_run_s == 10
        scene.apply(end(two, started_at=moment(10), at=moment(10)))
        assert scene.actor().mean_run_s == pytest.approx(9)
        scene.apply(end(three, runtime_error="no image"))
        assert scene.actor().mean_run_s == pytest.approx(9)


class TestDockerState:
    def test_of_a_container_that_ran(self, scene: Scene, end: End) -> None:
        scene.apply(end(scene.ids[0], exit_code=137))
        state = scene.execution(scene.ids[0]).final_state
        assert state is not None
        assert set(state) == DOCKER_KEYS
        assert (state["Status"], state["ExitCode"], state["Running"]) == ("exited", 137, False)
        assert state["StartedAt"] == "2026-01-01T00:00:10.000Z"
        assert state["FinishedAt"] == "2026-01-01T00:00:15.000Z"

    def test_of_one_that_never_ran(self, scene: Scene, end: End) -> None:
        scene.apply(end(scene.ids[0], runtime_error="no image"))
        state = scene.execution(scene.ids[0]).final_state
        assert state is not None
        assert set(state) == DOCKER_KEYS
        assert (state["Error"], state["Dead"]) == ("no image", True)

    def test_of_one_that_was_lost_in_the_queue(self, scene: Scene) -> None:
        with scene.database.begin() as session:
            end_lost(session, Execution.id == scene.ids[0], "gone", NOW)
        state = scene.execution(scene.ids[0]).final_state
        assert state is not None
        assert set(state) == DOCKER_KEYS
        assert state["StartedAt"] == "0001-01-01T00:00:00Z"
        assert state["FinishedAt"] == "2026-01-01T01:00:00.000Z"


class TestLogs:
    def test_a_long_one_is_cut_and_marked(self, scene: Scene, end: End) -> None:
        scene.apply(end(scene.ids[0], log="x" * 11), max_log_length=10)
        assert log(scene, scene.ids[0]).text == "x" * 10 + TRUNCATED

    def test_one_that_just_fits_is_not(self, scene: Scene, end: End) -> None:
        scene.apply(end(scene.ids[0], log="x" * 10), max_log_length=10)
        assert log(scene, scene.ids[0]).text == "x" * 10

    def test_one_that_the_worker_cut_is_marked(self, scene: Scene, end: End) -> None:
        scene.apply(end(scene.ids[0], log="xx", log_truncated=True))
        assert log(scene, scene.ids[0]).text == "xx" + TRUNCATED

    def test_one_in_a_file_of_its_own(self, scene: Scene, end: End) -> None:
        one, two, _ = scene.ids
        scene.apply(end(one, log=None), end(two, log=None), logs={one: "from the file"})
        assert log(scene, one).text == "from the file"
        assert log(scene, two).text == ""

    @pytest.mark.parametrize(("asked", "given"), [(None, 60), (30, 30), (500, 100)])
    def test_it_lives_as_long_as_the_actor_says_within_the_site_s_limit(
        self, scene: Scene, end: End, asked: int | None, given: int
    ) -> None:
        scene.change(Actor, scene.actor().id, log_ex=asked)
        scene.apply(end(scene.ids[0]), log_ex_s=60, log_ex_limit_s=100)
        assert log(scene, scene.ids[0]).expires_at == NOW + timedelta(seconds=given)


class TestLost:
    def test_what_is_open_ends_with_the_reason(self, scene: Scene, end: End) -> None:
        one, two, three = scene.ids
        scene.apply(end(one), Started(moment(10), two))
        with scene.database.begin() as session:
            count = end_lost(session, Execution.array_id == scene.array_id, "node gone", NOW)

        assert count == 2
        assert scene.execution(one).status is COMPLETE
        for lost in (two, three):
            execution = scene.execution(lost)
            assert (execution.status, execution.reason) == (ERROR, "node gone")
            assert execution.finish_time == NOW
        assert scene.execution(two).runtime == 3590
        assert messages(scene) == 0

    def test_an_end_that_is_reported_later_is_ignored(self, scene: Scene, end: End) -> None:
        with scene.database.begin() as session:
            end_lost(session, Execution.array_id == scene.array_id, "node gone", NOW)
        scene.apply(end(scene.ids[0]))
        assert scene.execution(scene.ids[0]).status is ERROR


class TestRequeue:
    def requeue(self, scene: Scene, *, in_vain: bool = True) -> int:
        with scene.database.begin() as session:
            array = session.get_one(Array, scene.array_id)
            return requeue(session, array, Execution.chunk.in_([1, 2]), NOW, in_vain=in_vain)

    def test_what_was_not_started_goes_back(self, scene: Scene, end: End) -> None:
        one, two, three = scene.ids
        scene.apply(end(one), Started(moment(10), two))

        assert self.requeue(scene) == 1

        assert scene.execution(three).array_id is None
        assert scene.execution(three).chunk is None
        assert scene.execution(three).status is QUEUED
        assert scene.execution(two).array_id == scene.array_id
        assert messages(scene) == 2

    def test_another_array_s_chunk_of_that_number_stays(self, scene: Scene) -> None:
        with scene.database.begin() as session:
            actor = session.get_one(Actor, scene.actor().id)
            other = add_array(session, actor)
            theirs = add_execution(session, actor, array_id=other.id, chunk=1).id
        self.requeue(scene)
        assert scene.execution(theirs).array_id is not None

    def test_of_a_deleted_actor_it_ends(self, scene: Scene) -> None:
        scene.change(Actor, scene.actor().id, deleted_at=NOW)
        self.requeue(scene)
        assert {scene.execution(one).status for one in scene.ids} == {ERROR}
        assert "deleted" in scene.execution(scene.ids[0]).reason
        assert messages(scene) == 0

    def test_what_no_array_ever_started_is_given_up(self, scene: Scene) -> None:
        with scene.database.begin() as session:
            for execution in session.scalars(select(Execution)):
                execution.plan_count = MAX_PLANS
            session.get_one(Array, scene.array_id).reason = "nodes are broken"

        assert self.requeue(scene) == 0

        execution = scene.execution(scene.ids[0])
        assert execution.status is ERROR
        assert "nodes are broken" in execution.reason

    def test_an_array_that_did_its_work_is_no_plan_in_vain(self, scene: Scene) -> None:
        with scene.database.begin() as session:
            for execution in session.scalars(select(Execution)):
                execution.plan_count = MAX_PLANS

        assert self.requeue(scene, in_vain=False) == 3

        assert scene.execution(scene.ids[0]).plan_count == MAX_PLANS - 1


def test_open_executions(scene: Scene, end: End) -> None:
    def still_open() -> bool:
        with scene.database.read() as session:
            return has_open(session, scene.array())

    assert still_open()
    scene.apply(*(end(one) for one in scene.ids[:2]), Started(moment(10), scene.ids[2]))
    assert still_open()
    scene.apply(end(scene.ids[2]))
    assert not still_open()


def test_two_workers_of_one_array(scene: Scene, end: End) -> None:
    with scene.database.begin() as session:
        array = session.get_one(Array, scene.array_id)
        second = add_worker(session, array, name="1.0").id
    scene.apply(Started(moment(10), scene.ids[0]))
    scene.worker_id = second
    scene.apply(Started(moment(11), scene.ids[0]), Started(moment(11), scene.ids[1]))

    assert scene.execution(scene.ids[0]).worker_id != second
    assert scene.execution(scene.ids[1]).worker_id == second
