"""The results as text: every ratio beside its target, and every rate by workload.

``python -m tests.bench.table`` makes the README's table anew from build/bench.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.targets import TARGETS

RESULTS = Path("build/bench.json")
README = Path(__file__).parents[2] / "README.md"
SLOWEST, DECADE = 0.1, 8
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def verdict(name: str, report: Mapping[str, Any]) -> str:
    """Return whether a measured ratio meets its target; nothing where there is none."""
    target = TARGETS.get(name)
    if target is None or name not in report["ratios"]:
        return ""
    value = report["ratios"][name]
    return "met" if target.is_met(value, figure_of(name, report)) else "not met"


def figure_of(name: str, report: Mapping[str, Any]) -> float | None:
    """Return the rate that a target may be met by instead: the dividend's."""
    workload, mode, *_ = name.split("_")
    rates = report.get("figures", {}).get("rates", {})
    found: float | None = rates.get(workload, {}).get(mode, {}).get("per_s")
    return found


def text_table(report: Mapping[str, Any]) -> str:
    """Return all that was measured, for a terminal."""
    rows = [("ratio", "measured", "target", "")]
    known = [name for name in TARGETS if name in report["ratios"]]
    for name in [*known, *sorted(set(report["ratios"]) - set(known))]:
        target = TARGETS[name].shown() if name in TARGETS else ""
        rows.append((name, number(report["ratios"][name]), target, verdict(name, report)))
    lines = align(rows)
    for workload, rates in report.get("figures", {}).get("rates", {}).items():
        head = (workload, "messages/s", "messages", "seconds", "start, s", "workers/s", "")
        keys = ("per_s", "count", "seconds", "start_s", "workers_per_s")
        found = [
            (name, *(number(rate[key]) if key in rate else "" for key in keys), bar(rate["per_s"]))
            for name, rate in by_rate(rates)
        ]
        lines += ["", *align([head, *found])]
    return "\n".join(lines)


def by_rate(rates: Mapping[str, Mapping[str, float]]) -> list[tuple[str, Mapping[str, float]]]:
    """Return contenders, the fastest first."""
    return sorted(rates.items(), key=lambda item: -item[1]["per_s"])


def number(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bar(per_s: float) -> str:
    """Return a bar for a rate: `DECADE` marks for each power of ten above a tenth a second."""
    marks = round(DECADE * (math.log10(max(per_s, SLOWEST)) - math.log10(SLOWEST)))
    return "#" * max(1, marks)


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, each column as wide as its widest word.

    Numbers are to the right; the first column and bars are to the left.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *rest = (
            word.ljust(width) if at == 0 or word.startswith("#") else word.rjust(width)
            for at, (word, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return lines


def readme_block(report: Mapping[str, Any]) -> str:
    """Return the README's table: each ratio that has a target, and on what it was measured."""
    lines = ["| what | measured | target | |", "|---|---:|---:|---|"]
    for name, target in TARGETS.items():
        value = report["ratios"].get(name)
        shown = "not measured" if value is None else number(value)
        words = (f"{target.what} (`{name}`)", shown, target.shown(), verdict(name, report))
        lines.append("| " + " | ".join(words).rstrip() + " |")
    rates = list(_rates_block(report))
    lines += ["", *rates, *([""] if rates else []), _about(report)]
    return "\n".join(lines)


def _rates_block(report: Mapping[str, Any]) -> Iterable[str]:
    """Return messages a second by contender and workload."""
    rates = report.get("figures", {}).get("rates", {})
    if not rates:
        return []
    names = {name: None for found in rates.values() for name, _ in by_rate(found)}
    lines = [
        "| messages a second | " + " | ".join(rates) + " |",
        "|---|" + "---:|" * len(rates),
    ]
    for name in names:
        cells = (number(found[name]["per_s"]) if name in found else "" for found in rates.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _about(report: Mapping[str, Any]) -> str:
    machine, versions = report.get("machine"), report.get("versions", {})
    if not machine:
        return "Not measured yet: `make bench`, then `.venv/bin/python -m tests.bench.table`."
    on = f"{machine['cores']} cores of {machine['cpu']}"
    memory = f"{machine['memory_mib'] / 1024:.0f} GiB"
    with_what = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Measured on {on}, {memory}, with {with_what}."


def replace_block(text: str, block: str) -> str:
    """Return a text with what is between the two marks replaced.

    Raises:
        SystemExit: it has not each mark once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"README.md: expected {BEGIN} and {END} once each, in this order")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{block}\n{END}{tail}"


def main() -> None:
    """Write the README's table."""
    if not RESULTS.is_file():
        raise SystemExit(f"{RESULTS} is not there: make bench writes it")
    report = json.loads(RESULTS.read_text())
    README.write_text(replace_block(README.read_text(), readme_block(report)))
    print(text_table(report))


if __name__ == "__main__":
    main()
