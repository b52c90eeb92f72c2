"""A picture of the rates: a panel for each workload, a bar for each contender, logarithmic.

A program, because matplotlib has a Python environment of its own (tests/clients/environments.py):
the suite and the bridge do without it. ``python -m tests.bench.plot <bench.json> <PNG>``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.bench.table import SLOWEST, by_rate, number

OURS = ("none", "image", "process")
LIMITS = ("limit", "forks", "bare")


def colour(contender: str) -> str:
    """Return the bridge's colour, that of what nothing can pass, or that of all others."""
    if contender.removesuffix("_idle") in OURS:
        return "tab:green"
    return "lightgrey" if contender in LIMITS else "tab:blue"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the picture of a report to `path`, a PNG; nothing where no rates were measured."""
    rates = report.get("figures", {}).get("rates", {})
    if not rates:
        return
    heights = [len(found) + 1 for found in rates.values()]
    figure = Figure(figsize=(9, 0.28 * sum(heights) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rates), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for panel, (workload, found) in zip(panels, rates.items(), strict=True):
        names = [name for name, _ in by_rate(found)][::-1]
        values = [found[name]["per_s"] for name in names]
        bars = panel.barh(names, values, color=[colour(name) for name in names])
        panel.bar_label(bars, [number(value) for value in values], padding=3, fontsize=8)
        panel.set_title(f"{workload}: messages a second", loc="left", fontsize=10)
    fastest = max(rate["per_s"] for found in rates.values() for rate in found.values())
    panels[0].set_xscale("log")
    panels[0].set_xlim(SLOWEST, fastest * 5)  # with room for the last number
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
