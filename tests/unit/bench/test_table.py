"""The table, the README's part of it, and what bench.json keeps of earlier runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.bench import table
from tests.bench.__main__ import merge
from tests.bench.machine import parse_model
from tests.bench.peers.rates import DIVIDED, PEERS
from tests.bench.targets import TARGETS

REPORT: dict[str, Any] = {
    "ratios": {"true_image_vs_loop": 19.5, "warm_start_p50_ms": 300, "digits_process_vs_bare": 0.4},
    "figures": {
        "rates": {
            "true": {
                "loop": {"per_s": 14.4, "count": 144, "seconds": 10.0},
                "image": {"per_s": 281.0, "count": 2810, "seconds": 10.0, "start_s": 2.5},
            },
            "digits": {"process": {"per_s": 1200.0, "count": 12_000, "seconds": 10.0}},
        }
    },
    "versions": {"slurm": "24.11.5"},
    "machine": {"cores": 2, "memory_mib": 8192, "cpu": "Some CPU"},
}


def test_ratios_stand_beside_their_targets() -> None:
    lines = table.text_table(REPORT).splitlines()
    assert re.fullmatch(r"true_image_vs_loop +19\.5 +at least 15 +met", lines[1])
    assert re.fullmatch(r"digits_process_vs_bare +0\.40 +at least 0\.5, or 1,000/s +met", lines[2])
    assert re.fullmatch(r"warm_start_p50_ms +300 +at most 250 +not met", lines[3])


def test_contenders_come_the_fastest_first() -> None:
    lines = table.text_table(REPORT).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("true "))
    assert lines[at + 1].split() == ["image", "281", "2,810", "10", "2.50", "#" * 28]
    assert lines[at + 2].split()[0] == "loop"


@pytest.mark.parametrize(("per_s", "marks"), [(0.01, 1), (0.1, 1), (1, 8), (10, 16), (1000, 32)])
def test_bars_are_logarithmic(per_s: float, marks: int) -> None:
    assert table.bar(per_s) == "#" * marks


def test_every_target_has_a_row_in_the_readme() -> None:
    block = table.readme_block(REPORT)
    for name, target in TARGETS.items():
        assert f"(`{name}`) | " in block
        assert f"| {target.shown()} |" in block
    assert "(`true_image_vs_loop`) | 19.5 | at least 15 | met |" in block
    assert "(`parsl_vs_peer`) | not measured | over 1 | |" in block
    assert "| image | 281 |  |" in block
    assert "2 cores of Some CPU, 8 GiB, with slurm 24.11.5" in block


def test_every_ratio_of_the_peers_has_a_target() -> None:
    made = {*DIVIDED, *(f"{peer}_vs_peer" for peer in PEERS)}
    assert made - set(TARGETS) == {"digits_none_vs_loop"}  # a figure of its own, older than these


@pytest.mark.parametrize(
    ("name", "value", "figure", "is_met"),
    [
        ("true_image_vs_loop", 15, None, True),
        ("true_image_vs_loop", 14.9, None, False),
        ("parsl_vs_peer", 1, None, False),
        ("hundred_thousand_lost", 0, None, True),
        ("hundred_thousand_lost", 1, None, False),
        ("digits_process_vs_bare", 0.4, 999, False),
        ("digits_process_vs_bare", 0.4, 1000, True),
    ],
)
def test_targets_are_met_or_not(
    name: str, value: float, figure: float | None, is_met: bool
) -> None:
    assert TARGETS[name].is_met(value, figure) is is_met


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    replaced = table.replace_block(text, "new")
    assert replaced == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    with pytest.raises(SystemExit, match="once each"):
        table.replace_block(f"{table.END} {table.BEGIN}", "new")


def test_the_readme_has_the_marks_and_a_row_for_each_target() -> None:
    _, _, rest = table.README.read_text().partition(table.BEGIN)
    block, mark, _ = rest.partition(table.END)
    assert mark
    shown = re.findall(r"^\| .*\(`(\w+)`\) \| ", block, re.MULTILINE)
    assert shown == list(TARGETS)


def test_what_was_not_measured_again_is_kept() -> None:
    old = {"figures": {"rates": {"true": {"loop": 1}}, "slots": 4}, "ratios": {"a": 1}}
    new = {"figures": {"rates": {"true": {"image": 2}}}, "ratios": {"a": 3}}
    assert merge(old, new) == {
        "figures": {"rates": {"true": {"loop": 1, "image": 2}}, "slots": 4},
        "ratios": {"a": 3},
    }


def test_the_processor_has_a_name_or_none() -> None:
    assert parse_model("processor : 0\nmodel name\t: Fast CPU @ 2 GHz\n") == "Fast CPU @ 2 GHz"
    assert parse_model("Processor : old\n") == ""
