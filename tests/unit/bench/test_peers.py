"""What the peers run, and who of them does."""

from __future__ import annotations

import pytest

from bridge.errors import SandboxError
from tests.bench.__main__ import run_part
from tests.bench.peers import CONTENDERS, DEFAULT, choose, compete
from tests.bench.peers.ours import rate_of_rows
from tests.bench.peers.rates import DIVIDED, FRESH, PEERS, Rate
from tests.bench.peers.stage import LIBRARIES, Stage, compare_labels, parse_versions
from tests.bench.peers.workloads import build_line


def test_the_line_is_the_workers_own_less_its_shim() -> None:
    line = build_line("/images/a.sif", ["/bin/true"], [("/work/alice", "/work", "rw")])
    assert line[0] == "/usr/bin/apptainer"
    assert {"exec", "--containall", "--writable-tmpfs", "--no-eval"} <= set(line)
    assert line[-2:] == ["/images/a.sif", "/bin/true"]
    assert line[line.index("--mount") + 1] == '"type=bind","source=/work/alice","destination=/work"'


def test_contenders_can_be_named() -> None:
    assert choose([], []) == DEFAULT
    assert choose(["array", "loop", "bare"], ["digits", "true"]) == {
        "true": ("loop", "array"),
        "digits": ("loop", "array", "bare"),
    }


def test_all_that_ratios_need_is_measured_where_nobody_says() -> None:
    for workload, mode, peer in DIVIDED.values():
        assert {mode, peer} <= set(DEFAULT[workload])
    assert {*PEERS, *FRESH} <= set(DEFAULT["true"])


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(SystemExit, match=r"PEERS: expected some of .*loop.*; found lop"):
        choose(["lop"], [])
    with pytest.raises(SystemExit, match="WORKLOADS"):
        choose([], ["lop"])


def test_labels_must_be_the_classifiers_own() -> None:
    expected = {"/work/digits/000.png": "7", "/work/digits/001.png": "1"}
    compare_labels({"000.png": "7"}, expected, "loop", 1)
    compare_labels({"000.png": "7", "001.png": "1"}, expected, "loop", 9)
    with pytest.raises(RuntimeError, match=r"loop: .* each of 2 .* for 1: 001\.png"):
        compare_labels({"000.png": "7", "001.png": "2"}, expected, "loop", 2)
    with pytest.raises(RuntimeError, match=r"for 1: 001\.png"):
        compare_labels({"000.png": "7"}, expected, "loop", 2)


def test_the_workers_rate_is_from_first_start_to_last_end() -> None:
    rows = [
        {"startTime": "2026-11-21T06:00:01.000000", "finishTime": "2026-11-21T06:00:03.000000"},
        {"startTime": "2026-11-21T06:00:00.500000", "finishTime": "2026-11-21T06:00:04.500000"},
    ]
    assert rate_of_rows(rows) == 0.5


def test_the_peers_versions_are_named() -> None:
    listed = "".join(f"{name}==1.{at}\n" for at, name in enumerate(LIBRARIES)) + "pip==25\n"
    assert parse_versions(listed) == {name: f"1.{at}" for at, name in enumerate(LIBRARIES)}


def test_one_that_fails_is_told_and_cleared_away_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cleared = []

    class Bare(Stage):
        def clear(self) -> None:
            cleared.append(True)

    def fail(*_: object) -> dict[str, Rate]:
        raise SandboxError("no such program")

    monkeypatch.setitem(CONTENDERS, "dask", fail)
    monkeypatch.setitem(CONTENDERS, "loop", lambda *_: {"loop": Rate(10, 2)})
    stage = Bare(*[None] * 4)

    rates, failed = compete(stage, {"true": ["dask", "loop"], "sleep": ["loop"]}, 1)

    assert rates == {"true": {"loop": Rate(10, 2)}, "sleep": {"loop": Rate(10, 2)}}
    assert failed == {"true dask": "no such program"}
    assert cleared == [True]


def test_a_part_that_fails_as_a_whole_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise SandboxError("no container engine")

    monkeypatch.setattr("tests.bench.peers.measure", fail)
    assert run_part("peers")["figures"] == {"failed": {"peers": "no container engine"}}
