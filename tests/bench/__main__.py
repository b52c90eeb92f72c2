"""Runs the measurements, or those that are named, and writes build/bench.json.

``python -m tests.bench [part ...]``; a part is a module of this folder with a function `measure`
that returns (ratios, figures). A part that is not measured keeps its old figures.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

RESULTS = Path("build/bench.json")
PARTS = ("posting", "digits")


def main() -> None:
    """Measure, print and write down."""
    named = sys.argv[1:] or PARTS
    unknown = sorted(set(named) - set(PARTS))
    if unknown:
        raise SystemExit(f"no part {', '.join(unknown)}; expected some of: {', '.join(PARTS)}")
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    report = {"ratios": found.get("ratios", {}), "figures": found.get("figures", {})}
    for part in named:
        ratios, figures = importlib.import_module(f"tests.bench.{part}").measure()
        report["ratios"].update(ratios)
        report["figures"].update(figures)
        machine = {"cpu": platform.processor() or platform.machine(), "os": platform.release()}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({**report, "machine": machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()
