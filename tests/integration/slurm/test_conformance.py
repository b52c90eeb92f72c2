"""What every way of asking Slurm must do; the fake is believed because it does it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.ids import new_token
from bridge.errors import SlurmError, SubmitRejected
from bridge.slurm import JobRow
from tests.integration.slurm.conftest import Lab, all_final, all_running

Submit = Callable[..., tuple[int, str]]

SCRIPT = """\
#!/bin/sh
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --time=0-00:05:00
#SBATCH --ntasks=1
#SBATCH --mem=20M
{more}#SBATCH --export=NIL
#SBATCH --chdir=/
#SBATCH --output=/dev/null

{body}
"""


@pytest.fixture
def submit(lab: Lab) -> Iterator[Submit]:
    """Submits scripts of a name of their own, and cancels at the end what is left of them."""
    submitted: list[tuple[str, int, str]] = []

    def send(
        body: str = "exit 0",
        tasks: int = 1,
        username: str = "alice",
        name: str = "",
        **directives: str,
    ) -> tuple[int, str]:
        name = name or f"bridge-{new_token()}"
        more = "".join(f"#SBATCH --{key}{value}\n" for key, value in directives.items())
        script = SCRIPT.format(name=name, last=tasks - 1, more=more, body=body)
        job = lab.port.submit(lab.session(username), script)
        submitted.append((username, job, name))
        return job, name

    yield send
    for username, job, name in submitted:
        lab.port.cancel(lab.session(username), job, name)


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


def states_by_task(rows: Sequence[JobRow]) -> dict[int | None, str]:
    return {row.task_index: row.state for row in rows}


def test_a_job_is_found_by_its_name(lab: Lab, submit: Submit) -> None:
    job, name = submit("sleep 30")
    other_job, other = submit("sleep 30", username="bob")

    assert job != other_job
    assert {(r.array_job_id, r.name, r.username) for r in lab.port.states([name])} == {
        (job, name, "alice")
    }
    assert {r.array_job_id for r in lab.port.states([name, other])} == {job, other_job}


def test_nothing_is_known_of_other_names(lab: Lab, submit: Submit) -> None:
    _, name = submit("sleep 30")

    assert lab.port.states([]) == []
    assert lab.port.accounting([], long_ago()) == []
    assert lab.port.states([f"bridge-{new_token()}", name[:-1]]) == []
    assert lab.port.accounting([f"bridge-{new_token()}"], long_ago()) == []


def test_tasks_end_with_their_own_states(lab: Lab, submit: Submit) -> None:
    _, name = submit("case $SLURM_ARRAY_TASK_ID in 0) exit 0;; 1) exit 3;; *) kill -9 $$;; esac", 3)

    rows = lab.until(name, all_final)

    assert states_by_task(rows) == {0: "COMPLETED", 1: "FAILED", 2: "FAILED"}
    assert all(row.nodes for row in rows)


def test_a_task_knows_who_it_is(lab: Lab, submit: Submit) -> None:
    checks = (
        '[ "$SLURM_ARRAY_TASK_ID" = 0 ]',
        '[ "$SLURM_ARRAY_JOB_ID" -le "$SLURM_JOB_ID" ]',
        '[ -z "$SLURM_RESTART_COUNT" ]',
    )
    _, name = submit(" && ".join(checks))

    assert {row.state for row in lab.until(name, all_final)} == {"COMPLETED"}


def test_an_exclusive_job_has_its_node_s_cpus(lab: Lab, submit: Submit) -> None:
    _, name = submit('[ "${SLURM_CPUS_ON_NODE:-2}" -gt 1 ]', exclusive="")
    assert {row.state for row in lab.until(name, all_final)} == {"COMPLETED"}

    _, name = submit('[ "${SLURM_CPUS_ON_NODE:-1}" = 1 ]')
    assert {row.state for row in lab.until(name, all_final)} == {"COMPLETED"}


def test_accounting_learns_the_exit_codes(lab: Lab, submit: Submit) -> None:
    _, name = submit("case $SLURM_ARRAY_TASK_ID in 0) exit 3;; *) kill -9 $$;; esac", 2)
    lab.until(name, all_final)

    def accounted(_: Sequence[JobRow]) -> bool:
        return all_final(lab.port.accounting([name], long_ago()))

    lab.until(name, accounted)

    rows = lab.port.accounting([name], long_ago())
    assert {(row.task_index, row.state, row.exit_code) for row in rows} == {
        (0, "FAILED", "3:0"),
        (1, "FAILED", "0:9"),
    }


def test_what_runs_runs(lab: Lab, submit: Submit) -> None:
    _, name = submit("sleep 60", 2)

    rows = lab.until(name, all_running)

    assert states_by_task(rows) == {0: "RUNNING", 1: "RUNNING"}
    assert not any(row.is_final for row in rows)


def test_what_runs_is_cancelled(lab: Lab, submit: Submit) -> None:
    job, name = submit("exec sleep 60", 2)
    lab.until(name, all_running)

    lab.port.cancel(lab.session("alice"), job, name)

    assert {row.state for row in lab.until(name, all_final)} == {"CANCELLED"}


def test_what_waits_is_cancelled_and_stands_in_one_row(lab: Lab, submit: Submit) -> None:
    job, name = submit("exit 0", 4, hold="")
    assert states_by_task(lab.port.states([name])) == {None: "PENDING"}

    lab.port.cancel(lab.session("alice"), job, name)

    assert states_by_task(lab.until(name, all_final)) == {None: "CANCELLED"}


def test_tasks_that_wait_are_cancelled_alone(lab: Lab, submit: Submit) -> None:
    if not lab.cancels_waiting:
        pytest.skip("pyslurm 25.11 has no call that cancels only what waits")
    job, name = submit("exit 0", 4, hold="")
    session = lab.session("alice")

    lab.port.cancel_waiting(session, job, name, [1, 2, 3])
    lab.port.cancel_waiting(session, job, name, [1])

    assert states_by_task(lab.port.states([name])) == {0: "PENDING"}
    lab.port.cancel_waiting(session, job, f"bridge-{new_token()}", [0])
    assert states_by_task(lab.port.states([name])) == {0: "PENDING"}
    lab.port.cancel_waiting(session, job, name, [0])
    assert all_final(lab.port.states([name]))


def test_what_runs_does_not_wait(lab: Lab, submit: Submit) -> None:
    job, name = submit("sleep 60", 2)
    lab.until(name, all_running)

    lab.port.cancel_waiting(lab.session("alice"), job, name, [0, 1])

    assert states_by_task(lab.port.states([name])) == {0: "RUNNING", 1: "RUNNING"}


def test_one_task_that_waits_has_its_index(lab: Lab, submit: Submit) -> None:
    _, name = submit("exit 0", 1, hold="")

    assert states_by_task(lab.port.states([name])) == {0: "PENDING"}


def test_an_id_under_another_name_is_left_alone(lab: Lab, submit: Submit) -> None:
    job, name = submit("exit 0", 1, hold="")

    lab.port.cancel(lab.session("alice"), job, f"bridge-{new_token()}")

    assert states_by_task(lab.port.states([name])) == {0: "PENDING"}


def test_what_has_ended_may_be_cancelled_again(lab: Lab, submit: Submit) -> None:
    job, name = submit("exit 0", 2)
    lab.until(name, all_final)

    lab.port.cancel(lab.session("alice"), job, name)
    lab.port.cancel(lab.session("alice"), 99_999_999, name)

    assert {row.state for row in lab.port.states([name])} == {"COMPLETED"}


def test_another_user_s_job_cannot_be_cancelled(lab: Lab, submit: Submit) -> None:
    job, name = submit("exit 0", 1, hold="", username="bob")

    with pytest.raises(SlurmError):
        lab.port.cancel(lab.session("alice"), job, name)

    assert states_by_task(lab.port.states([name])) == {0: "PENDING"}


def test_two_jobs_may_have_one_name(lab: Lab, submit: Submit) -> None:
    first, name = submit("exit 0", 1, hold="")
    second, _ = submit("exit 0", 1, hold="", name=name)

    assert {row.array_job_id for row in lab.port.states([name])} == {first, second}


@pytest.mark.parametrize(
    "directives",
    [{"partition": "=nowhere"}, {"account": "=biology"}, {"tasks": 1_000_000}],
    ids=["partition", "account", "size"],
)
def test_what_slurm_never_takes_is_rejected(
    lab: Lab, submit: Submit, directives: dict[str, object]
) -> None:
    name = f"bridge-{new_token()}"

    with pytest.raises(SubmitRejected):
        submit(name=name, **directives)

    assert lab.port.states([name]) == []


@pytest.mark.parametrize("script", ["", "exit 0\n"])
def test_what_is_no_script_is_rejected(lab: Lab, script: str) -> None:
    with pytest.raises(SubmitRejected):
        lab.port.submit(lab.session("alice"), script)
