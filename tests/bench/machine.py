"""On what was measured: the machine, and the versions of everything that took part."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

from bridge.sandbox.host import read_memory_mib


def read_machine() -> dict[str, str | int]:
    """Return cores, memory (MiB), processor and kernel."""
    return {
        "cores": os.cpu_count() or 1,
        "memory_mib": read_memory_mib(),
        "cpu": parse_model(Path("/proc/cpuinfo").read_text()) or platform.machine(),
        "kernel": platform.release(),
    }


def parse_model(cpuinfo: str) -> str:
    """Return the processor's name in the text of /proc/cpuinfo; nothing where it has none."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def read_versions() -> dict[str, str]:
    """Return the versions of the bridge, of this Python and of the kernel."""
    return {
        "bridge": metadata.version("abaco-bridge"),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
