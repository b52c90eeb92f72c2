"""Submission: what becomes of an array in every case."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from bridge.core.messages import BINARY
from bridge.core.statuses import ArrayStatus
from bridge.db import Array, MessagePart, Worker
from bridge.errors import (
    BridgeError,
    CommandTimeout,
    ConnectFailed,
    FileRefused,
    PolicyLimit,
    SlurmUnavailable,
    SubmitRejected,
    UnreadableOutput,
)
from bridge.launcher.context import job_name
from bridge.scheduler import submit
from bridge.scheduler.close import close_array, closing_tick
from bridge.scheduler.plan import plan_tick
from bridge.scheduler.submit import submit_array
from tests.unit.scheduler.world import BAD, GOOD, QUEUED, World


def planned(world: World, count: int = 3, **actor: Any) -> tuple[str, list[str]]:
    ids = world.post(world.actor(**actor), count)
    world.clock.push(2)
    [token] = plan_tick(world.context)
    return token, ids


def test_an_accepted_array_has_its_job(world: World) -> None:
    token, _ = planned(world)
    submit_array(world.context, token)

    array = world.array()
    assert (array.status, array.array_job_id) == (ArrayStatus.SUBMITTED, 1)
    assert array.submitted_at == world.clock.now()
    assert world.slurm.jobs[1].name == job_name(token)
    assert world.slurm.jobs[1].username == "alice"


class TestRefusals:
    @pytest.mark.parametrize("error", [PolicyLimit("too many jobs"), ConnectFailed("no agent")])
    def test_for_now_puts_it_off(self, world: World, error: BridgeError) -> None:
        token, ids = planned(world)
        if isinstance(error, PolicyLimit):
            world.slurm.refusal = error
        else:
            world.sessions.fail = raising(error, "session")
        submit_array(world.context, token)
        for _ in range(60):
            world.tick(60)
        assert world.statuses(ids) == [QUEUED] * 3
        assert world.array().id == token

        world.slurm.refusal = None
        world.sessions.fail = lambda _verb, _about: None
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 3

    def test_slurm_is_not_asked_again_at_once(self, world: World) -> None:
        token, _ = planned(world)
        world.slurm.refusal = PolicyLimit("too many jobs")
        submit_array(world.context, token)
        world.ticks(60, 0.5)

        assert world.slurm.calls["submit"] == 2

    @pytest.mark.parametrize(
        "error", [SubmitRejected("Invalid account"), FileRefused("Permission denied")]
    )
    def test_for_good_ends_the_messages_with_the_reason(
        self, world: World, error: BridgeError
    ) -> None:
        token, ids = planned(world)
        if isinstance(error, SubmitRejected):
            world.slurm.refusal = error
        else:
            world.sessions.fail = raising(error, "mkdir")
        submit_array(world.context, token)
        world.ticks(10)

        assert world.statuses(ids) == [BAD] * 3
        assert world.execution(ids[0]).reason == error.message
        assert world.slurm.jobs == {}

    def test_a_value_that_is_not_for_a_script_ends_them(self, world: World) -> None:
        token, ids = planned(world)
        with world.database.begin() as session:
            array = session.get_one(Array, token)
            array.request = {**array.request, "account": "x\n#SBATCH --uid=0"}
        submit_array(world.context, token)
        world.ticks(10)

        assert world.statuses(ids) == [BAD] * 3
        assert world.slurm.calls["submit"] == 0


class TestUnclear:
    def test_taken_although_no_answer_came(self, world: World) -> None:
        token, ids = planned(world)
        world.slurm.deaf = 1
        submit_array(world.context, token)
        assert world.array().status is ArrayStatus.PLANNED

        world.tick(2)

        assert (world.array().status, world.array().array_job_id) == (ArrayStatus.SUBMITTED, 1)
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 3
        assert len(world.slurm.jobs) == 1

    def test_not_taken(self, world: World) -> None:
        token, ids = planned(world)
        world.slurm.is_up = False
        submit_array(world.context, token)
        world.slurm.is_up = True
        world.ticks(10, 2)
        assert world.array().status is ArrayStatus.PLANNED

        world.ticks(20, 2)

        assert [a.id for a in world.arrays(live=True)] != [token]
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 3
        assert world.starts == dict.fromkeys(ids, 1)

    @pytest.mark.parametrize("error", [UnreadableOutput("hello"), SlurmUnavailable("timed out")])
    def test_words_that_are_no_job_id(
        self, world: World, monkeypatch: pytest.MonkeyPatch, error: BridgeError
    ) -> None:
        token, ids = planned(world)
        real = world.slurm.submit

        def unreadable(*args: Any) -> int:
            real(*args)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(world.slurm, "submit", unreadable)
            submit_array(world.context, token)
        world.run_dry()

        assert world.statuses(ids) == [GOOD] * 3
        assert len(world.slurm.jobs) == 1


class TestLateScheduler:
    """One that slept while another took over."""

    def test_what_was_closed_meanwhile_is_not_submitted(self, world: World) -> None:
        token, ids = planned(world)

        def close_meanwhile(verb: str, about: object) -> None:
            if verb == "put" and str(about).endswith("array.json"):
                close_array(world.context, token, "taken for lost")

        world.sessions.fail = close_meanwhile
        submit_array(world.context, token)

        assert world.slurm.calls["submit"] == 0
        world.sessions.fail = lambda _verb, _about: None
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 3
        assert world.starts == dict.fromkeys(ids, 1)

    def test_files_that_come_after_the_end_are_run_by_nobody(self, world: World) -> None:
        token, ids = planned(world)

        def end_meanwhile(verb: str, about: object) -> None:
            if verb == "mkdir" and str(about).endswith("inbox"):
                world.sessions.fail = lambda _verb, _about: None
                close_array(world.context, token, "taken for lost")
                world.clock.push(6)
                closing_tick(world.context)
                assert world.arrays(live=True) == []

        world.sessions.fail = end_meanwhile
        submit_array(world.context, token)

        assert world.slurm.calls["submit"] == 0
        world.run_dry()
        assert world.starts == dict.fromkeys(ids, 1)

    def test_a_job_whose_array_is_over_is_not_adopted(self, world: World) -> None:
        token, _ = planned(world)

        def at(point: str) -> None:
            if point == "after_sbatch":
                close_array(world.context, token, "taken for lost")

        submit_array(world.context.__class__(**{**vars(world.context), "at": at}), token)
        assert world.array().status is ArrayStatus.CLOSING


class TestSpool:
    def test_it_may_be_written_again(self, world: World) -> None:
        token, ids = planned(world)
        world.sessions.fail = raising(CommandTimeout("slow"), "put", "array.json")
        submit_array(world.context, token)
        assert world.slurm.calls["submit"] == 0
        world.sessions.fail = lambda _verb, _about: None

        world.ticks(20, 2)
        world.run_dry()

        assert world.statuses(ids) == [GOOD] * 3
        assert world.starts == dict.fromkeys(ids, 1)

    def test_the_program_is_written_once_for_many_arrays(self, world: World) -> None:
        for _ in range(3):
            world.post(world.actor())
        world.tick(2)

        programs = [about for verb, about in world.sessions.asked if "node-" in str(about)]
        assert len(programs) == 1

    def test_a_payload_in_parts_comes_whole(self, world: World) -> None:
        parts = [b"1" * 100_000, b"2" * 100_000, b"3"]
        [one] = world.post(world.actor(), content_type=BINARY, payload=b"", size=200_001)
        with world.database.begin() as session:
            for number, data in enumerate(parts):
                session.add(MessagePart(execution_id=one, number=number, data=data))

        world.tick(2)

        payload = Path(world.array().spool) / "payload" / one
        assert payload.read_bytes() == b"".join(parts)

    def test_a_payload_that_is_not_all_there_ends_its_array(self, world: World) -> None:
        [one] = world.post(world.actor(), content_type=BINARY, payload=b"", size=200_001)
        with world.database.begin() as session:
            session.add(MessagePart(execution_id=one, number=0, data=b"x"))

        world.tick(2)

        assert "1 of 200001 bytes" in world.array().reason
        assert world.slurm.jobs == {}

    def test_payloads_are_not_held_all_at_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submit, "HELD_BYTES", 250_000)
        actor = world.actor()
        ids = world.post(actor, 7, content_type=BINARY, payload=b"x" * 100_000)
        loaded: list[int] = []

        def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "messages.payload" in statement and "length(" not in statement:
                loaded.append(statement.count("?"))

        event.listen(world.database.engine, "before_cursor_execute", count)
        world.tick(2)

        assert max(loaded) <= 2
        payloads = Path(world.array().spool) / "payload"
        assert sorted(path.name for path in payloads.iterdir()) == sorted(ids)
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 7

    def test_texts_of_every_kind(self, world: World) -> None:
        actor = world.actor()
        ids = [
            world.post(actor, payload=text.encode())[0]
            for text in ("", "ä€😀", "\x01\x1f\x7f", "a\nb\r\n", '{"a": "\\u0000"}', "x" * 100_000)
        ]
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 6

    def test_a_chunk_of_the_longest_texts(self, world: World) -> None:
        ids = world.post(world.actor(mean_run_s=0.001), 64, payload=b"\x01" * 100_000)
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 64


def test_an_actor_that_was_deleted_meanwhile(world: World) -> None:
    token, ids = planned(world)
    with world.database.begin() as session:
        array = session.get_one(Array, token)
        array.stop_requested = True
    submit_array(world.context, token)
    assert world.slurm.calls["submit"] == 0
    assert world.array().status is ArrayStatus.CLOSING
    assert world.statuses(ids) == [QUEUED] * 3


def test_one_broken_owner_holds_up_nobody_else(world: World) -> None:
    bobs = world.post(world.actor(owner="bob"), 2)
    alices = world.post(world.actor(), 2)

    def fail(_verb: str, about: object) -> None:
        if about == "bob" or "/bob/" in str(about):
            raise ConnectFailed("no agent")

    world.sessions.fail = fail
    for _ in range(10):
        world.tick(2)
        world.work_all()

    assert world.statuses(alices) == [GOOD] * 2
    assert world.statuses(bobs) == [QUEUED] * 2


def test_a_late_worker_of_a_lost_array_owns_nothing(world: World) -> None:
    """Slurm acknowledged it, forgot it, and found it again: the spool is gone by then."""
    token, ids = planned(world)
    submit_array(world.context, token)
    job = world.slurm.jobs.pop(1)
    world.ticks(20, 3)
    world.run_dry()
    job.id = 99
    world.slurm.jobs[job.id] = job
    world.work_all()

    assert world.starts == dict.fromkeys(ids, 1)
    with world.database.read() as session:
        assert {w.array_id for w in session.scalars(select(Worker))} == {world.arrays()[-1].id}


def raising(error: Exception, verb: str, about: str = "") -> Any:
    def fail(asked: str, of: object) -> None:
        if asked == verb and about in str(of):
            raise error

    return fail


@pytest.fixture(autouse=True)
def _tidy(tmp_path: Path) -> Any:
    """Large payloads do not stay behind until pytest tidies up."""
    yield
    shutil.rmtree(tmp_path / "spool", ignore_errors=True)


class TestLargeChunks:
    """Many short messages are one file; what is much in bytes is not."""

    def test_a_long_chunk_is_sent_in_pieces(self, world: World) -> None:
        actor = world.actor(mean_run_s=0.001, max_workers=1)
        ids = world.post(actor, 60, payload=b"\x01" * 10_000, size=10_000)
        world.sessions.asked.clear()
        world.tick(2)
        inbox = [v for v, about in world.sessions.asked if str(about).endswith("000001.jsonl")]
        assert inbox == ["put_stream"]
        assert world.array().chunk_count == 1
        world.work_all()
        world.tick()
        assert world.statuses(ids) == [GOOD] * 60

    def test_heavy_messages_are_in_several(self, each_world: World) -> None:
        world = each_world
        actor = world.actor(mean_run_s=0.001, max_workers=1)
        ids = world.post(actor, 70, size=100_000)  # the sizes alone; 41 fit into a chunk
        light = world.actor(mean_run_s=0.001, max_workers=1)
        world.post(light, 70)
        world.tick(2)
        counts = {array.actor_id: array.chunk_count for array in world.arrays()}
        assert counts == {actor.id: 2, light.id: 1}
        world.run_dry()
        assert world.statuses(ids) == [GOOD] * 70
        assert {world.starts[one] for one in ids} == {1}
