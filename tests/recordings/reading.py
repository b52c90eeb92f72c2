"""Reads the recordings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.sessions.base import Completed

FOLDER = Path(__file__).parent
_SECTIONS = re.compile(r"^--- (stdin|stdout|stderr)\n", re.MULTILINE)


def read_recording(path: Path) -> Completed:
    """Return the command's end as a session would give it."""
    facts, sections = _read(path)
    return Completed(
        int(facts["exit status"]), sections["stdout"].encode(), sections["stderr"].encode()
    )


@dataclass(frozen=True)
class Exchange:
    """What was asked of slurmrestd, and what it answered."""

    request: str
    body: Any
    status: int
    answer: bytes


def read_exchange(path: Path) -> Exchange:
    """Return one recorded question to slurmrestd."""
    facts, sections = _read(path)
    body = json.loads(sections["stdin"]) if "stdin" in sections else None
    answer = sections["stdout"].removesuffix("\n").encode()
    return Exchange(facts["command"], body, int(facts["http status"]), answer)


def _read(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    head, *parts = _SECTIONS.split(path.read_text())
    facts = dict(line.split(": ", 1) for line in head.splitlines())
    return facts, dict(zip(parts[::2], parts[1::2], strict=True))


def recordings(pattern: str) -> list[Path]:
    """Return the recordings of every version whose name matches, e.g. ``squeue-*``."""
    return sorted(FOLDER.glob(f"*/{pattern}.txt"))
