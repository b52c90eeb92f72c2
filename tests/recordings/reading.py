"""Reads the recordings."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.sessions.base import Completed

FOLDER = Path(__file__).parent
_SECTIONS = re.compile(r"^--- (stdin|stdout|stderr)\n", re.MULTILINE)


def read_recording(path: Path) -> Completed:
    """Return the command's end as a session would give it."""
    head, *parts = _SECTIONS.split(path.read_text())
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    facts = dict(line.split(": ", 1) for line in head.splitlines())
    return Completed(
        int(facts["exit status"]), sections["stdout"].encode(), sections["stderr"].encode()
    )


def recordings(pattern: str) -> list[Path]:
    """Return the recordings of every version whose name matches, e.g. ``squeue-*``."""
    return sorted(FOLDER.glob(f"*/{pattern}.txt"))
