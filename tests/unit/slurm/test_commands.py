"""Slurm's commands: how they are called, and what was really answered (tests/recordings)."""

from __future__ import annotations

import contextlib
import shlex
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import (
    CommandTimeout,
    ConnectFailed,
    PolicyLimit,
    SessionError,
    SlurmError,
    SlurmUnavailable,
    SubmitRejected,
    UnreadableOutput,
)
from bridge.sessions import Completed
from bridge.slurm import JobRow, SlurmCommands
from bridge.slurm.commands import (
    build_accounting,
    build_cancel,
    build_cancel_waiting,
    build_states,
    build_submit,
    check_cancel,
    parse_accounting,
    parse_states,
    parse_submit,
    parse_version,
)
from tests.recordings.reading import FOLDER, read_recording, recordings

RECORDED = FOLDER / "slurm-24.11"
VERSION = Completed(0, b"slurm-wlm 24.11.5\n", b"")


def recorded(name: str) -> Completed:
    return read_recording(RECORDED / f"{name}.txt")


def version_of(path: Path) -> tuple[int, int]:
    return parse_version(path.parent.name.replace("-", " ") + ".0")


def each_version(name: str) -> list[Completed]:
    found = [read_recording(path) for path in recordings(name)]
    assert len(found) == 3
    return found


def name_of(digit: str) -> str:
    return "bridge-" + digit * 32


def rows_of(kind: str, name: str) -> list[JobRow]:
    text = recorded(f"{kind}-{name}").stdout.decode()
    return parse_states(text) if kind == "squeue" else parse_accounting(text)


def short(rows: list[JobRow]) -> list[tuple[str, int | None, str]]:
    return sorted((row.name[-1], row.task_index, row.state) for row in rows)


class TestSubmit:
    def test_the_job_id_of_an_accepted_script(self) -> None:
        assert parse_submit(recorded("sbatch-accepted")) == 5

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("invalid-account", "Invalid account or account/partition combination"),
            ("invalid-partition", "Invalid partition name specified"),
            ("invalid-qos", "Invalid qos specification"),
            ("array-too-large", "Invalid job array specification"),
            ("memory-over-node", "Requested node configuration is not available"),
            ("cpus-over-node", "CPU count per node can not be satisfied"),
            ("no-script", "Batch script is empty"),
            ("qos-wall-limit", "QOSMaxWallDurationPerJobLimit"),
        ],
    )
    def test_what_will_never_be_taken_is_rejected(self, name: str, says: str) -> None:
        with pytest.raises(SubmitRejected, match=says) as caught:
            parse_submit(recorded(f"sbatch-{name}"))
        assert not caught.value.retryable

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("qos-submit-limit", "QOSMaxSubmitJobPerUserLimit"),
            ("assoc-submit-limit", "AssocMaxSubmitJobLimit"),
            ("partition-drained", "inactive or drain"),
        ],
    )
    def test_what_will_be_taken_later_is_a_policy_limit(self, name: str, says: str) -> None:
        with pytest.raises(PolicyLimit, match=says) as caught:
            parse_submit(recorded(f"sbatch-{name}"))
        assert caught.value.retryable

    def test_no_answer_is_not_a_refusal(self) -> None:
        with pytest.raises(SlurmUnavailable, match="Unable to contact slurm controller"):
            parse_submit(recorded("sbatch-no-controller"))

    def test_a_job_id_with_its_cluster(self) -> None:
        assert parse_submit(Completed(0, b"4711;alpha\n", b"")) == 4711

    def test_words_before_the_job_id_are_passed_over(self) -> None:
        assert parse_submit(Completed(0, b"welcome to alpha\n4711\n", b"")) == 4711

    @pytest.mark.parametrize("text", [b"", b"Submitted batch job x", b"9" * 19, "\u0664".encode()])
    def test_success_without_a_job_id_is_unreadable(self, text: bytes) -> None:
        with pytest.raises(UnreadableOutput):
            parse_submit(Completed(0, text, b""))

    @given(st.integers(-255, 255), st.binary(), st.binary())
    def test_whatever_comes_is_a_number_that_fits_or_an_error_of_ours(
        self, status: int, out: bytes, err: bytes
    ) -> None:
        said = ""
        try:
            assert 0 <= parse_submit(Completed(status, out, err)) < 2**63
        except SlurmError as error:
            said = error.message
        assert "\0" not in said
        assert said.encode().decode() == said


class TestStates:
    def test_every_recording_is_read(self) -> None:
        found = recordings("squeue-*")
        assert len(found) >= 8
        for path in found:
            done = read_recording(path)
            if done.exit_status == 0:
                parse_states(done.stdout.decode())

    def test_tasks_that_have_not_started_are_one_row(self) -> None:
        assert short(rows_of("squeue", "pending")) == [
            ("4", None, "PENDING"),
            ("5", 0, "PENDING"),
        ]

    def test_tasks_that_run_or_ran_are_a_row_each(self) -> None:
        rows = rows_of("squeue", "running-and-ended")
        assert short(rows) == [
            ("6", 0, "FAILED"),
            ("6", 1, "FAILED"),
            ("6", 2, "COMPLETED"),
            ("6", 3, "RUNNING"),
            ("7", 0, "RUNNING"),
            ("7", 1, "RUNNING"),
        ]
        by_task = {(row.name[-1], row.task_index): row for row in rows}
        assert by_task["6", 1] == JobRow(
            name_of("6"), "alice", 14, 1, "FAILED", reason="RaisedSignal:9(Killed)", nodes="c1"
        )
        assert by_task["7", 0].username == "bob"
        assert by_task["6", 2].reason == ""

    def test_part_of_an_array_may_wait(self) -> None:
        assert {row.task_index: row.state for row in rows_of("squeue", "part-pending")} == {
            None: "PENDING",
            0: "RUNNING",
            1: "RUNNING",
        }

    @pytest.mark.parametrize(
        ("name", "state"),
        [("node-fail", "NODE_FAIL"), ("timeout", "TIMEOUT"), ("part-cancelled", "CANCELLED")],
    )
    def test_ends(self, name: str, state: str) -> None:
        rows = rows_of("squeue", name)
        assert {row.state for row in rows} == {state}
        assert all(row.is_final for row in rows)

    def test_a_requeued_task_has_not_ended(self) -> None:
        [row] = rows_of("squeue", "requeued")
        assert row.state == "PENDING"
        assert not row.is_final

    def test_names_that_slurm_does_not_know_give_no_rows(self) -> None:
        assert rows_of("squeue", "none") == []

    @pytest.mark.parametrize(
        "text",
        [
            "\n",
            "a|b|c\n",
            "n|u|x|0|RUNNING|None|c1\n",
            "n|u|1|0||None|c1\n",
            "n|u|1|0|running|None|c1\n",
            "n|u|\u0664|0|RUNNING|None|c1\n",
            "n|u|1|0|RUNNING|None|c1|more\n",
            "n|u|1|0|RUNNING|None|c1\nn|u|2|0|RUN",
            "slurm_load_jobs error: Unable to contact slurm controller\n",
        ],
    )
    def test_another_form_is_unreadable(self, text: str) -> None:
        with pytest.raises(UnreadableOutput, match="squeue"):
            parse_states(text)

    @given(st.text() | st.lists(st.text(alphabet="|19_[]AZ \n\r\x0b\u00b2", max_size=20)))
    def test_whatever_comes_is_read_or_unreadable(self, text: str | list[str]) -> None:
        with contextlib.suppress(UnreadableOutput):
            parse_states("|".join(text) if isinstance(text, list) else text)


class TestAccounting:
    def test_every_recording_is_read(self) -> None:
        found = recordings("sacct-*")
        assert len(found) >= 8
        for path in found:
            parse_accounting(read_recording(path).stdout.decode())

    def test_ends_with_their_exit_codes(self) -> None:
        rows = rows_of("sacct", "running-and-ended")
        assert {
            (row.task_index, row.state, row.exit_code) for row in rows if row.array_job_id == 14
        } == {
            (0, "FAILED", "3:0"),
            (1, "FAILED", "0:9"),
            (2, "COMPLETED", "0:0"),
            (3, "RUNNING", "0:0"),
        }

    def test_who_cancelled_is_no_part_of_the_state(self) -> None:
        rows = rows_of("sacct", "cancelled")
        assert ("6", 3, "CANCELLED") in short(rows)
        assert ("7", 0, "CANCELLED") in short(rows)

    def test_a_range_of_tasks_is_one_row_without_a_node(self) -> None:
        rows = rows_of("sacct", "part-pending")
        [waiting] = [row for row in rows if row.task_index is None]
        assert (waiting.array_job_id, waiting.state, waiting.nodes) == (25, "PENDING", "")
        [cancelled] = [row for row in rows_of("sacct", "part-cancelled") if row.task_index is None]
        assert cancelled.is_final

    def test_the_end_of_a_task_that_was_requeued_is_none(self) -> None:
        [row] = rows_of("sacct", "requeued")
        assert row.state == "REQUEUED"
        assert not row.is_final

    @pytest.mark.parametrize(
        ("name", "state", "exit_code"),
        [("node-fail", "NODE_FAIL", "1:0"), ("timeout", "TIMEOUT", "0:0")],
    )
    def test_ends_of_slurm_s_making(self, name: str, state: str, exit_code: str) -> None:
        [row] = rows_of("sacct", name)
        assert (row.state, row.exit_code) == (state, exit_code)

    def test_a_job_that_never_waited_for_nodes_is_not_shown(self) -> None:
        # So nothing may follow from sacct's silence but "not known yet".
        assert rows_of("sacct", "pending") == []
        assert rows_of("sacct", "cancelled-pending") == []

    @pytest.mark.parametrize(
        "text",
        [
            "\n",
            "a|b\n",
            "n|u|x_1|RUNNING|0:0|None|c1\n",
            "n|u|1_2||0:0|None|c1\n",
            "n|u|1+0|RUNNING|0:0|None|c1\n",
            "n|u|1_2|RUNNING|0:0|None\n",
        ],
    )
    def test_another_form_is_unreadable(self, text: str) -> None:
        with pytest.raises(UnreadableOutput, match="sacct"):
            parse_accounting(text)

    @given(st.text() | st.lists(st.text(alphabet="|19_[]AZ \n\r\x0b\u00b2", max_size=20)))
    def test_whatever_comes_is_read_or_unreadable(self, text: str | list[str]) -> None:
        with contextlib.suppress(UnreadableOutput):
            parse_accounting("|".join(text) if isinstance(text, list) else text)


class TestCancel:
    @pytest.mark.parametrize("name", ["pending", "other-name", "ended", "ended-all", "unknown"])
    def test_what_is_cancelled_or_gone_is_no_error(self, name: str) -> None:
        check_cancel(recorded(f"scancel-{name}"))

    def test_no_answer(self) -> None:
        with pytest.raises(SlurmUnavailable):
            check_cancel(recorded("scancel-no-controller"))

    def test_somebody_else_s_job(self) -> None:
        with pytest.raises(SlurmError, match="permission denied") as caught:
            check_cancel(recorded("scancel-denied"))
        assert not isinstance(caught.value, SlurmUnavailable)

    def test_quiet_would_hide_the_reason(self) -> None:
        # Without a reason an ended job cannot be told from one that goes on.
        assert recorded("scancel-quiet-ended") == Completed(1, b"", b"")
        assert "--quiet" not in build_cancel(1, name_of("0"))


@pytest.mark.parametrize(
    "path", recordings("s*"), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_what_was_recorded_is_what_is_run(path: Path) -> None:
    """A recording of another command line would prove nothing."""
    head = path.read_text().partition("---")[0]
    facts = dict(line.split(": ", 1) for line in head.splitlines())
    command, day = facts["command"], datetime.fromisoformat(facts["date"]).replace(tzinfo=UTC)
    words = shlex.split(command.removeprefix("TZ=UTC ").replace("|", r"\|"))
    words = [word for word in words if not word.startswith("SLURM_CONF=")]
    names = ["bridge-" + "0" * 32]
    built = {
        "sbatch": build_submit(version_of(path)),
        "squeue": build_states(names),
        "sacct": build_accounting(names, day),
        "scancel": build_cancel(1, names[0]),
    }[words[0]]
    fixed = [word for word in built if not word.startswith("--name=") and not word.isdigit()]
    assert set(fixed) <= set(words)


def test_sacct_is_asked_from_a_moment_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert "--starttime=2025-12-31T23:30:00" in build_accounting(["x"], moment)


def test_tasks_that_wait_are_named_in_one_argument() -> None:
    assert build_cancel_waiting(12, "bridge-x", [3, 0, 1]) == [
        "scancel", "--name=bridge-x", "--state=PENDING", "12_[0,1,3]",
    ]  # fmt: skip


class Scripted:
    """A session that answers each program with what a test gives, and keeps what was asked."""

    def __init__(self, *answers: Completed | SessionError) -> None:
        self.username = "bridge"
        self.asked: list[list[str]] = []
        self._answers = list(answers)

    def run(self, argv: list[str], **_given: Any) -> Completed:
        self.asked.append(argv)
        answer = self._answers.pop(0)
        if isinstance(answer, SessionError):
            raise answer
        return answer


def port(session: Any) -> SlurmCommands:
    return SlurmCommands(lambda: session)


ROW = b"bridge-0|alice|1|0|RUNNING|None|c1\n"


class TestVersion:
    @pytest.mark.parametrize(
        ("said", "version"),
        [(b"slurm-wlm 22.05.8\n", (22, 5)), (b"slurm 25.11.2-rc1\n", (25, 11))],
    )
    def test_the_packagers_name_it_differently(self, said: bytes, version: tuple[int, int]) -> None:
        assert parse_version(said.decode()) == version

    def test_anything_else_is_unreadable(self) -> None:
        with pytest.raises(UnreadableOutput, match="command not found"):
            parse_version("sbatch: command not found")

    def test_slurm_without_nil_is_told_to_export_the_plain_environment_of_the_session(self) -> None:
        assert build_submit((22, 5)) == ["sbatch", "--parsable", "--export=ALL"]
        assert build_submit((23, 2)) == ["sbatch", "--parsable"]

    def test_it_is_asked_once(self) -> None:
        observer = Scripted(Completed(0, b"slurm-wlm 22.05.8\n", b""))
        owner = Scripted(*[Completed(0, b"1\n", b"")] * 2)
        slurm = port(observer)
        assert slurm.check() == "Slurm 22.05"
        for _ in range(2):
            slurm.submit(owner, "#!/bin/sh\n")  # type: ignore[arg-type]
        assert observer.asked == [["sbatch", "--version"]]
        assert owner.asked == [build_submit((22, 5))] * 2


class TestEveryVersion:
    """What all three say, each in its words."""

    @pytest.mark.parametrize(
        "name", ["invalid-account", "invalid-partition", "invalid-qos", "array-too-large"]
    )
    def test_what_will_never_be_taken(self, name: str) -> None:
        for done in each_version(f"sbatch-{name}"):
            with pytest.raises(SubmitRejected):
                parse_submit(done)

    @pytest.mark.parametrize("name", ["assoc-submit-limit", "partition-drained"])
    def test_what_will_be_taken_later(self, name: str) -> None:
        for done in each_version(f"sbatch-{name}"):
            with pytest.raises(PolicyLimit):
                parse_submit(done)

    def test_no_controller(self) -> None:
        for done in each_version("sbatch-no-controller"):
            with pytest.raises(SlurmUnavailable):
                parse_submit(done)
        for done in each_version("scancel-no-controller"):
            with pytest.raises(SlurmUnavailable):
                check_cancel(done)

    @pytest.mark.parametrize("name", ["pending", "other-name", "ended", "ended-all", "unknown"])
    def test_nothing_to_cancel(self, name: str) -> None:
        for done in each_version(f"scancel-{name}"):
            check_cancel(done)

    def test_somebody_else_s_job(self) -> None:
        for done in each_version("scancel-denied"):
            with pytest.raises(SlurmError, match="permission denied"):
                check_cancel(done)

    def test_states_and_ends(self) -> None:
        for done in each_version("squeue-running-and-ended"):
            rows = parse_states(done.stdout.decode())
            states = {row.task_index: row.state for row in rows if row.name == name_of("6")}
            assert states == {0: "FAILED", 1: "FAILED", 2: "COMPLETED", 3: "RUNNING"}
        for done in each_version("sacct-running-and-ended"):
            rows = parse_accounting(done.stdout.decode())
            codes = {row.task_index: row.exit_code for row in rows if row.name == name_of("6")}
            assert codes == {0: "3:0", 1: "0:9", 2: "0:0", 3: "0:0"}

    def test_what_waits(self) -> None:
        for done in each_version("squeue-pending"):
            assert short(parse_states(done.stdout.decode())) == [
                ("4", None, "PENDING"),
                ("5", 0, "PENDING"),
            ]

    def test_some_of_what_waits_is_cancelled_only_where_slurm_does_no_more_than_that(self) -> None:
        for version, calls in ((b"22.05.8", 0), (b"24.11.5", 1)):
            slurm = port(Scripted(Completed(0, b"slurm-wlm " + version, b"")))
            owner = Scripted(Completed(0, b"", b""))
            slurm.cancel_waiting(owner, 1, name_of("0"), [1])  # type: ignore[arg-type]
            assert len(owner.asked) == calls


class TestPort:
    def test_no_names_are_no_question(self) -> None:
        session = Scripted()
        assert port(session).states([]) == []
        assert port(session).accounting([], datetime(2026, 1, 1, tzinfo=UTC)) == []

    def test_one_question_for_a_thousand_names(self) -> None:
        session = Scripted(Completed(0, ROW, b""))
        names = [f"bridge-{number:032x}" for number in range(1000)]
        port(session).states(names)
        assert len(session.asked) == 1

    def test_no_argument_is_longer_than_the_kernel_takes(self) -> None:
        session = Scripted(*[Completed(0, ROW, b"")] * 4)
        names = [f"bridge-{number:032x}" for number in range(10_000)]
        assert len(port(session).states(names)) == len(session.asked)
        assert max(len(word) for argv in session.asked for word in argv) < 128 * 1024
        asked = "".join(word for argv in session.asked for word in argv)
        assert all(name in asked for name in names)

    def test_what_was_cut_is_not_taken_for_all(self) -> None:
        session = Scripted(Completed(0, ROW, b"", cut=True))
        with pytest.raises(UnreadableOutput, match="cut"):
            port(session).states(["bridge-0"])

    @pytest.mark.parametrize("error", [CommandTimeout("slow"), ConnectFailed("gone")])
    def test_a_session_that_breaks_says_nothing_of_slurm(self, error: SessionError) -> None:
        with pytest.raises(SlurmUnavailable):
            port(Scripted(error)).states(["bridge-0"])
        with pytest.raises(SlurmUnavailable):
            port(Scripted(VERSION)).submit(Scripted(error), "#!/bin/sh\n")  # type: ignore[arg-type]

    def test_a_controller_that_is_down(self) -> None:
        session = Scripted(recorded("squeue-no-controller"))
        with pytest.raises(SlurmUnavailable):
            port(session).states(["bridge-0"])

    def test_a_failure_that_is_an_answer(self) -> None:
        session = Scripted(Completed(1, b"", b"squeue: error: Invalid user: x"))
        with pytest.raises(SlurmError, match="Invalid user") as caught:
            port(session).states(["bridge-0"])
        assert not isinstance(caught.value, SlurmUnavailable)
