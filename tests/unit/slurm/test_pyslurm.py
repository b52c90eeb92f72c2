"""pyslurm: the real program in a process of its own, on a stand-in for the module."""

from __future__ import annotations

import ast
import json
import os
import pwd
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import (
    CommandTimeout,
    ConnectFailed,
    FileRefused,
    PolicyLimit,
    SettingsError,
    SlurmError,
    SlurmUnavailable,
    SubmitRejected,
    UnreadableOutput,
)
from bridge.launcher import ArrayContext, render_script
from bridge.node import commands
from bridge.sessions import Completed
from bridge.sites import Cluster
from bridge.slurm import make_slurm, pyslurm_program
from bridge.slurm.port import JobRow
from bridge.slurm.pyslurm_body import build_description
from bridge.slurm.pyslurm_port import SlurmPyslurm

STANDIN = Path(__file__).parents[2] / "factories" / "standin_pyslurm.py"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
ME = os.getuid()
MY_NAME = pwd.getpwuid(ME).pw_name
NAME, OTHER = "bridge-1", "bridge-2"
SCRIPT = "#!/bin/sh\n#SBATCH --job-name=bridge-1\n#SBATCH --array=0-1\nexit 0\n"


class Here:
    """A session that runs what it is asked to as the agent does, on this machine."""

    username = MY_NAME

    def __init__(self) -> None:
        self.limit = 4 << 20
        self.fails: Exception | None = None
        self.asked: list[tuple[Sequence[str], Mapping[str, str] | None]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        self.asked.append((argv, env))
        if self.fails is not None:
            raise self.fails
        return Completed(*commands.run(list(argv), stdin, timeout_s, dict(env or {}), self.limit))


class World:
    """A Python with the stand-in, its cluster, and the port to it."""

    def __init__(self, place: Path) -> None:
        packages = place / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "pyslurm"
        packages.mkdir(parents=True)
        shutil.copy(STANDIN, packages / "__init__.py")
        self.python = place / "bin" / "python3"
        self.python.parent.mkdir()
        base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
        self.python.symlink_to(base)
        (place / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
        self.package = packages
        self.session: Any = Here()
        self.port = SlurmPyslurm(lambda: self.session, str(self.python))
        self.set()

    def set(self, **cluster: object) -> None:
        self.package.joinpath("cluster.json").write_text(json.dumps(cluster))

    def wrong(self, call: str, what: object) -> None:
        self.set(wrong={call: what})

    @property
    def cluster(self) -> dict[str, Any]:
        found = json.loads(self.package.joinpath("cluster.json").read_text())
        assert isinstance(found, dict)
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "venv")


def record(job_id: int, state: str = "RUNNING", **more: object) -> dict[str, object]:
    return {"job_id": job_id, "name": NAME, "user_id": ME, "state": state, **more}


def array_of(*states: str) -> list[dict[str, object]]:
    """Return an array's records: its started tasks, then what waits under the array's own id."""
    started = [
        record(11 + index, state, array_job_id=10, array_task_id=index, nodes=f"c{index}")
        for index, state in enumerate(states)
    ]
    last = len(states)
    waiting = record(10, "PENDING", array_job_id=10, array_task_str=f"{last}-{last + 9}%5")
    return [*started, waiting]


class TestChecking:
    def test_which_slurm_it_is(self, world: World) -> None:
        assert world.port.check() == "pyslurm 25.11.2 of Slurm 25.11.4"

    def test_no_pyslurm(self, world: World) -> None:
        shutil.rmtree(world.package)
        with pytest.raises(SettingsError, match=r'slurm = "pyslurm" needs .*No module named'):
            world.port.check()

    def test_a_library_that_cannot_be_loaded(self, world: World) -> None:
        world.set(missing="libslurm.so.43: cannot open shared object file")
        with pytest.raises(SettingsError, match=r"needs .* can import pyslurm.*libslurm\.so\.43"):
            world.port.check()

    @pytest.mark.parametrize("version", ["24.11.0", "25.5.0", "25.110.1", ""])
    def test_another_pyslurm(self, world: World, version: str) -> None:
        world.set(pyslurm=version)
        with pytest.raises(SettingsError, match=r"needs pyslurm 25\.11; .* has"):
            world.port.check()

    @pytest.mark.parametrize("version", ["24.11.5", "26.05.1", "25.05.3"])
    def test_another_slurm(self, world: World, version: str) -> None:
        world.set(slurm=version)
        with pytest.raises(SettingsError, match=rf"needs Slurm 25\.11; the cluster's is {version}"):
            world.port.check()

    def test_no_such_python(self, world: World) -> None:
        world.session.fails = FileRefused("no /opt/python3 there", kind="missing")
        with pytest.raises(SettingsError, match=r'slurm = "pyslurm" needs .* there'):
            world.port.check()

    @pytest.mark.parametrize("call", ["init", "config"])
    def test_a_controller_that_is_away(self, world: World, call: str) -> None:
        world.wrong(call, [1800, "Unable to contact slurm controller (connect failure)"])
        with pytest.raises(SlurmUnavailable, match=r"pyslurm got no answer: .*connect failure"):
            world.port.check()

    def test_no_configuration(self, world: World) -> None:
        world.wrong("init", "fatal")
        with pytest.raises(SlurmUnavailable, match="configuration source"):
            world.port.check()

    def test_no_session(self, world: World) -> None:
        world.session.fails = ConnectFailed("gone")
        with pytest.raises(SlurmUnavailable, match="gone"):
            world.port.check()

    def test_the_site_file_says_which_python(self, world: World) -> None:
        keys = {"slurm": "pyslurm", "pyslurm_python": str(world.python)}
        paths = {"spool": "/scratch/{login}", "image_cache": "/images"}
        cluster = Cluster.model_validate({**paths, **keys})
        assert make_slurm(cluster, lambda: world.session).check().startswith("pyslurm 25.11.2")


class TestSubmitting:
    def test_every_line_of_the_launcher_s_script_is_told(self, world: World) -> None:
        context = ArrayContext(
            job_name="bridge-1", task_count=3, time_limit_s=90, signal_s=20, nodes=2, ntasks=4,
            cpus=2, memory_mib=300, gpus=1, exclusive=True, partition="normal", account="physics",
            qos="high", constraint="ib", spool="/scratch/alice/x", program="/p.pyz",
            python="/usr/bin/python3",
        )  # fmt: skip
        script = render_script(context)

        assert world.port.submit(world.session, script) == 4711

        assert world.cluster["submitted"] == [
            {
                "script": script,
                "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
                "name": "bridge-1",
                "array_inx": "0-2",
                "time_limit": 2,
                "warn_signal": 15,
                "warn_time": 20,
                "warn_flags": 1,
                "min_nodes": 2,
                "max_nodes": 2,
                "num_tasks": 4,
                "cpus_per_task": 2,
                "pn_min_memory": 300,
                "tres_per_node": "gres:gpu:1",
                "shared": 0,
                "partition": "normal",
                "account": "physics",
                "qos": "high",
                "features": "ib",
                "work_dir": "/",
                "open_mode": 1,
                "std_out": "/scratch/alice/x/worker-%a.out",
            }
        ]

    @pytest.mark.parametrize(
        ("lines", "told"),
        [
            (["hold"], {"priority": 0}),
            (["requeue"], {"requeue": 1}),
            (["exclusive=user"], {"shared": 2}),
            (["no-requeue"], {"requeue": 0}),
            (["mem=1K"], {"pn_min_memory": 1}),
            (["mem=2G"], {"pn_min_memory": 2048}),
            (["gres=gpu,disk:ssd:2"], {"tres_per_node": "gres:gpu:1,gres:disk:ssd:2"}),
            (["signal=B:10@5"], {"warn_signal": 10, "warn_time": 5, "warn_flags": 1}),
            (["signal=B:SIGTERM@5"], {"warn_signal": 15, "warn_flags": 1}),
            (["nodes=2-4"], {"min_nodes": 2, "max_nodes": 4, "num_tasks": 2}),
            (["ntasks=4"], {"min_nodes": 1, "max_nodes": 4, "num_tasks": 4}),
            (["ntasks=1"], {"min_nodes": 1, "max_nodes": 1, "num_tasks": 1}),
            (["time=2-00:00:01"], {"time_limit": 2881}),
            (["reservation=x", "wckey=y"], {"reservation": "x", "wckey": "y"}),
            (["licenses=a:2,b", "error=/e"], {"licenses": "a:2,b", "std_err": "/e"}),
        ],
    )
    def test_what_lines_become(
        self, world: World, lines: list[str], told: dict[str, object]
    ) -> None:
        script = "#!/bin/sh\n" + "".join(f"#SBATCH --{line}\n" for line in lines)
        world.port.submit(world.session, script)
        [found] = world.cluster["submitted"]
        assert {name: found.get(name) for name in told} == told

    def test_the_process_is_the_owner_and_the_job_gets_nothing_of_it(self, world: World) -> None:
        world.port.submit(world.session, SCRIPT)
        [found] = world.cluster["submitted"]
        assert not {"user_id", "group_id"} & set(found)
        assert found["environment"] == {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        [(argv, env)] = world.session.asked
        assert argv[:3] == [str(world.python), "-I", "-c"]
        assert env == {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        assert "bridge-1" not in " ".join(argv)

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("--contiguous", "cannot be told to pyslurm"),
            ("--exclusive=topo", "expected no value, user or mcs"),
            ("--uid=0", "cannot be told to pyslurm"),
            ("--get-user-env", "cannot be told to pyslurm"),
            ("-p normal", "expected #SBATCH --name=value"),
            ("--time=90", "D-HH:MM:SS"),
            ("--mem=much", "K, M, G or T"),
            ("--mem=0", "from 1 on with K"),
            ("--ntasks=0", "from 1 on"),
            ("--nodes=0", "LEAST-MOST"),
            ("--nodes=4-2", "LEAST-MOST"),
            ("--gres=gpu:0", "NAME"),
            ("--gres=gpu:a:b:1", "NAME"),
            ("--export=ALL", "expected NIL"),
            ("--signal=TERM", "B:SIGNAL@SECONDS"),
            ("--signal=B:NONE@20", "a signal that there is"),
            ("--open-mode=maybe", "append or truncate"),
            ("--partition=", "expected a value"),
        ],
    )
    def test_a_line_that_cannot_be_told_is_never_dropped(self, line: str, says: str) -> None:
        with pytest.raises(SubmitRejected, match=says):
            build_description(f"#!/bin/sh\n#SBATCH {line}\nexit 0\n")

    def test_what_pyslurm_itself_refuses(self, world: World) -> None:
        with pytest.raises(SubmitRejected, match=r"pyslurm refused.*batch script"):
            world.port.submit(world.session, SCRIPT.replace("exit 0", "exit 0\r"))
        assert "submitted" not in world.cluster

    @pytest.mark.parametrize(
        ("errno", "said", "kind"),
        [
            (2000, "Invalid partition name specified", SubmitRejected),
            (2045, "Invalid account or account/partition combination specified", SubmitRejected),
            (2037, "Invalid job array specification", SubmitRejected),
            (
                2051,
                "Job violates accounting/QOS policy (job submit limit, user's size and/or time "
                "limits)",
                PolicyLimit,
            ),
            (2015, "Required partition not available (inactive or drain)", PolicyLimit),
            (1001, "Communication connection failure", SlurmUnavailable),
            (1007, "Protocol authentication error", SlurmUnavailable),
            (1802, "Unable to contact slurm controller (receive failure)", SlurmUnavailable),
            (5004, "Socket timed out on send/recv operation", SlurmUnavailable),
            (6000, "Invalid authentication credential", SlurmUnavailable),
            (111, "Connection refused", SlurmUnavailable),
            (0, "Success", SlurmUnavailable),
        ],
    )
    def test_refused(self, world: World, errno: int, said: str, kind: type[SlurmError]) -> None:
        world.wrong("submit", [errno, said])
        with pytest.raises(kind) as caught:
            world.port.submit(world.session, SCRIPT)
        assert type(caught.value) is kind
        assert said in caught.value.message

    @pytest.mark.parametrize("what", ["crash", "fatal"])
    def test_a_library_that_falls_over_leaves_it_unclear(self, world: World, what: str) -> None:
        world.wrong("submit", what)
        with pytest.raises(SlurmUnavailable, match="before it answered"):
            world.port.submit(world.session, SCRIPT)

    def test_what_the_library_prints_is_no_answer(self, world: World) -> None:
        world.wrong("submit", "chatter")
        assert world.port.submit(world.session, SCRIPT) == 4711

    def test_a_pyslurm_that_has_gone_is_the_site_s_mistake(self, world: World) -> None:
        world.set(missing="libslurm.so.43: cannot open shared object file")
        with pytest.raises(PolicyLimit, match="pyslurm_python"):
            world.port.submit(world.session, SCRIPT)

    @pytest.mark.parametrize("error", [CommandTimeout("too long"), ConnectFailed("gone")])
    def test_a_session_that_breaks_leaves_it_unclear(self, world: World, error: Exception) -> None:
        world.session.fails = error
        with pytest.raises(SlurmUnavailable, match="may or may not"):
            world.port.submit(world.session, SCRIPT)


class TestStates:
    def test_an_array_and_what_waits_of_it(self, world: World) -> None:
        ended = record(9, "FAILED", exit=[3, 0], reason="NonZeroExitCode", nodes="c9")
        world.set(jobs=[*array_of("RUNNING", "COMPLETED"), ended])
        assert world.port.states([NAME]) == [
            JobRow(NAME, MY_NAME, 10, 0, "RUNNING", "0:0", "", "c0"),
            JobRow(NAME, MY_NAME, 10, 1, "COMPLETED", "0:0", "", "c1"),
            JobRow(NAME, MY_NAME, 10, None, "PENDING", "0:0", "", ""),
            JobRow(NAME, MY_NAME, 9, None, "FAILED", "3:0", "NonZeroExitCode", "c9"),
        ]

    def test_one_task_that_waits_has_its_index(self, world: World) -> None:
        waiting = [
            record(n, "PENDING", array_job_id=n, array_task_str=tasks)
            for n, tasks in ((20, "0"), (30, "7%2"), (40, "1,3"), (50, "0-3,5,..."))
        ]
        world.set(jobs=waiting)
        assert [row.task_index for row in world.port.states([NAME])] == [0, 7, None, None]

    def test_jobs_of_one_name_and_of_others(self, world: World) -> None:
        jobs = [
            record(1),
            record(2, user_id=4_000_000_000),
            record(3, name=OTHER),
            record(4, name="theirs"),
            record(5, name=None),
        ]
        world.set(jobs=jobs)
        rows = world.port.states([NAME, OTHER])
        assert [(row.name, row.array_job_id, row.username) for row in rows] == [
            (NAME, 1, MY_NAME),
            (NAME, 2, "4000000000"),
            (OTHER, 3, MY_NAME),
        ]
        assert len(world.session.asked) == 1
        assert world.port.states([NAME[:-1]]) == []

    def test_no_names_are_no_question(self, world: World) -> None:
        assert world.port.states([]) == world.port.accounting([], NOW) == []
        assert world.session.asked == []

    @pytest.mark.parametrize("what", ["crash", "fatal", [1800, "Unable to contact slurm"]])
    def test_no_answer(self, world: World, what: object) -> None:
        world.wrong("load", what)
        with pytest.raises(SlurmUnavailable):
            world.port.states([NAME])

    def test_a_refusal(self, world: World) -> None:
        world.wrong("load", [2002, "Access/permission denied"])
        with pytest.raises(SlurmError, match="permission denied") as caught:
            world.port.states([NAME])
        assert type(caught.value) is SlurmError

    def test_an_answer_that_is_cut_is_not_taken_for_all(self, world: World) -> None:
        world.set(jobs=array_of("RUNNING"))
        world.session.limit = 40
        with pytest.raises(UnreadableOutput, match="cut"):
            world.port.states([NAME])


class TestAccounting:
    def test_how_tasks_ended(self, world: World) -> None:
        accounted = [
            record(11, "FAILED", array_job_id=10, array_task_id=0, exit=[3, 0], nodes="c1"),
            record(10, "FAILED", array_job_id=10, array_task_id=1, exit=[0, 9], nodes="c2"),
            record(30, "CANCELLED", array_job_id=30, array_task_str="0-4", name=OTHER),
            record(40, name="theirs"),
        ]
        world.set(accounted=accounted)
        assert world.port.accounting([OTHER, NAME], NOW) == [
            JobRow(NAME, MY_NAME, 10, 0, "FAILED", "3:0", "", "c1"),
            JobRow(NAME, MY_NAME, 10, 1, "FAILED", "0:9", "", "c2"),
            JobRow(OTHER, MY_NAME, 30, None, "CANCELLED", "0:0", "", ""),
        ]
        assert world.cluster["asked"] == [[NAME, OTHER], int(NOW.timestamp())]

    def test_thousands_of_names_are_one_question(self, world: World) -> None:
        names = [f"bridge-{number:032x}" for number in range(10_000)]
        assert world.port.accounting(names, NOW) == []
        assert len(world.session.asked) == 1

    def test_a_database_that_is_away(self, world: World) -> None:
        world.wrong("accounting", [-1, "Failed to get Jobs from slurmdbd"])
        with pytest.raises(SlurmUnavailable, match="slurmdbd"):
            world.port.accounting([NAME], NOW)


class TestCancelling:
    def test_every_record_of_an_array(self, world: World) -> None:
        world.set(jobs=array_of("RUNNING", "COMPLETED", "SUSPENDED"))
        world.port.cancel(world.session, 10, NAME)
        assert world.cluster["cancelled"] == [11, 13, 10]
        assert {row.state for row in world.port.states([NAME])} == {
            "COMPLETING", "COMPLETED", "CANCELLED"
        }  # fmt: skip

    def test_a_task_that_starts_meanwhile(self, world: World) -> None:
        late = record(99, array_job_id=10, array_task_id=1, nodes="c1")
        world.set(jobs=array_of("RUNNING"), starting=[late])
        world.port.cancel(world.session, 10, NAME)
        assert world.cluster["cancelled"] == [11, 10, 99]

    @pytest.mark.parametrize(("job", "name"), [(10, OTHER), (77, NAME), (11, NAME)])
    def test_id_and_name_must_both_match(self, world: World, job: int, name: str) -> None:
        world.set(jobs=array_of("RUNNING"))
        world.port.cancel(world.session, job, name)
        assert "cancelled" not in world.cluster

    def test_what_has_ended(self, world: World) -> None:
        world.set(jobs=[record(10, state) for state in ("COMPLETED",)])
        world.port.cancel(world.session, 10, NAME)
        assert "cancelled" not in world.cluster

    def test_another_user_s_job(self, world: World) -> None:
        world.set(jobs=[record(10, user_id=ME + 1)])
        with pytest.raises(SlurmError, match="another user's"):
            world.port.cancel(world.session, 10, NAME)
        assert "cancelled" not in world.cluster

    def test_an_errno_that_was_left_behind_is_no_failure(self, world: World) -> None:
        world.set(jobs=array_of("RUNNING"), stale_errno=[2, "No such file or directory"])
        world.port.cancel(world.session, 10, NAME)
        assert world.cluster["cancelled"] == [11, 10]

    def test_a_job_that_lives_on(self, world: World) -> None:
        world.set(jobs=[record(10)], wrong={"cancel": [2002, "Access/permission denied"]})
        with pytest.raises(SlurmError, match="permission denied") as caught:
            world.port.cancel(world.session, 10, NAME)
        assert type(caught.value) is SlurmError

    @pytest.mark.parametrize("call", ["load", "cancel"])
    @pytest.mark.parametrize("what", ["crash", [1800, "Unable to contact slurm controller"]])
    def test_no_answer(self, world: World, call: str, what: object) -> None:
        world.set(jobs=[record(10)], wrong={call: what})
        with pytest.raises(SlurmUnavailable):
            world.port.cancel(world.session, 10, NAME)

    def test_what_waits_alone_is_left_to_itself(self, world: World) -> None:
        world.set(jobs=array_of("RUNNING"))
        world.port.cancel_waiting(world.session, 10, NAME, [1, 2])
        assert world.session.asked == []


class TestAnswers:
    @pytest.mark.parametrize(
        "said",
        [
            b"{", b"[]", b"{}", b'{"rows": 7}', b'{"rows": [[1]]}', b'{"rows": [{}]}', b"\xff",
            b'{"rows": [["n", "u", "7", null, "s", "", "", ""]]}', b'{"refused": []}',
            b'{"refused": {"kind": "slurm", "errno": "x", "said": ""}}', b'{"job_id": true}',
            b'{"job_id": 0}', b"[" * 100_000,
        ],
    )  # fmt: skip
    def test_another_form_is_unreadable(self, said: bytes) -> None:
        class Says(Here):
            def run(self, *_: object, **__: object) -> Completed:
                return Completed(0, said, b"")

        port = SlurmPyslurm(Says, "/usr/bin/python3")  # type: ignore[arg-type]
        with pytest.raises(UnreadableOutput):
            port.states([NAME])
        with pytest.raises(UnreadableOutput):
            port.submit(Says(), SCRIPT)  # type: ignore[arg-type]


def test_the_program_stands_alone_on_an_old_python() -> None:
    tree = ast.parse(Path(pyslurm_program.__file__).read_text(), feature_version=(3, 6))
    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"json", "os", "sys", "typing", "pyslurm"}
