"""Runs as a curious user on a node: looks for marked words wherever that user can look.

usage: scanner.py SECONDS [FOLDER...] < marks

The marks are words, one a line. Looks once at every file below the folders, and again and again at
what /proc shows of other users' processes. Prints an object of JSON: `found` (which mark, where),
`files` and `commands` (how many were looked at), `owners` (whose environments could be read).
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 8 << 20
# Pages of a process that may show what it was given.
PAGES = ("environ", "comm", "maps", "mountinfo", "status", "mem", "auxv", "stack")


class Scanner:
    def __init__(self, marks: list[str]) -> None:
        self.marks = [mark.encode() for mark in marks]
        self.found: set[str] = set()
        self.owners: set[int] = set()
        self.files = self.commands = 0

    def look_at_files(self, folders: list[str]) -> None:
        for folder in folders:
            for path in walk(folder):
                self.files += 1
                self.note(str(path), read(path) + str(path).encode(errors="replace"))

    def look_at_processes(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            data = read(process / "cmdline")
            self.commands += 1
            self.note(f"cmdline of {data[:60]!r}", data)
            # The rest is there for longer, and takes longer.
            if self.commands % 5 == 0:
                self.look_closer(process)

    def look_closer(self, process: Path) -> None:
        with contextlib.suppress(OSError):
            owner = process.stat().st_uid
            if owner == os.getuid():
                return
            for page in PAGES:
                data = read(process / page)
                self.note(page, data)
                if page == "environ" and data:
                    self.owners.add(owner)
            for link in ("cwd", "root", "exe"):
                with contextlib.suppress(OSError):
                    self.note(link, os.fsencode((process / link).readlink()))
            for descriptor in (process / "fd").iterdir():
                self.note("fd", read(descriptor))

    def note(self, where: str, data: bytes) -> None:
        """Write down which marks are in some data."""
        for number, mark in enumerate(self.marks):
            if mark in data:
                self.found.add(f"mark {number}: {where}")


def walk(folder: str) -> Iterator[Path]:
    """Yield every regular file below a folder that can be seen."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    yield path


def read(path: Path) -> bytes:
    """Return the beginning of a file, empty where it cannot be read."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(handle, MOST_BYTES)
        finally:
            os.close(handle)
    return b""


def main(seconds: float, folders: list[str]) -> None:
    scanner = Scanner([line for line in sys.stdin.read().split("\n") if line])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        scanner.look_at_processes()
    scanner.look_at_files(folders)
    shown = {
        "found": sorted(scanner.found),
        "files": scanner.files,
        "commands": scanner.commands,
        "owners": sorted(scanner.owners),
    }
    sys.stdout.write(json.dumps(shown))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
