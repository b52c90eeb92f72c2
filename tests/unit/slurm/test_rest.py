"""slurmrestd: what is asked of it, and what it really answered (tests/recordings)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import (
    PolicyLimit,
    SettingsError,
    SlurmError,
    SlurmUnavailable,
    SubmitRejected,
    UnreadableOutput,
)
from bridge.launcher import ArrayContext, render_script
from bridge.sites import Slurmrestd
from bridge.slurm.rest import SlurmRest
from bridge.slurm.rest_answer import MOST_CHARACTERS, listed_row, read_jobs
from bridge.slurm.rest_body import build_submission
from tests.recordings.reading import FOLDER, Exchange, read_exchange, recordings

VERSIONS = {"slurm-24.11": "v0.0.42", "slurm-26.05": "v0.0.45"}
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SCRIPT = "#!/bin/sh\n#SBATCH --job-name=bridge-0\n#SBATCH --array=0-1\nexit 0\n"


def name_of(digit: str) -> str:
    return "bridge-" + digit * 32


class Alice:
    username = "alice"


ALICE: Any = Alice()


class Daemon:
    """An HTTP server that answers what a test gives it, and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                daemon.asked.append((self.command, self.path, dict(self.headers), body))
                status, said = daemon.answers.pop(0)
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    running = Daemon()
    yield running
    running.close()


def make_port(url: str, version: str = "v0.0.42") -> SlurmRest:
    config = Slurmrestd(
        url=url, version=version, jwt_key_file=Path("/etc/slurm/key"), observer="bridge"
    )
    return SlurmRest(config, lambda username: f"token-of-{username}")


@pytest.fixture
def port(daemon: Daemon) -> SlurmRest:
    return make_port(daemon.url)


@pytest.fixture(params=sorted(VERSIONS))
def recorded(request: pytest.FixtureRequest, daemon: Daemon) -> Any:
    """Have the server say what was recorded; return the port of that version."""

    def replay(name: str) -> tuple[SlurmRest, Exchange]:
        exchange = read_exchange(FOLDER / request.param / f"rest-{name}.txt")
        daemon.answers = [(exchange.status, exchange.answer)] * 2
        return make_port(daemon.url, VERSIONS[request.param]), exchange

    return replay


class TestBuilding:
    def test_every_line_of_the_launcher_s_script_is_told(self) -> None:
        context = ArrayContext(
            job_name="bridge-1", task_count=3, time_limit_s=90, signal_s=20, nodes=2, ntasks=4,
            cpus=2, memory_mib=300, gpus=1, exclusive=True, partition="normal", account="physics",
            qos="high", constraint="ib", spool="/scratch/alice/x", program="/p.pyz",
            python="/usr/bin/python3",
        )  # fmt: skip
        script = render_script(context)

        body = build_submission(script)

        assert body["script"] == script
        assert body["job"] == {
            "environment": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "name": "bridge-1",
            "array": "0-2",
            "time_limit": {"set": True, "infinite": False, "number": 2},
            "kill_warning_flags": ["BATCH_JOB"],
            "kill_warning_signal": "TERM",
            "kill_warning_delay": {"set": True, "infinite": False, "number": 20},
            "nodes": "2",
            "tasks": 4,
            "cpus_per_task": 2,
            "memory_per_node": {"set": True, "infinite": False, "number": 300},
            "tres_per_node": "gres/gpu:1",
            "partition": "normal",
            "account": "physics",
            "qos": "high",
            "constraints": "ib",
            "shared": ["none"],
            "current_working_directory": "/",
            "open_mode": ["APPEND"],
            "standard_output": "/scratch/alice/x/worker-%a.out",
        }

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("--contiguous", "cannot be told"),
            ("--exclusive=topo", "expected no value, user or mcs"),
            ("--uid=0", "cannot be told"),
            ("-p normal", "expected #SBATCH --name=value"),
            ('--comment="a b"', "expected #SBATCH --name=value"),
            ("--time=90", "D-HH:MM:SS"),
            ("--mem=much", "K, M, G or T"),
            ("--mem=0", "from 1 on with K"),
            ("--ntasks=0", "from 1 on"),
            ("--export=ALL", "expected NIL"),
            ("--signal=TERM", "B:SIGNAL@SECONDS"),
            ("--open-mode=maybe", "append or truncate"),
            ("--partition=", "expected a value"),
        ],
    )
    def test_a_line_that_cannot_be_told_is_never_dropped(self, line: str, says: str) -> None:
        with pytest.raises(SubmitRejected, match=says):
            build_submission(f"#!/bin/sh\n#SBATCH {line}\nexit 0\n")

    def test_lines_after_the_first_command_do_not_count(self) -> None:
        script = "#!/bin/sh\n#SBATCH --job-name=x\n\n# words\nexit 0\n#SBATCH --uid=0\n"
        assert build_submission(script)["job"]["name"] == "x"

    @pytest.mark.parametrize(
        ("memory", "mib"), [("300", 300), ("300M", 300), ("2G", 2048), ("1T", 1 << 20), ("1K", 1)]
    )
    def test_memory(self, memory: str, mib: int) -> None:
        job = build_submission(f"#!/bin/sh\n#SBATCH --mem={memory}\n")["job"]
        assert job["memory_per_node"]["number"] == mib


class TestRecorded:
    def test_what_was_recorded_is_what_is_asked(self, recorded: Any, daemon: Daemon) -> None:
        port, exchange = recorded("submit-accepted")
        port.submit(ALICE, exchange.body["script"])
        [(method, path, _, body)] = daemon.asked
        assert f"{method} {path}" == exchange.request
        assert json.loads(body) == exchange.body

    def test_accepted(self, recorded: Any) -> None:
        port, exchange = recorded("submit-accepted")
        job = port.submit(ALICE, exchange.body["script"])
        assert job == json.loads(exchange.answer)["job_id"]

    def test_a_warning_is_no_refusal(self, recorded: Any) -> None:
        port, exchange = recorded("submit-held")
        assert json.loads(exchange.answer)["warnings"]
        assert port.submit(ALICE, exchange.body["script"]) > 0

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("invalid-partition", SubmitRejected),
            ("invalid-account", SubmitRejected),
            ("invalid-qos", SubmitRejected),
            ("array-too-large", SubmitRejected),
            ("partition-drained", PolicyLimit),
            ("assoc-submit-limit", PolicyLimit),
            ("no-controller", SlurmUnavailable),
        ],
    )
    def test_refused(self, recorded: Any, name: str, kind: type[SlurmError]) -> None:
        port, exchange = recorded(f"submit-{name}")
        with pytest.raises(kind) as caught:
            port.submit(ALICE, exchange.body["script"])
        assert type(caught.value) is kind

    def test_states(self, recorded: Any) -> None:
        port, _ = recorded("jobs")
        rows = port.states([name_of("4"), name_of("6")])
        assert {(r.name[-1], r.username, r.task_index, r.state, r.exit_code) for r in rows} == {
            ("4", "alice", None, "PENDING", "0:0"),
            ("6", "alice", 0, "FAILED", "3:0"),
            ("6", "alice", 1, "FAILED", "0:9"),
            ("6", "alice", 2, "RUNNING", "0:0"),
        }
        assert {row.reason for row in rows} >= {"JobHeldUser", "NonZeroExitCode", ""}
        assert all(row.nodes.startswith("c") for row in rows if row.task_index is not None)
        assert port.states([name_of("f")]) == []

    def test_accounting(self, recorded: Any) -> None:
        port, _ = recorded("accounting")
        rows = port.accounting([name_of("6")], NOW)
        assert {(r.username, r.task_index, r.state, r.exit_code) for r in rows} >= {
            ("alice", 0, "FAILED", "3:0"),
            ("alice", 1, "FAILED", "0:9"),
        }
        port, _ = recorded("accounting-none")
        assert port.accounting([name_of("f")], NOW) == []

    @pytest.mark.parametrize(
        "name", ["other-name", "waiting-running", "pending", "ended", "unknown"]
    )
    def test_nothing_to_cancel_is_no_error(self, recorded: Any, name: str) -> None:
        port, exchange = recorded(f"cancel-{name}")
        port.cancel(ALICE, 1, exchange.body["job_name"])

    def test_somebody_else_s_job(self, recorded: Any) -> None:
        port, _ = recorded("cancel-denied")
        with pytest.raises(SlurmError, match="permission denied") as caught:
            port.cancel(ALICE, 1, name_of("4"))
        assert not isinstance(caught.value, SlurmUnavailable)

    def test_some_that_wait(self, recorded: Any, daemon: Daemon) -> None:
        port, exchange = recorded("cancel-waiting")
        job = int(exchange.body["jobs"][0].partition("_")[0])
        port.cancel_waiting(ALICE, job, name_of("4"), [2, 1])
        [(method, path, _, body)] = daemon.asked
        assert (f"{method} {path}", json.loads(body)) == (exchange.request, exchange.body)

    def test_daemons_that_are_away(self, recorded: Any) -> None:
        with pytest.raises(SlurmUnavailable):
            recorded("jobs-no-controller")[0].states([name_of("4")])
        with pytest.raises(SlurmUnavailable):
            recorded("accounting-no-slurmdbd")[0].accounting([name_of("4")], NOW)
        with pytest.raises(SlurmUnavailable):
            recorded("cancel-no-controller")[0].cancel(ALICE, 1, name_of("4"))
        with pytest.raises(SlurmUnavailable):
            recorded("diag-no-controller")[0].check()

    def test_a_token_that_is_not_believed(self, recorded: Any) -> None:
        with pytest.raises(PolicyLimit, match="/etc/slurm/key"):
            recorded("jobs-wrong-key")[0].states([name_of("4")])
        with pytest.raises(SettingsError, match="/etc/slurm/key"):
            recorded("diag-wrong-key")[0].check()

    def test_every_exchange_is_used(self) -> None:
        assert {path.parent.name for path in recordings("rest-*")} == set(VERSIONS)


class TestPort:
    def test_the_user_s_own_token_and_no_other_header_of_slurm_s(
        self, port: SlurmRest, daemon: Daemon
    ) -> None:
        daemon.answers = [(200, b'{"job_id": 7, "errors": []}')]
        port.submit(ALICE, SCRIPT)
        [(_, _, headers, _)] = daemon.asked
        assert {name: value for name, value in headers.items() if name.startswith("X-")} == {
            "X-SLURM-USER-NAME": "alice",
            "X-SLURM-USER-TOKEN": "token-of-alice",
        }
        assert "Authorization" not in headers

    def test_no_names_are_no_question(self, port: SlurmRest, daemon: Daemon) -> None:
        assert port.states([]) == port.accounting([], NOW) == []
        assert daemon.asked == []

    def test_a_version_that_is_not_offered(self, port: SlurmRest, daemon: Daemon) -> None:
        offers = b'{"paths": {"/slurm/v0.0.44/jobs/": 1, "/slurm/v0.0.45/jobs/": 1}}'
        daemon.answers = [(404, b"no such place"), (200, offers)]
        with pytest.raises(SettingsError, match=r"no v0\.0\.42; it offers v0\.0\.44, v0\.0\.45"):
            port.check()
        daemon.answers = [(404, b"no such place"), (200, offers)]
        with pytest.raises(PolicyLimit, match=r"it offers v0\.0\.44"):
            port.submit(ALICE, SCRIPT)

    def test_a_version_without_cancelling_by_name(self, daemon: Daemon) -> None:
        with pytest.raises(SettingsError, match=r"v0\.0\.40.*v0\.0\.41"):
            make_port(daemon.url, "v0.0.40").check()

    def test_which_slurm_it_is(self, port: SlurmRest, daemon: Daemon) -> None:
        daemon.answers = [(200, b'{"meta": {"slurm": {"release": "24.11.5"}}}')]
        assert port.check() == "slurmrestd of Slurm 24.11.5"

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_gateway_without_slurmrestd(
        self, port: SlurmRest, daemon: Daemon, status: int
    ) -> None:
        daemon.answers = [(status, b"<html>bad gateway</html>")]
        with pytest.raises(SlurmUnavailable):
            port.submit(ALICE, SCRIPT)

    def test_nobody_there(self) -> None:
        with pytest.raises(SlurmUnavailable) as caught:
            make_port("http://127.0.0.1:1").submit(ALICE, SCRIPT)
        assert "token-of" not in caught.value.message

    def test_a_redirection_is_not_followed_with_the_token(
        self, port: SlurmRest, daemon: Daemon
    ) -> None:
        daemon.answers = [(302, b"")]
        with pytest.raises(SlurmError):
            port.submit(ALICE, SCRIPT)
        assert len(daemon.asked) == 1

    @pytest.mark.parametrize(
        "answer", [b"", b"[]", b"{}", b'{"errors": []}', b'{"errors": [], "job_id": "7"}', b"\xff"]
    )
    def test_another_form_is_unreadable(
        self, port: SlurmRest, daemon: Daemon, answer: bytes
    ) -> None:
        daemon.answers = [(200, answer)]
        with pytest.raises(UnreadableOutput):
            port.submit(ALICE, SCRIPT)

    def test_an_answer_that_is_cut_off_is_not_taken_for_all(
        self, port: SlurmRest, daemon: Daemon
    ) -> None:
        whole = read_exchange(FOLDER / "slurm-24.11" / "rest-jobs.txt").answer
        for size in (len(whole) // 2, len(whole) - 10):
            daemon.answers = [(200, whole[:size])]
            with pytest.raises(UnreadableOutput):
                port.states([name_of("6")])

    def test_accounting_is_asked_in_urls_of_bounded_length(
        self, port: SlurmRest, daemon: Daemon
    ) -> None:
        names = [f"bridge-{number:032x}" for number in range(450)]
        daemon.answers = [(200, b'{"jobs": [], "errors": []}')] * 3
        port.accounting(names, NOW)
        assert len(daemon.asked) == 3
        assert all(len(path) < 16_384 for _, path, _, _ in daemon.asked)
        assert all(any(name in path for _, path, _, _ in daemon.asked) for name in names)


def whole_answer() -> bytes:
    return read_exchange(FOLDER / "slurm-26.05" / "rest-jobs.txt").answer


class TestReading:
    @given(st.lists(st.integers(1, 40_000), max_size=30))
    def test_the_pieces_in_which_it_arrives_make_no_difference(self, cuts: list[int]) -> None:
        whole = whole_answer()
        places = [0, *sorted(cuts), len(whole)]
        pieces = [whole[a:b] for a, b in pairwise(places)]
        names = {name_of("4"), name_of("6")}
        assert read_jobs(pieces, listed_row(names)) == read_jobs([whole], listed_row(names))

    def test_a_job_of_others_may_be_of_any_form(self) -> None:
        rows, rest = read_jobs(
            [b'{"jobs": [{"name": "x", "job_state": 7}, {}], "errors": []}'], listed_row(["y"])
        )
        assert (rows, rest) == ([], {"jobs": [], "errors": []})

    @pytest.mark.parametrize("job", [{}, {"array_task_id": 1}, {"job_state": [], "name": "x"}])
    def test_a_job_of_ours_may_not(self, job: dict[str, Any]) -> None:
        text = json.dumps({"jobs": [{**job, "name": "x"}], "errors": []}).encode()
        with pytest.raises(UnreadableOutput, match="of ours"):
            read_jobs([text], listed_row(["x"]))

    def test_a_name_cannot_stand_for_the_list(self) -> None:
        text = json.dumps({"note": '"jobs": [{"name": "x"}]', "jobs": [], "errors": []}).encode()
        assert read_jobs([text], listed_row(["x"]))[0] == []

    def test_memory_is_bounded(self) -> None:
        def endless() -> Iterator[bytes]:
            yield b'{"jobs": [{"name": "'
            for _ in range(MOST_CHARACTERS // 1000):
                yield b"x" * (1 << 16)
            raise AssertionError("it was read to the end")

        with pytest.raises(UnreadableOutput, match="in one piece"):
            read_jobs(endless(), listed_row(["x"]))

    @given(st.binary() | st.text().map(lambda text: f'{{"jobs": [{text}'.encode()))
    def test_whatever_comes_is_read_or_unreadable(self, data: bytes) -> None:
        with contextlib.suppress(UnreadableOutput):
            read_jobs([data], listed_row(["x"]))
