"""What executions leave behind: partial logs, results, state, and how they may be run again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from bridge.core.statuses import ExecutionStatus, Level
from bridge.db import Actor, Array, Execution, Log, Message, Result
from bridge.harvest import Finished, Progress, Results, Started, end_lost
from bridge.harvest.outputs import OURS, TRUNCATED
from bridge.harvest.records import State
from tests.factories.rows import add_permission
from tests.unit.harvest.conftest import NOW, Scene, moment

End = Callable[..., Finished]
QUEUED, RUNNING = ExecutionStatus.SUBMITTED, ExecutionStatus.RUNNING
COMPLETE, ERROR = ExecutionStatus.COMPLETE, ExecutionStatus.ERROR


def told(execution_id: str, log: str = "", results: Results | None = None) -> Progress:
    return Progress(moment(12), execution_id, log, results)


def results(scene: Scene, execution_id: str) -> list[tuple[int, bytes]]:
    with scene.database.read() as session:
        query = select(Result.number, Result.payload).where(Result.execution_id == execution_id)
        return [(row.number, row.payload) for row in session.execute(query.order_by(Result.number))]


def log(scene: Scene, execution_id: str) -> str:
    with scene.database.read() as session:
        row = session.get(Log, execution_id)
        return "" if row is None else row.text


def begun(scene: Scene) -> str:
    """Have the first execution started; return its id."""
    scene.apply(Started(moment(10), scene.ids[0]))
    return scene.ids[0]


class TestResults:
    def test_of_a_running_one_and_of_its_end(self, scene: Scene, end: End) -> None:
        one = begun(scene)
        scene.apply(told(one, results=Results(0, (b"a", b"\0\xff"))))
        assert results(scene, one) == [(0, b"a"), (1, b"\0\xff")]
        assert scene.execution(one).status is RUNNING

        scene.apply(end(one, results=Results(2, (b"c",))))
        assert results(scene, one) == [(0, b"a"), (1, b"\0\xff"), (2, b"c")]
        with scene.database.read() as session:
            expiry = session.scalars(select(Result.expires_at)).all()
        assert set(expiry) == {NOW + timedelta(days=7)}

    def test_told_again_are_kept_once(self, scene: Scene) -> None:
        one = begun(scene)
        scene.apply(told(one, results=Results(0, (b"a", b"b"))))
        scene.apply(told(one, results=Results(0, (b"a", b"b", b"c"))))
        assert results(scene, one) == [(0, b"a"), (1, b"b"), (2, b"c")]

    def test_told_again_after_they_were_removed(self, scene: Scene) -> None:
        one = begun(scene)
        scene.apply(told(one, results=Results(0, (b"a",))))
        with scene.database.begin() as session:
            session.delete(session.get_one(Result, (one, 0)))
        scene.apply(told(one, results=Results(0, (b"a", b"b"))))
        assert results(scene, one) == [(1, b"b")]

    def test_of_a_final_one_are_not_taken(self, scene: Scene, end: End) -> None:
        one = begun(scene)
        scene.apply(end(one), told(one, "late", Results(0, (b"late",))))
        scene.apply(end(one, results=Results(0, (b"late",))))
        assert results(scene, one) == []
        assert log(scene, one) == ""

    def test_beyond_the_limit_are_not_taken(self, scene: Scene) -> None:
        one = begun(scene)
        forged = Results(0, (b"x" * 2000, b"", b"y" * 3000, *[b"1"] * 500))
        scene.apply(told(one, results=forged), max_result_bytes=10_000)
        kept = results(scene, one)
        assert [len(payload) for _, payload in kept] == [2000, 3000, 1, 1, 1, 1]
        assert scene.execution(one).result_bytes <= 10_000

    def test_of_somebody_else_s_are_not_taken(self, scene: Scene) -> None:
        scene.change(Execution, seq_of(scene, scene.ids[1]), array_id=None, chunk=None)
        scene.apply(told(scene.ids[1], "x", Results(0, (b"x",))), told("nobody", "x"))
        assert results(scene, scene.ids[1]) == []
        assert log(scene, scene.ids[1]) == ""


def seq_of(scene: Scene, execution_id: str) -> Any:
    return scene.execution(execution_id).seq


class TestLogs:
    def test_grow_and_are_replaced_at_the_end(self, scene: Scene, end: End) -> None:
        one = begun(scene)
        scene.apply(told(one, "one\n"), told(one, "two\n"))
        scene.apply(told(one, "three\n"))
        assert log(scene, one) == "one\ntwo\nthree\n"

        scene.apply(end(one, log="one\ntwo\nthree\nfour\n"))
        assert log(scene, one) == "one\ntwo\nthree\nfour\n"

    def test_stay_when_the_worker_is_lost(self, scene: Scene) -> None:
        one = begun(scene)
        scene.apply(told(one, "so far"))
        with scene.database.begin() as session:
            end_lost(session, Execution.id == one, "lost", NOW, retries=True)
        assert log(scene, one) == "so far"
        assert scene.execution(one).status is ERROR

    def test_that_grow_for_ever_are_cut(self, scene: Scene) -> None:
        one = begun(scene)
        for _ in range(5):
            scene.apply(told(one, "x" * 400), max_log_length=1000)
        assert log(scene, one) == "x" * 1000

    def test_what_the_worker_adds_stands_at_the_end(self, scene: Scene, end: End) -> None:
        one, two, three = scene.ids
        notes = "Killed: too large.\nResults left out: 1."
        scene.apply(
            end(one, log="no newline", notes=notes),
            end(two, log="", notes="Said."),
            end(three, log="x" * 20, notes="Said."),
            max_log_length=12,
        )
        assert log(scene, one) == (
            f"no newline\n{OURS}Killed: too large.\n{OURS}Results left out: 1.\n"
        )
        assert log(scene, two) == f"{OURS}Said.\n"
        assert log(scene, three) == f"{'x' * 12}{TRUNCATED}\n{OURS}Said.\n"


class TestMemory:
    def test_what_was_killed_for_its_memory_ran(self, scene: Scene, end: End) -> None:
        one = begun(scene)
        scene.apply(end(one, exit_code=137, ended_by="memory", oom_killed=True))
        execution = scene.execution(one)
        assert (execution.status, execution.exit_code) == (COMPLETE, 137)
        assert execution.final_state is not None
        assert execution.final_state["OOMKilled"] is True

    def test_others_were_not(self, scene: Scene, end: End) -> None:
        one = begun(scene)
        scene.apply(end(one, exit_code=137))
        assert (scene.execution(one).final_state or {})["OOMKilled"] is False


class TestState:
    def stateful(self, scene: Scene) -> str:
        actor = scene.actor()
        scene.change(Actor, actor.id, stateless=False, state={"n": 1})
        return begun(scene)

    @pytest.mark.parametrize("value", [{"n": 2}, None, [], 0, "text"])
    def test_is_what_the_container_left(self, scene: Scene, end: End, value: object) -> None:
        scene.apply(end(self.stateful(scene), state=State(value)))
        assert scene.actor().state == value

    def test_stays_when_it_left_none(self, scene: Scene, end: End) -> None:
        scene.apply(end(self.stateful(scene)))
        assert scene.actor().state == {"n": 1}

    def test_of_a_stateless_actor_is_none(self, scene: Scene, end: End) -> None:
        before = scene.actor().state
        scene.apply(end(begun(scene), state=State({"n": 2})))
        assert scene.actor().state == before

    def test_of_what_never_ran_is_none(self, scene: Scene, end: End) -> None:
        one = self.stateful(scene)
        scene.apply(end(one, state=State(2), runtime_error="no image"))
        assert scene.actor().state == {"n": 1}

    @pytest.mark.parametrize(
        ("level", "who", "state"),
        [
            (None, "bob", 1),
            (Level.EXECUTE, "bob", 1),
            (Level.UPDATE, "bob", 2),
            (Level.UPDATE, "carol", 1),
            (Level.UPDATE, "ABACO_WORLD", 2),
        ],
    )
    def test_of_an_executor_s_run_needs_update(
        self, scene: Scene, end: End, level: Level | None, who: str, state: int
    ) -> None:
        one = self.stateful(scene)
        scene.change(Actor, scene.actor().id, state=1)
        scene.change(Execution, seq_of(scene, one), username="bob")
        if level is not None:
            with scene.database.begin() as session:
                actor = session.get_one(Actor, scene.array().actor_id)
                add_permission(session, actor, who, level)
        scene.apply(end(one, state=State(2)))
        assert scene.actor().state == state


class TestRetries:
    def asked(self, scene: Scene, retries: int = 2) -> str:
        scene.change(Actor, scene.actor().id, batch={"retries": retries})
        return begun(scene)

    def lose(self, scene: Scene, one: str, **given: bool) -> None:
        with scene.database.begin() as session:
            end_lost(session, Execution.id == one, "the node died", NOW, **given)

    def test_what_was_lost_goes_back_as_another_attempt(self, scene: Scene) -> None:
        one = self.asked(scene)
        scene.apply(told(one, "half", Results(0, (b"half",))))
        self.lose(scene, one, retries=True)

        execution = scene.execution(one)
        assert (execution.status, execution.attempt) == (QUEUED, 2)
        assert (execution.array_id, execution.chunk, execution.worker_id) == (None, None, None)
        assert (execution.start_time, execution.finish_time) == (None, None)
        assert execution.reason == "Attempt 1 was lost: the node died"
        assert results(scene, one) == []
        assert log(scene, one) == ""
        with scene.database.read() as session:
            assert session.get(Message, one) is not None

    def test_what_slurm_ended_goes_back_too(self, scene: Scene, end: End) -> None:
        one = self.asked(scene)
        scene.apply(end(one, ended_by="signal", exit_code=143), end(one))
        assert (scene.execution(one).status, scene.execution(one).attempt) == (QUEUED, 2)

    def test_and_what_could_not_be_started(self, scene: Scene, end: End) -> None:
        one = self.asked(scene)
        scene.apply(end(one, runtime_error="no memory"))
        assert scene.execution(one).status is QUEUED

    def test_so_often_and_no_more(self, scene: Scene) -> None:
        one = self.asked(scene, 2)
        for attempt in (2, 3):
            self.lose(scene, one, retries=True)
            assert scene.execution(one).attempt == attempt
            scene.change(Execution, seq_of(scene, one), array_id=scene.array_id, chunk=1)
            scene.apply(Started(moment(10), one))
        self.lose(scene, one, retries=True)
        assert (scene.execution(one).status, scene.execution(one).attempt) == (ERROR, 3)
        assert scene.execution(one).reason == "the node died"

    def test_a_later_attempt_s_results_count_from_the_first(self, scene: Scene, end: End) -> None:
        one = self.asked(scene)
        scene.apply(told(one, "half", Results(0, (b"old", b"old"))))
        self.lose(scene, one, retries=True)
        scene.change(Execution, seq_of(scene, one), array_id=scene.array_id, chunk=1)
        scene.apply(Started(moment(20), one), end(one, log="new", results=Results(0, (b"new",))))

        assert results(scene, one) == [(0, b"new")]
        assert log(scene, one) == "new"
        assert (scene.execution(one).status, scene.execution(one).reason) == (COMPLETE, "")

    @pytest.mark.parametrize("why", ["not asked", "may run still", "cancelled", "deleted", "ran"])
    def test_never_otherwise(self, scene: Scene, end: End, why: str) -> None:
        one = self.asked(scene, 0 if why == "not asked" else 5)
        if why == "cancelled":
            scene.change(Execution, seq_of(scene, one), cancel_requested_at=NOW)
        if why == "deleted":
            scene.change(Actor, scene.actor().id, deleted_at=NOW)
        if why == "ran":
            scene.apply(end(one, exit_code=1))
        self.lose(scene, one, retries=why != "may run still")
        assert scene.execution(one).status is (COMPLETE if why == "ran" else ERROR)
        assert scene.execution(one).attempt == 1
        with scene.database.read() as session:
            left = select(func.count()).select_from(Message)
            assert session.scalar(left.where(Message.execution_id == one)) == 0

    def test_a_delete_is_no_loss(self, scene: Scene, end: End) -> None:
        one = self.asked(scene)
        scene.change(Array, scene.array_id, stop_requested=True)
        scene.apply(end(one, ended_by="signal", exit_code=143))
        assert scene.execution(one).status is COMPLETE
