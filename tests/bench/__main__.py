"""Runs the measurements, or those that are named, and writes build/bench.json.

``python -m tests.bench [part ...]``; a part is a module of this folder with a function `measure`
that returns (ratios, figures). Where parts are named, bench.json keeps what it has of others, and
of these what they did not measure this time; where none is, it begins anew. Beside it lie
bench.txt, the table, and bench.png.

bench.json has ``ratios`` (names and targets are in targets.py), ``figures``, ``versions`` and
``machine``. A part that fails, or something within it, does not keep others from being measured:
``failed`` of the figures says why, and the exit code is 1.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from tests.bench.machine import read_machine, read_versions
from tests.bench.table import RESULTS, text_table
from tests.clients.environments import ROOT, ensure_environment

PARTS = ("posting", "peers", "latency", "sleep", "backlog", "hundred_thousand")


def main() -> None:
    """Measure, print and write down."""
    named = sys.argv[1:]
    unknown = sorted(set(named) - set(PARTS))
    if unknown:
        raise SystemExit(f"no part {', '.join(unknown)}; expected some of: {', '.join(PARTS)}")
    report: dict[str, Any] = {}
    if named and RESULTS.exists():
        report = json.loads(RESULTS.read_text())
        report.get("figures", {}).pop("failed", None)
    for part in named or PARTS:
        print(f"--- {part}")
        report = merge(report, {**run_part(part), "machine": read_machine()})
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    table = text_table(report)
    RESULTS.with_suffix(".txt").write_text(table + "\n")
    print(table)
    draw(RESULTS, RESULTS.with_suffix(".png"))
    failed = report["figures"].get("failed")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run_part(part: str) -> dict[str, Any]:
    """Return what a part adds to the report; where it fails as a whole, that it did."""
    try:
        ratios, figures = importlib.import_module(f"tests.bench.{part}").measure()
    except (BridgeError, RuntimeError, OSError) as error:
        print(f"{part} failed: {error}")
        return {"ratios": {}, "figures": {"failed": {part: str(error)}}, "versions": {}}
    versions = {**read_versions(), **figures.pop("versions", {})}
    return {"ratios": ratios, "figures": figures, "versions": versions}


def draw(results: Path, picture: Path) -> None:
    """Draw the rates in `results` to `picture`, a PNG."""
    argv = [ensure_environment("plot"), "-m", "tests.bench.plot"]
    subprocess.run([*argv, results.resolve(), picture.resolve()], cwd=ROOT, check=True)


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return both, objects within objects too; where both have a value the new one holds."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        merged[key] = merge(before, value) if both else value
    return merged


if __name__ == "__main__":
    main()
