"""Runs the measurements, or those that are named, and writes build/bench.json.

``python -m tests.bench [posting] [digits]``; a part that is not measured keeps its old figures.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

from tests.bench.digits import measure_digits
from tests.bench.posting import measure_posting

RESULTS = Path("build/bench.json")
PARTS = {"posting": measure_posting, "digits": measure_digits}


def main() -> None:
    """Measure, print and write down."""
    named = sys.argv[1:] or list(PARTS)
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    report = {"ratios": found.get("ratios", {}), "figures": found.get("figures", {})}
    for part in named:
        ratios, figures = PARTS[part]()
        report["ratios"].update(ratios)
        report["figures"].update(figures)
    machine = {"cpu": platform.processor() or platform.machine(), "os": platform.release()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**report, "machine": machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()
